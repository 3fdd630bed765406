"""What others could have written, or can read, ends a start of `p2p-server` with one sentence."""

import logging
import os
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import NotPrivate
from p2p_core.identity import PeerId, public_pem
from p2p_server import files, tls
from p2p_server.app import Mediator
from p2p_server.authorized import KeyFolder, KeysUnreadable
from p2p_server.config import Config, default_authorized
from p2p_server.revocation import KeyWatch

from tests import keys
from tests.programs import end, p2p_server

ANOTHER = 4321  # a user who is nobody here
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PEER = PeerId.of(keys.key(0).public_key())
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder that was used before, with a key that is admitted."""
    state = tmp_path / "above" / "state"
    tls.load_or_create(state, NOW)
    authorized = state / "authorized"
    authorized.mkdir(0o755)
    (authorized / f"{PEER}.pem").write_bytes(public_pem(keys.key(0).public_key()))
    return state


async def refused(state: Path, **options: Any) -> tuple[str, str]:
    """Return the sentence and the advice of a start that comes to nothing."""
    authorized = default_authorized(state)
    with pytest.raises(NotPrivate) as caught:
        await Mediator.start(Config(state, authorized, host="127.0.0.1", port=0, stun_port=0, **options))
    return str(caught.value), caught.value.advice


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777])
@pytest.mark.parametrize("name", [".", "authorized"])
async def test_a_folder_that_others_can_write_to(state: Path, name: str, mode: int) -> None:
    (state / name).chmod(mode)
    sentence, advice = await refused(state)
    assert sentence == f"other users of this computer can write to {state / name}, so nothing in it is believed"
    assert advice.endswith(f"chmod go-w {state / name}")


async def test_a_folder_that_everybody_can_exchange(state: Path) -> None:
    state.parent.chmod(0o777)
    for insecure in (False, True):
        sentence, advice = await refused(state, insecure=insecure)
        assert sentence.startswith(f"everybody on this computer can write to {state.parent}, and so put ")
        assert advice.endswith(f"chmod o-w {state.parent}")


async def test_a_folder_that_links_lead_through(state: Path, tmp_path: Path) -> None:
    folder, linked = tmp_path / "open", tmp_path / "linked"
    folder.mkdir()
    (folder / "mid").symlink_to(state)
    linked.symlink_to(folder / "mid")
    folder.chmod(0o777)
    sentence, _ = await refused(linked)
    assert sentence.startswith(f"everybody on this computer can write to {folder}, and so put something else in ")


async def test_a_tls_key_that_everybody_can_exchange(state: Path, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    key = (state / tls.KEY_FILE).rename(folder / "key.pem")
    folder.chmod(0o777)
    sentence, _ = await refused(state, tls_cert=state / tls.CERTIFICATE_FILE, tls_key=key)
    assert sentence.startswith(f"everybody on this computer can write to {folder}, and so put something else in ")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620])
async def test_a_key_that_others_can_read_or_write(state: Path, mode: int) -> None:
    key = state / tls.KEY_FILE
    key.chmod(mode)
    for options in ({}, {"tls_cert": state / tls.CERTIFICATE_FILE, "tls_key": key}):
        sentence, advice = await refused(state, **options)
        assert sentence.startswith("other users of this computer ")
        assert str(key) in sentence
        assert f"chmod 600 {key}" in advice


@as_root
@pytest.mark.parametrize("name", [".", "key.pem"])
async def test_what_belongs_to_another(state: Path, name: str) -> None:
    os.chown(state / name, ANOTHER, -1)
    sentence, advice = await refused(state)
    assert sentence == f"{state / name} belongs to another user of this computer, so nothing in it is believed"
    assert f"chown {os.geteuid()} {state / name}" in advice


@as_root
def test_the_keys_that_are_admitted_may_be_another_users_choice(state: Path) -> None:
    os.chown(state / "authorized", ANOTHER, -1)
    assert KeyFolder(state / "authorized").admits(PEER)
    assert KeyWatch(KeyFolder(state / "authorized")).look(thoroughly=True) == {PEER}


def test_a_folder_that_opens_up_while_it_runs_sends_nobody_away(state: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = KeyFolder(state / "authorized")
    watch = KeyWatch(folder)
    folder.path.chmod(0o775)
    with pytest.raises(KeysUnreadable):
        folder.admits(PEER)
    assert watch.look(thoroughly=True) is None
    assert not watch.could_read
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "authorized keys cannot be read; whose key it is is neither admitted nor sent away"
    ]
    assert not watch.is_gone(PEER)
    folder.path.chmod(0o755)
    assert watch.look(thoroughly=True) == {PEER}
    assert folder.admits(PEER)


def test_a_file_in_it_admits_only_whose_key_it_is_named_after(state: Path) -> None:
    """So that nobody gains anything by writing to it."""
    file = state / "authorized" / f"{PEER}.pem"
    file.chmod(0o666)
    assert KeyFolder(file.parent).admits(PEER)
    file.write_bytes(public_pem(keys.key(1).public_key()))
    assert not KeyFolder(file.parent).admits(PEER)
    assert not KeyFolder(file.parent).admits(PeerId.of(keys.key(1).public_key()))


def test_a_mistake_is_told_first(state: Path) -> None:
    """That a certificate is no key says more than that everybody can read it."""
    certificate = state / tls.CERTIFICATE_FILE
    with pytest.raises(Exception, match="is not a private key in PEM form"):
        tls.load(certificate, certificate)


def test_the_program_says_one_sentence_and_what_to_do(state: Path) -> None:
    (state / tls.KEY_FILE).chmod(0o644)
    done = subprocess.run(p2p_server("--state-dir", state), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    *_, sentence, advice = done.stderr.splitlines()
    assert sentence.startswith("p2p-server: other users of this computer may be able to read ")
    assert advice.lstrip().startswith("If none of them has: chmod 600 ")


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_what_it_makes_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    state = tmp_path / "local" / "state"
    argv = p2p_server("--host", "127.0.0.1", "--port", "0", "--stun-port", "0", "--state-dir", state)
    process = subprocess.Popen(argv, umask=umask, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("listening on ")
        made = {path.relative_to(tmp_path): stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    finally:
        assert end(process) == 0
    within = Path("local", "state")
    assert made == {
        Path("local"): 0o755 & ~umask,
        within: 0o700,
        within / ".lock": 0o600,
        within / "authorized": 0o755 & ~umask,
        within / "certificate.pem": 0o644,
        within / "key.pem": 0o600,
    }


def test_a_key_is_never_there_for_others_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []
    replace, sync = os.replace, os.fsync

    def note(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        sync(descriptor)

    before = os.umask(0)
    try:
        monkeypatch.setattr(files.os, "fsync", note)
        monkeypatch.setattr(
            files.os, "replace", lambda old, new: (modes.append(os.stat(old).st_mode), replace(old, new))
        )
        files.place(tmp_path / "key.pem", b"secret", 0o600)
    finally:
        os.umask(before)
    assert modes[:2] == [0o600, stat.S_IFREG | 0o600]
    assert len(modes) == 3  # the folder is on the disk as well


def test_a_link_is_not_followed_where_something_is_made(tmp_path: Path) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "elsewhere"
    state.mkdir(0o700)
    (state / ".lock").symlink_to(elsewhere)
    with pytest.raises(Exception, match="cannot keep the mediator's certificate"):
        tls.load_or_create(state, NOW)
    files.place(state / ".lock", b"", 0o600)
    (state / tls.CERTIFICATE_FILE).symlink_to(elsewhere)
    tls.load_or_create(state, NOW)
    assert not elsewhere.exists()


def test_the_error_is_of_its_own_kind(state: Path) -> None:
    state.chmod(0o777)
    with pytest.raises(NotPrivate):
        tls.load_or_create(state, NOW)
