"""The mediator's certificate, whose files change while it runs."""

import logging
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from p2p_core.errors import UsageError
from p2p_server import tls
from p2p_server.certificates import Certificates
from p2p_server.config import Config

from tests.server.clock import ManualClock
from tests.server.logged import events

DAY = 86400.0


@pytest.fixture
def given(tmp_path: Path, clock: ManualClock) -> Config:
    """A configuration with files of the operator's own."""
    folder = tmp_path / "given"
    tls.load_or_create(folder, _today(clock))
    return Config(
        state_dir=tmp_path / "state",
        authorized=None,
        tls_cert=folder / tls.CERTIFICATE_FILE,
        tls_key=folder / tls.KEY_FILE,
    )


@pytest.fixture
def own(tmp_path: Path) -> Config:
    return Config(state_dir=tmp_path / "state", authorized=None)


@pytest.fixture
def other(tmp_path: Path, clock: ManualClock) -> tls.Certificate:
    """Another certificate, of another key."""
    return tls.load_or_create(tmp_path / "other", _today(clock))


def _today(clock: ManualClock) -> datetime:
    return datetime.fromtimestamp(clock.unix_time(), UTC)


def told(caplog: pytest.LogCaptureFixture) -> list[object]:
    found = [event["event"] for event in events(caplog)]
    caplog.clear()
    return found


def put(path: Path | None, data: bytes) -> None:
    """Replace a file, as programs do that keep certificates."""
    assert path is not None
    new = path.with_name("new")
    new.write_bytes(data)
    new.chmod(0o600)
    new.rename(path)


