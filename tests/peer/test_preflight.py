"""Our own key pair, as it is had before anybody is met."""

import signal
import subprocess
import sys
from pathlib import Path
from threading import Barrier, Thread

import pytest
from p2p_core.errors import KeyUnreadable, NotPrivate, UsageError
from p2p_core.identity import private_pem
from p2p_peer.cli import preflight
from p2p_peer.cli.preflight import default_key, own_key

from tests.keys import key


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "new_key", lambda: key(0))


def test_made_at_the_first_use(tmp_path: Path) -> None:
    path = tmp_path / "identity" / "key.pem"
    pair, made = default_key(tmp_path)
    assert made == path
    again, made = default_key(tmp_path)
    assert made is None
    assert again.private_numbers() == pair.private_numbers() == key(0).private_numbers()


def test_two_at_once_end_with_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have found none, and make one each."""
    both, keys = Barrier(2), [key(1), key(2)]

    def new_key() -> object:
        both.wait(60)
        return keys.pop()

    monkeypatch.setattr(preflight, "new_key", new_key)
    found = []
    threads = [Thread(target=lambda: found.append(default_key(tmp_path))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    (one, one_made), (other, other_made) = found
    assert one.private_numbers() == other.private_numbers()
    assert sorted([one_made is not None, other_made is not None]) == [False, True]
    assert [each.name for each in tmp_path.iterdir()] == ["identity"]


def test_what_is_there_is_never_replaced(tmp_path: Path) -> None:
    default_key(tmp_path)
    path = tmp_path / "identity" / "key.pem"
    path.write_text("damaged")
    with pytest.raises(KeyUnreadable):
        default_key(tmp_path)
    assert path.read_text() == "damaged"
    path.unlink()
    with pytest.raises(KeyUnreadable, match="cannot be read: No such file"):
        default_key(tmp_path)
    assert [each.name for each in tmp_path.iterdir()] == ["identity"]


@pytest.mark.parametrize("is_default", [True, False])
def test_one_that_others_can_read(tmp_path: Path, is_default: bool) -> None:
    default_key(tmp_path)
    path = tmp_path / "identity" / "key.pem"
    path.chmod(0o640)
    with pytest.raises(NotPrivate, match=f"may be able to read {path}, which has a private key") as caught:
        default_key(tmp_path) if is_default else own_key(path)
    assert f"chmod 600 {path}" in caught.value.advice


def test_one_that_others_could_have_put_there(tmp_path: Path) -> None:
    """Be it that there is none yet."""
    tmp_path.chmod(0o777)
    with pytest.raises(UsageError, match=f"other users of this computer can write to {tmp_path}"):
        default_key(tmp_path)
    assert list(tmp_path.iterdir()) == []


SIGNALLED = """
import os, signal, sys
from pathlib import Path
from p2p_core.identity import load_key_pair
from p2p_peer.cli import preflight, signals

pair, where, number = Path(sys.argv[1]), sys.argv[3], int(sys.argv[4])


def interrupt():
    os.kill(os.getpid(), number)


def new_key():
    if where == "made":
        interrupt()
    return load_key_pair(pair.read_bytes(), None)


def but_first(function):
    def call(*arguments):
        interrupt()
        return function(*arguments)

    return call


preflight.new_key = new_key
if where == "written":
    os.fsync = but_first(os.fsync)
if where == "named":
    Path.rename = but_first(Path.rename)
signals.end_at_once()
preflight.default_key(Path(sys.argv[2]))
print("went on")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("where", "left"), [("made", []), ("written", ["identity"]), ("named", ["identity"])])
def test_a_signal_leaves_no_key_behind(tmp_path: Path, where: str, left: list[str], number: signal.Signals) -> None:
    """None, or the whole pair where it belongs."""
    pair, state = tmp_path / "pair.pem", tmp_path / "state"
    pair.write_bytes(private_pem(key(0)))
    state.mkdir(mode=0o700)
    command = [sys.executable, "-c", SIGNALLED, pair, state, where, str(int(number))]
    done = subprocess.run(command, timeout=60, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
    assert [each.name for each in state.iterdir()] == left
    if left:
        assert sorted(each.name for each in (state / "identity").iterdir()) == ["key.pem", "public.pem"]
