"""The mediator's own certificate."""

import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from p2p_core.errors import UsageError
from p2p_core.identity import private_pem, spki_hash
from p2p_core.proof import BindingType
from p2p_server import tls

from tests import keys

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    first = tls.load_or_create(folder, NOW)
    assert tls.load_or_create(folder, NOW + timedelta(days=1)) == first
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / tls.KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert {path.name for path in folder.iterdir()} == {"key.pem", "certificate.pem", ".lock"}


def test_its_name_its_key_and_its_life(tmp_path: Path) -> None:
    certificate = tls.load_or_create(tmp_path, NOW)
    leaf = x509.load_der_x509_certificate(certificate.leaf_der)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["punchwire-mediator"]
    assert leaf.public_key().curve.name == "secp256r1"
    assert leaf.not_valid_before_utc < NOW < leaf.not_valid_after_utc
    assert certificate.identity.id == spki_hash(certificate.leaf_der)
    assert certificate.identity.binding.type is BindingType.CERTIFICATE


def test_it_is_renewed_with_the_same_key_when_it_nears_its_end(tmp_path: Path) -> None:
    first = tls.load_or_create(tmp_path, NOW)
    later = first.expires - timedelta(days=300)
    second = tls.load_or_create(tmp_path, later)
    assert second.expires > first.expires
    assert second.identity.id == first.identity.id
    assert second.identity.binding != first.identity.binding
    assert tls.load_or_create(tmp_path, later) == second


def test_a_key_without_its_certificate_gets_a_new_one(tmp_path: Path) -> None:
    first = tls.load_or_create(tmp_path, NOW)
    (tmp_path / tls.CERTIFICATE_FILE).unlink()
    assert tls.load_or_create(tmp_path, NOW).identity.id == first.identity.id


def test_while_it_runs_it_is_renewed_but_its_key_is_not(tmp_path: Path) -> None:
    first = tls.load_or_create(tmp_path, NOW)
    assert tls.renew(tmp_path, NOW) == first
    later = tls.renew(tmp_path, first.expires - timedelta(days=364))
    assert later.expires > first.expires
    assert later.identity.id == first.identity.id
    (tmp_path / tls.CERTIFICATE_FILE).unlink()
    assert tls.renew(tmp_path, NOW).identity.id == first.identity.id
    (tmp_path / tls.KEY_FILE).unlink()
    with pytest.raises(UsageError, match=r"key\.pem: No such file"):
        tls.renew(tmp_path, NOW)
    with pytest.raises(UsageError, match="cannot keep"):
        tls.renew(tmp_path / "nowhere", NOW)


def _start(folder: str, results: "multiprocessing.Queue[bytes]", gate: "multiprocessing.Barrier") -> None:
    gate.wait()
    results.put(tls.load_or_create(Path(folder), NOW).leaf_der)


def test_many_that_start_at_once_on_one_folder_have_one_certificate(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results, gate = context.Queue(), context.Barrier(4)
    starting = [context.Process(target=_start, args=(str(tmp_path / "state"), results, gate)) for _ in range(4)]
    for process in starting:
        process.start()
    assert len({results.get(timeout=30) for _ in starting}) == 1
    for process in starting:
        process.join()
    results.close()
    results.join_thread()


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        (b"no certificate", None, "not a certificate"),
        (None, b"no key", "not a private key"),
        (None, private_pem(keys.key(0)), "not the key of the certificate"),
        (None, private_pem(keys.key(0), b"secret"), "locked"),
    ],
)
def test_a_pair_that_does_not_fit_is_refused(
    tmp_path: Path, certificate: bytes | None, key: bytes | None, sentence: str
) -> None:
    made = tls.load_or_create(tmp_path / "state", NOW)
    (tmp_path / "c").write_bytes(certificate or made.chain_pem)
    (tmp_path / "k").write_bytes(key or made.key_pem)
    (tmp_path / "k").chmod(0o600)
    with pytest.raises(UsageError, match=sentence):
        tls.load(tmp_path / "c", tmp_path / "k")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pem: No such file"):
        tls.load(tmp_path / "nowhere.pem", tmp_path / "k")


def test_a_folder_that_cannot_be_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot keep"):
        tls.load_or_create(tmp_path / "file" / "state", NOW)


def test_of_a_chain_the_first_is_the_mediators(tmp_path: Path) -> None:
    own, other = tls.load_or_create(tmp_path / "own", NOW), tls.load_or_create(tmp_path / "other", NOW)
    (tmp_path / "chain.pem").write_bytes(own.chain_pem + other.chain_pem)
    loaded = tls.load(tmp_path / "chain.pem", tmp_path / "own" / tls.KEY_FILE)
    assert loaded.identity == own.identity
    assert loaded.chain_pem.count(b"BEGIN CERTIFICATE") == 2


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left"):
        tls.load_or_create(tmp_path, NOW)
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}
