import stat
from pathlib import Path
from threading import Barrier, Thread

import pytest
from p2p_core.errors import KeyLocked, KeyUnreadable, UsageError
from p2p_core.identity import private_pem
from p2p_peer import own_identity
from p2p_peer.own_identity import default_key, default_key_path

from tests.keys import key


def nobody(path: Path) -> bytes | None:
    return None


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_identity, "generate_key", lambda: key(0))


def test_made_at_the_first_use(tmp_path: Path) -> None:
    state = tmp_path / "state" / "punchwire"
    pair, made, path = default_key(state, nobody)
    assert (made, path) == (True, state / "identity" / "key.pem")
    assert pair.private_numbers() == key(0).private_numbers()
    again, made, path = default_key(state, nobody)
    assert (made, path) == (False, state / "identity" / "key.pem")
    assert again.private_numbers() == pair.private_numbers()
    assert stat.S_IMODE(state.stat().st_mode) == stat.S_IMODE((state / "identity").stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in state.iterdir()] == ["identity"]
    assert sorted(each.name for each in path.parent.iterdir()) == ["key.pem", "public.pem"]


def test_where_none_is_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_key_path(None) == tmp_path / "punchwire" / "identity" / "key.pem"
    assert default_key(None, nobody)[2] == default_key_path(None)


def test_two_at_once_end_with_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have found none, and make one each."""
    both, keys = Barrier(2), [key(1), key(2)]

    def generate() -> object:
        both.wait(60)
        return keys.pop()

    monkeypatch.setattr(own_identity, "generate_key", generate)
    found = []
    threads = [Thread(target=lambda: found.append(default_key(tmp_path, nobody))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (one, one_made, _), (other, other_made, _) = found
    assert one.private_numbers() == other.private_numbers()
    assert sorted([one_made, other_made]) == [False, True]
    assert [each.name for each in tmp_path.iterdir()] == ["identity"]


def test_locked_by_its_owner(tmp_path: Path) -> None:
    _, _, path = default_key(tmp_path, nobody)
    path.write_bytes(private_pem(key(0), b"secret"))
    with pytest.raises(KeyLocked):
        default_key(tmp_path, nobody)
    assert default_key(tmp_path, lambda path: b"secret")[1] is False


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    _, _, path = default_key(tmp_path, nobody)
    path.write_text("damaged")
    with pytest.raises(KeyUnreadable):
        default_key(tmp_path, nobody)
    assert path.read_text() == "damaged"
    path.unlink()  # its public key is still there, and may be known to others
    with pytest.raises(KeyUnreadable, match="cannot be read: No such file"):
        default_key(tmp_path, nobody)
    assert [each.name for each in tmp_path.iterdir()] == ["identity"]


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    assert default_key(tmp_path, nobody)[1] is True


def test_where_none_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "identity").write_text("a file")
    with pytest.raises(UsageError, match=r"no key pair can be made in .*/identity: Not a directory"):
        default_key(tmp_path, nobody)
    assert [each.name for each in tmp_path.iterdir()] == ["identity"]
    with pytest.raises(UsageError, match=r"no key pair can be made in .*: Not a directory"):
        default_key(tmp_path / "identity" / "deeper", nobody)
