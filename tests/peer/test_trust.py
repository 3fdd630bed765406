import fcntl
import json
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from p2p_core.errors import UsageError
from p2p_peer import trust
from p2p_peer.trust import MediatorId, TrustStore, default_state_dir

ONE, OTHER = MediatorId(bytes(32)), MediatorId(bytes(range(32)))


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "state" / "punchwire")


def test_nobody_is_known_at_first(store: TrustStore) -> None:
    assert store.known("example:54700") is None
    assert not store.folder.exists()


def test_remembers_by_name(store: TrustStore) -> None:
    assert store.remember("a:1", ONE) is None
    assert store.remember("b:1", OTHER) is None
    assert (store.known("a:1"), store.known("b:1"), store.known("a:2")) == (ONE, OTHER, None)
    assert store.remember("a:1", OTHER) == ONE  # the one that it replaces
    assert store.remember("a:1", OTHER) is None
    assert store.known("a:1") == TrustStore(store.folder).known("a:1") == OTHER


def test_only_its_owner_may_look(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    (file,) = store.folder.iterdir()
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_is_known_is_not_written_again(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    (file,) = store.folder.iterdir()
    before = file.stat().st_ino
    store.remember("a:1", ONE)
    assert file.stat().st_ino == before


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"a:1": 5}', '{"a:1": "abc"}', '{"a:1": null}', "\udcff", pytest.param("[" * 200_000, id="deep")],
)
def test_a_damaged_file(store: TrustStore, content: str) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "known_mediators.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"known_mediators\.json, where mediators are remembered, is damaged"):
        store.known("a:1")
    with pytest.raises(UsageError, match="is damaged"):
        store.remember("a:1", ONE)


def test_a_file_without_end(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    os.truncate(store.path, 2**30)  # with a hole, so that it takes no room
    with pytest.raises(UsageError, match="is damaged"):
        store.known("a:1")


def test_a_pipe_and_a_device_are_not_waited_for(store: TrustStore) -> None:
    store.folder.mkdir(parents=True)
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        make(store.path)
        with pytest.raises(UsageError, match=f"{store.path} cannot be read: it is not a regular file"):
            store.known("a:1")
        store.path.unlink()


def test_a_file_that_cannot_be_read(store: TrustStore) -> None:
    (store.folder / "known_mediators.json").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be read"):
        store.known("a:1")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(UsageError, match="Not a directory"):
        TrustStore(tmp_path / "state" / "punchwire").remember("a:1", ONE)


def test_replaced_whole_or_not_at_all(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.remember("a:1", ONE)

    def replace(self: Path, target: Path) -> None:
        assert json.loads(self.read_text()) == {"a:1": str(ONE), "b:1": str(OTHER)}
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trust.Path, "replace", replace)
    with pytest.raises(UsageError, match="No space left on device"):
        store.remember("b:1", OTHER)
    monkeypatch.undo()
    assert len(list(store.folder.iterdir())) == 1
    assert (store.known("a:1"), store.known("b:1")) == (ONE, None)


# The lock.


@pytest.fixture
def held(store: TrustStore) -> Iterator[int]:
    """Somebody else holds the lock: a descriptor of its own is as good as a process of its own."""
    store.folder.mkdir(parents=True)
    descriptor = os.open(store.folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


def test_a_lock_that_is_never_given_back_is_not_waited_for_long(
    store: TrustStore, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    monkeypatch.setattr(trust, "sleep", naps.append)
    assert store.remember("a:1", ONE) is None
    assert store.known("a:1") == ONE
    assert sum(naps) == pytest.approx(1.0)
    assert max(naps) < 0.1


def test_a_lock_is_waited_for(store: TrustStore, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its holder wrote meanwhile is still there afterwards, and nobody else gets it before all is written."""
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 3:
            store.path.write_text(json.dumps({"b:1": str(OTHER)}))
            fcntl.flock(held, fcntl.LOCK_UN)

    def replace(self: Path, target: Path) -> None:
        with pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.rename(target)

    monkeypatch.setattr(trust, "sleep", nap)
    monkeypatch.setattr(trust.Path, "replace", replace)
    store.remember("a:1", ONE)
    assert (store.known("a:1"), store.known("b:1"), len(naps)) == (ONE, OTHER, 3)


def test_what_is_known_takes_no_lock(store: TrustStore, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    store.path.write_text(json.dumps({"a:1": str(ONE)}))
    monkeypatch.setattr(trust, "sleep", lambda seconds: pytest.fail("waits for the lock"))
    assert store.remember("a:1", ONE) is None


def test_a_file_system_without_locks(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, how: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(trust.fcntl, "flock", flock)
    store.remember("a:1", ONE)
    assert store.known("a:1") == ONE


def test_nobody_forgets_what_another_remembers_at_the_same_moment(
    store: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_LOCK_TRIES", 10**9)  # however slow this machine is just now
    names = [f"mediator-{number}:1" for number in range(40)]
    with ThreadPoolExecutor(8) as threads:  # each takes the lock as a process of its own would
        list(threads.map(lambda name: TrustStore(store.folder).remember(name, ONE), names))
    assert [store.known(name) for name in names] == [ONE] * 40


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert default_state_dir() == Path("/xdg/punchwire")
    assert TrustStore().folder == Path("/xdg/punchwire")
    monkeypatch.setenv("HOME", "/home/somebody")
    for unusable in ("", "relative", "./xdg"):
        monkeypatch.setenv("XDG_STATE_HOME", unusable)
        assert default_state_dir() == Path("/home/somebody/.local/state/punchwire")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_state_dir() == Path("/home/somebody/.local/state/punchwire")


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch, store: TrustStore) -> None:
    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(trust.Path, "home", home)
    with pytest.raises(UsageError, match="there is no home folder to remember mediators in") as caught:
        TrustStore().known("a:1")
    assert "--state-dir" in caught.value.advice
    with pytest.raises(UsageError, match="there is no home folder"):
        TrustStore().remember("a:1", ONE)
    assert store.known("a:1") is None
