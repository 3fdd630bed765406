import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from p2p_core.errors import KeyLocked, KeyUnreadable, UsageError
from p2p_core.identity import private_pem
from p2p_peer import own_identity, private_file
from p2p_peer.own_identity import default_key_path, keep_key, kept_key, remove_left_behind

from tests.keys import key


def nobody(path: Path) -> bytes | None:
    return None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return default_key_path(tmp_path / "state" / "punchwire")


@pytest.fixture
def kept(path: Path) -> Path:
    assert keep_key(path, key(0)) is True
    return path


def test_kept(path: Path) -> None:
    state = path.parent.parent
    assert path == state / "identity" / "key.pem"
    assert keep_key(path, key(0)) is True
    assert kept_key(path, nobody).private_numbers() == key(0).private_numbers()
    assert stat.S_IMODE(state.stat().st_mode) == stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in state.iterdir()] == ["identity"]
    assert sorted(each.name for each in path.parent.iterdir()) == ["key.pem", "public.pem"]


def test_where_none_is_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_key_path(None) == tmp_path / "punchwire" / "identity" / "key.pem"


def test_what_is_there_is_never_replaced(kept: Path) -> None:
    assert keep_key(kept, key(1)) is False
    assert kept_key(kept, nobody).private_numbers() == key(0).private_numbers()
    kept.unlink()  # its public key is still there, and may be known to others
    assert keep_key(kept, key(1)) is False
    with pytest.raises(KeyUnreadable, match="cannot be read: No such file"):
        kept_key(kept, nobody)
    assert [each.name for each in kept.parent.parent.iterdir()] == ["identity"]


def test_locked_by_its_owner(kept: Path) -> None:
    kept.write_bytes(private_pem(key(0), b"secret"))
    with pytest.raises(KeyLocked):
        kept_key(kept, nobody)
    assert kept_key(kept, lambda path: b"secret").private_numbers() == key(0).private_numbers()


def test_an_empty_folder_is_as_good_as_none(path: Path) -> None:
    path.parent.mkdir(parents=True)
    assert keep_key(path, key(0)) is True


def test_where_none_can_be_kept(path: Path) -> None:
    path.parent.parent.mkdir(parents=True)
    path.parent.write_text("a file")
    with pytest.raises(UsageError, match=r"no key pair can be made in .*/identity: Not a directory"):
        keep_key(path, key(0))
    assert [each.name for each in path.parent.parent.iterdir()] == ["identity"]
    with pytest.raises(UsageError, match=r"no key pair can be made in .*: Not a directory"):
        keep_key(default_key_path(path.parent / "deeper"), key(0))


# What others could have put there.


@pytest.mark.parametrize("mode", [0o020, 0o002])
@pytest.mark.parametrize("what", [".", "identity", "identity/key.pem"])
def test_what_others_can_write_is_not_believed(kept: Path, what: str, mode: int) -> None:
    writable = kept.parent.parent / what
    before = stat.S_IMODE(writable.stat().st_mode)
    writable.chmod(before | mode)
    with pytest.raises(UsageError, match=f"other users of this computer can write to {writable}, so") as caught:
        kept_key(kept, lambda path: pytest.fail("asks for a passphrase"))
    assert caught.value.advice.endswith(str(writable))
    writable.chmod(before | 0o055 if writable.is_dir() else before)  # they may look, but not into the key
    assert kept_key(kept, nobody).private_numbers() == key(0).private_numbers()


@pytest.mark.parametrize("what", [".", "identity", "identity/key.pem"])
def test_what_belongs_to_another_is_not_believed(kept: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs, status_of = kept.parent.parent / what, Path.stat

    def status(self: Path, **options: bool) -> os.stat_result:
        fields = list(status_of(self, **options))
        if self == theirs:
            fields[stat.ST_UID] += 1
        return os.stat_result(fields)

    monkeypatch.setattr(private_file.Path, "stat", status)
    with pytest.raises(UsageError, match=f"{theirs} belongs to another user"):
        kept_key(kept, nobody)


def test_none_is_put_where_others_can_write(path: Path) -> None:
    path.parent.parent.mkdir(parents=True)
    path.parent.parent.chmod(0o777)
    with pytest.raises(UsageError, match="other users of this computer can write to"):
        keep_key(path, key(0))
    assert list(path.parent.parent.iterdir()) == []


# What was not finished.

KILLED = """
import os, signal, sys
from pathlib import Path
from p2p_peer.own_identity import keep_key
from tests.keys import key

Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
keep_key(Path(sys.argv[1]), key(0))
"""


def test_what_was_killed_leaves_nothing_for_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = path.parent.parent
    subprocess.run([sys.executable, "-c", KILLED, path], timeout=60, check=False)
    [left] = state.iterdir()
    assert sorted(each.name for each in left.iterdir()) == ["key.pem", "public.pem"]
    remove_left_behind(path)  # another process may be at it just now
    assert list(state.iterdir()) == [left]
    assert keep_key(path, key(1)) is True
    now = time.time()
    monkeypatch.setattr(own_identity.time, "time", lambda: now + 3600)
    remove_left_behind(path)
    assert list(state.iterdir()) == [path.parent]
    assert kept_key(path, nobody).private_numbers() == key(1).private_numbers()


def test_only_ones_own_folders_are_removed(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, elsewhere = kept.parent.parent, tmp_path / "elsewhere"
    for folder in (elsewhere, state / ".identity", state / "other"):
        folder.mkdir()
        (folder / "file").touch()
    (state / ".identity-link").symlink_to(elsewhere)
    (state / ".identity-file").touch()
    before = sorted(state.rglob("*"))
    now = time.time()
    monkeypatch.setattr(own_identity.time, "time", lambda: now + 3600)
    remove_left_behind(kept)
    assert sorted(state.rglob("*")) == before
    assert (elsewhere / "file").exists()


def test_nothing_to_remove(path: Path) -> None:
    remove_left_behind(path)
    assert not path.parent.parent.exists()