def test_nothing_new(given: Config, own: Config, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    for config in (given, own):
        certificates = Certificates(config, clock)
        first = certificates.current
        assert certificates.look() is None
        assert certificates.look(thoroughly=True) is None
        assert (certificates.current, certificates.identities()) == (first, (first.identity,))
    assert not told(caplog)


def test_another_pair_is_found_and_the_one_before_is_known_for_two_minutes(
    given: Config, other: tls.Certificate, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="p2p_server")
    certificates = Certificates(given, clock)
    first = certificates.current
    put(given.tls_cert, other.chain_pem)
    put(given.tls_key, other.key_pem)
    assert certificates.look() == other
    assert certificates.current == first
    certificates.use(other)
    certificates.tell()
    assert certificates.look() is None
    assert certificates.identities() == (other.identity, first.identity)
    clock.advance(119)
    assert certificates.identities() == (other.identity, first.identity)
    clock.advance(1)
    assert certificates.identities() == (other.identity,)
    assert told(caplog) == ["certificate-exchanged", "mediator-id-changed"]


def test_half_of_a_new_pair_is_waited_for(
    given: Config, other: tls.Certificate, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(given, clock)
    put(given.tls_cert, other.chain_pem)
    assert certificates.look() is None
    assert certificates.look() is None
    (event,) = events(caplog, "certificate-unusable")
    assert "is not the key of the certificate" in str(event["why"])
    put(given.tls_key, other.key_pem)
    assert certificates.look() == other


@pytest.mark.parametrize("broken", [b"", b"-----BEGIN CERTIFICATE-----\nMIIB", None])
def test_a_broken_pair_is_warned_of_and_the_present_one_stays(
    given: Config, other: tls.Certificate, clock: ManualClock, caplog: pytest.LogCaptureFixture, broken: bytes | None
) -> None:
    assert given.tls_cert is not None
    certificates = Certificates(given, clock)
    if broken is None:
        given.tls_cert.unlink()
    else:
        put(given.tls_cert, broken)
    assert certificates.look() is None
    assert certificates.look() is None
    assert told(caplog) == ["certificate-unusable"]
    put(given.tls_key, other.key_pem)
    put(given.tls_cert, other.chain_pem)
    assert certificates.look() == other


def test_a_pair_that_is_back_is_no_other_one(
    given: Config, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(given, clock)
    put(given.tls_cert, b"broken")
    assert certificates.look() is None
    put(given.tls_cert, certificates.current.chain_pem)
    assert certificates.look() is None
    put(given.tls_cert, b"broken")
    assert certificates.look() is None
    assert told(caplog) == ["certificate-unusable"] * 2


def test_files_that_did_not_change_are_not_read_again(
    given: Config, other: tls.Certificate, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Certificates(given, clock)
    put(given.tls_key, other.key_pem)
    put(given.tls_cert, other.chain_pem)
    assert certificates.look() == other
    certificates.use(other)

    def load(_certificate: Path, _key: Path) -> tls.Certificate:
        raise AssertionError

    monkeypatch.setattr(tls, "load", load)
    assert certificates.look() is None


def test_files_that_look_as_they_did_are_read_when_told_to(
    given: Config, other: tls.Certificate, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Certificates, "_sign", lambda _: ())
    certificates = Certificates(given, clock)
    put(given.tls_cert, other.chain_pem)
    put(given.tls_key, other.key_pem)
    assert certificates.look() is None
    assert certificates.look(thoroughly=True) == other


def test_another_certificate_of_the_same_key_is_no_reason_to_warn(
    given: Config, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    assert given.tls_cert is not None
    assert given.tls_key is not None
    certificates = Certificates(given, clock)
    put(given.tls_cert, tls._self_signed(given.tls_key.read_bytes(), _today(clock) + timedelta(days=30)))
    found = certificates.look()
    assert found is not None
    certificates.use(found)
    certificates.tell()
    assert not told(caplog)


def test_files_behind_links_that_change(tmp_path: Path, given: Config, clock: ManualClock, other: object) -> None:
    """As certbot keeps them: `live` links to `archive`."""
    live = tmp_path / "live"
    live.symlink_to(tmp_path / "given")
    config = Config(
        state_dir=tmp_path / "state",
        authorized=None,
        tls_cert=live / tls.CERTIFICATE_FILE,
        tls_key=live / tls.KEY_FILE,
    )
    certificates = Certificates(config, clock)
    (tmp_path / "next").symlink_to(tmp_path / "other")
    (tmp_path / "next").rename(live)
    assert certificates.look() == other


def test_its_own_is_renewed_in_time_while_it_runs(
    own: Config, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(own, clock)
    first = certificates.current
    clock.advance(9 * 365 * DAY - DAY)
    assert certificates.look() is None
    clock.advance(2 * DAY)
    found = certificates.look()
    assert found is not None
    assert found.expires > first.expires
    assert found.identity.id == first.identity.id
    certificates.use(found)
    assert certificates.look() is None
    assert not told(caplog)


def test_what_another_instance_renewed_is_taken(own: Config, clock: ManualClock) -> None:
    certificates = Certificates(own, clock)
    (own.state_dir / tls.CERTIFICATE_FILE).unlink()
    renewed = tls.load_or_create(own.state_dir, _today(clock) + timedelta(days=1))
    assert certificates.look() == renewed


def test_a_key_of_its_own_that_is_gone_is_not_made_anew_while_it_runs(
    own: Config, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(own, clock)
    (own.state_dir / tls.KEY_FILE).unlink()
    assert certificates.look() is None
    shutil.rmtree(own.state_dir)
    assert certificates.look() is None
    assert told(caplog) == ["certificate-unusable"] * 2
    assert not own.state_dir.exists()


def test_a_certificate_that_nears_its_end_while_it_runs_is_warned_of_once(
    given: Config, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(given, clock)
    for days, warned in ((3635, []), (2, ["certificate-expires-soon"]), (14, ["certificate-expired"]), (1, [])):
        clock.advance(days * DAY)
        certificates.look()
        certificates.look()
        assert told(caplog) == warned


def test_at_the_start_it_has_to_be_there(given: Config, clock: ManualClock) -> None:
    assert given.tls_key is not None
    os.unlink(given.tls_key)
    with pytest.raises(UsageError, match=r"key\.pem: No such file"):
        Certificates(given, clock)


def test_of_two_exchanges_within_two_minutes_all_are_known(
    given: Config, other: tls.Certificate, clock: ManualClock
) -> None:
    certificates = Certificates(given, clock)
    first = certificates.current
    put(given.tls_cert, other.chain_pem)
    put(given.tls_key, other.key_pem)
    certificates.look()
    certificates.use(other)
    clock.advance(60)
    renewed = tls._self_signed(other.key_pem, _today(clock) + timedelta(days=1))
    put(given.tls_cert, renewed)
    third = certificates.look()
    assert third is not None
    certificates.use(third)
    assert certificates.identities() == (third.identity, other.identity, first.identity)
    clock.advance(60)
    assert certificates.identities() == (third.identity, other.identity)
    clock.advance(60)
    assert certificates.identities() == (third.identity,)


def test_what_cannot_be_shown_is_found_again_and_warned_of_once(
    given: Config, other: tls.Certificate, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(given, clock)
    first = certificates.current
    put(given.tls_cert, other.chain_pem)
    put(given.tls_key, other.key_pem)
    for _ in range(3):
        assert certificates.look() == other
        certificates.use(other)
        assert certificates.identities() == (other.identity, first.identity)
        certificates.take_back(UsageError("cannot listen"))
        assert certificates.identities() == (first.identity,)
    assert told(caplog) == ["certificate-unusable"]
    assert certificates.look() == other
    certificates.use(other)
    certificates.tell()
    assert certificates.look() is None
