import json
import stat
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


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a:1": 5}', '{"a:1": "abc"}', '{"a:1": null}', "\udcff"])
def test_a_damaged_file(store: TrustStore, content: str) -> None:
    store.folder.mkdir(parents=True)
    (store.folder / "known_mediators.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"known_mediators\.json"):
        store.known("a:1")


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


def test_nobody_forgets_what_another_remembers_at_the_same_moment(store: TrustStore) -> None:
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
