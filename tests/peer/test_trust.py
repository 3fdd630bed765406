import fcntl
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from p2p_core.errors import LocalProtocolError, UsageError
from p2p_core.identity import PeerId
from p2p_peer import private_file, trust
from p2p_peer.remembered import Remembered
from p2p_peer.trust import KnownPeer, MediatorId, TrustStore, default_state_dir

ONE, OTHER, THIRD = (PeerId(bytes([n]) * 32) for n in (1, 2, 3))


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "state" / "punchwire")


def known(peer_id: PeerId, name: str | None = None, targets: tuple[str, ...] = (), **others: int) -> KnownPeer:
    return KnownPeer(
        peer_id,
        name,
        targets,
        bool(others.get("verified")),
        others.get("first_met", 1000),
        others.get("last_met", 1000),
    )


# Mediators.


def test_nobody_is_known_at_first(store: TrustStore) -> None:
    assert store.known("example:54700") is None
    assert (store.mediators(), store.peers(), store.peer(ONE), store.peer_at("a:1")) == ({}, (), None, None)
    assert not store.folder.exists()


def test_mediators_by_name(store: TrustStore) -> None:
    assert store.remember("b:1", OTHER) is None
    assert store.remember("a:1", ONE) is None
    assert (store.known("a:1"), store.known("b:1"), store.known("a:2")) == (ONE, OTHER, None)
    assert store.remember("a:1", OTHER) == ONE  # the one that it replaces
    assert store.remember("a:1", OTHER) is None
    assert store.known("a:1") == TrustStore(store.folder).known("a:1") == OTHER
    assert list(store.mediators().items()) == [("a:1", OTHER), ("b:1", OTHER)]


def test_a_mediator_is_forgotten(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    store.remember("b:1", ONE)
    store.forget_mediator("a:1")
    assert store.mediators() == {"b:1": ONE}
    with pytest.raises(UsageError, match="no mediator at a:1 is remembered"):
        store.forget_mediator("a:1")


def test_what_is_known_is_not_written_again(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    store.met(OTHER, "b:1", 1000)
    before = store.path.stat().st_ino
    store.remember("a:1", ONE)
    store.met(OTHER, "b:1", 1000)
    store.verify(OTHER, False)
    assert store.path.stat().st_ino == before


# Peers.


def test_a_peer_that_was_met(store: TrustStore) -> None:
    assert store.met(ONE, "b:1", 1000) is True
    assert store.met(OTHER, None, 1001) is True
    assert store.peer(ONE) == store.peer_at("b:1") == known(ONE, None, ("b:1",))
    assert store.peer(OTHER) == known(OTHER, first_met=1001, last_met=1001)
    assert store.met(ONE, None, 1002) is False
    assert store.met(ONE, "b:1", 1003) is False
    assert store.met(ONE, "c:2", 1004) is False
    assert store.peer(ONE) == store.peer_at("c:2") == known(ONE, None, ("b:1", "c:2"), last_met=1004)
    assert (store.peer(THIRD), store.peer_at("d:1"), store.mediators()) == (None, None, {})


def test_a_target_belongs_to_one_peer(store: TrustStore) -> None:
    store.met(ONE, "b:1", 1000)
    for peer in (OTHER, THIRD):
        with pytest.raises(LocalProtocolError, match="another peer is remembered for b:1"):
            store.met(peer, "b:1", 1001)
    assert store.peers() == (known(ONE, None, ("b:1",)),)
    store.forget_peer(ONE)
    assert store.met(OTHER, "b:1", 1002) is True


def test_names(store: TrustStore) -> None:
    store.met(ONE, None, 1000)
    store.met(OTHER, None, 1000)
    store.rename(ONE, "Bob")
    assert store.peer(ONE) == known(ONE, "Bob")
    store.rename(ONE, "bob")  # its own does not count
    with pytest.raises(UsageError, match=f"the peer {ONE} has the name bob"):
        store.rename(OTHER, "BOB")
    for none in ("", "a\nb", "a:1"):
        with pytest.raises(UsageError, match="cannot be named"):
            store.rename(OTHER, none)
    store.rename(ONE, None)
    store.rename(OTHER, "BOB")
    assert store.peers() == (known(OTHER, "BOB"), known(ONE))


def test_whether_words_were_compared(store: TrustStore) -> None:
    store.met(ONE, None, 1000)
    store.verify(ONE)
    store.met(ONE, None, 1000)
    assert store.peers() == (known(ONE, verified=1),)
    store.verify(ONE, verified=False)
    assert store.peers() == (known(ONE),)


def test_a_peer_is_forgotten(store: TrustStore) -> None:
    store.met(ONE, "b:1", 1000)
    store.met(OTHER, None, 1000)
    store.forget_peer(ONE)
    assert store.peers() == (known(OTHER),)
    assert store.peer_at("b:1") is None


def test_only_peers_that_are_remembered(store: TrustStore) -> None:
    for change in (
        lambda: store.rename(ONE, "Bob"),
        lambda: store.verify(ONE),
        lambda: store.forget_peer(ONE),
    ):
        with pytest.raises(UsageError, match=f"no peer {ONE} is remembered"):
            change()
    assert not store.path.exists()


def test_in_which_order(store: TrustStore) -> None:
    store.met(ONE, None, 1001)
    store.met(OTHER, None, 1000)
    assert [peer.id for peer in store.peers()] == [OTHER, ONE]
    store.met(THIRD, None, 1002)
    store.rename(THIRD, "b")
    store.rename(ONE, "A")
    assert [peer.id for peer in store.peers()] == [ONE, THIRD, OTHER]


# The file.


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 200_000, b'{"version": 2}', b'{"version": 1, "mediators": {"a:1": "abc"}}']
)
def test_a_damaged_file(store: TrustStore, content: bytes) -> None:
    store.folder.mkdir(parents=True)
    store.path.write_bytes(content)
    store.path.chmod(0o600)
    for use in (
        lambda: store.known("a:1"),
        lambda: store.remember("a:1", ONE),
        lambda: store.met(ONE, None, 1000),
        store.peers,
        lambda: store.forget_peer(ONE),
    ):
        with pytest.raises(UsageError, match=r"trust\.json, where peers and mediators are remembered, is damaged: it "):
            use()
    assert store.path.read_bytes() == content  # for its owner to look at


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary())
def test_any_bytes(store: TrustStore, content: bytes) -> None:
    store.folder.mkdir(parents=True, exist_ok=True)
    store.path.write_bytes(content)
    store.path.chmod(0o600)
    with pytest.raises(UsageError, match="is damaged"):
        store.peers()


def test_a_file_without_end(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    os.truncate(store.path, 2**30)  # with a hole, so that it takes no room
    with pytest.raises(UsageError, match="is damaged: it is too long"):
        store.known("a:1")


def test_a_file_that_others_can_write(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    store.path.chmod(0o666)
    with pytest.raises(UsageError, match="other users of this computer can write to"):
        store.known("a:1")
    with pytest.raises(UsageError, match="other users of this computer can write to"):
        store.met(ONE, None, 1000)


def test_a_file_in_a_folder_that_others_can_write_to(store: TrustStore) -> None:
    store.remember("a:1", ONE)
    store.folder.chmod(0o777)
    for use in (lambda: store.known("a:1"), lambda: store.met(ONE, None, 1000)):
        with pytest.raises(UsageError, match=f"other users of this computer can write to {store.folder}"):
            use()
    store.folder.chmod(0o755)
    assert store.known("a:1") == ONE


def test_what_has_not_changed_is_not_read_again(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, other = list[int](), TrustStore(store.folder)
    read = trust.read_remembered

    def counting(data: bytes) -> Remembered:
        reads.append(len(data))
        return read(data)

    store.met(ONE, "b:1", 1000)
    monkeypatch.setattr(trust, "read_remembered", counting)
    for _ in range(3):
        assert (store.peer(ONE), store.peer_at("b:1")) == (known(ONE, None, ("b:1",)),) * 2
    assert len(reads) == 1
    store.rename(ONE, "Bob")  # itself
    assert store.peer(ONE) == known(ONE, "Bob", ("b:1",))
    other.rename(ONE, "Eve")  # another process, in the same moment and with the same size
    assert store.peer(ONE) == known(ONE, "Eve", ("b:1",))
    before = len(reads)
    assert store.peers() == (known(ONE, "Eve", ("b:1",)),)
    assert len(reads) == before
    store.path.unlink()
    assert store.peers() == ()


def test_what_could_not_be_changed_is_as_it_was(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.met(ONE, "b:1", 1000)
    assert store.peers() == (known(ONE, None, ("b:1",)),)

    def replace(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_file.Path, "replace", replace)
    with pytest.raises(UsageError, match="No space left on device"):
        store.rename(ONE, "Bob")
    with pytest.raises(UsageError, match="No space left on device"):
        store.forget_peer(ONE)
    assert store.peers() == (known(ONE, None, ("b:1",)),)


@pytest.mark.parametrize("mode", [0o666, 0o620])
def test_permissions_that_change_are_seen(store: TrustStore, mode: int) -> None:
    store.remember("a:1", ONE)
    assert store.known("a:1") == ONE
    store.path.chmod(mode)
    with pytest.raises(UsageError, match="other users of this computer can write to"):
        store.known("a:1")


def test_the_command_for_this_folder() -> None:
    assert TrustStore().command("remove", "[::1]:80") == "p2p-peer trust remove '[::1]:80'"
    store = TrustStore(Path("my state"))
    assert store.command() == "p2p-peer trust --state-dir 'my state'"
    assert store.look == "Look who is remembered: p2p-peer trust --state-dir 'my state'"


def test_a_file_never_grows_too_long_to_be_read(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.met(ONE, None, 1000)
    monkeypatch.setattr(trust, "_MAX_FILE_BYTES", store.path.stat().st_size)
    with pytest.raises(UsageError, match=r"trust\.json is full") as caught:
        store.met(OTHER, None, 1000)
    assert caught.value.advice.endswith(f": {store.command('remove', 'WHO')}")
    assert store.peers() == (known(ONE),)
    store.forget_peer(ONE)
    assert store.met(OTHER, None, 1000) is True


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(UsageError, match="Not a directory"):
        TrustStore(tmp_path / "state" / "punchwire").remember("a:1", ONE)


def test_what_another_wrote_meanwhile_is_still_there(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.remember("b:1", OTHER)
    with_both = json.loads(store.path.read_text())
    store.forget_mediator("b:1")
    held = os.open(store.folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(held, fcntl.LOCK_EX)

    def nap(seconds: float) -> None:
        store.path.write_text(json.dumps(with_both))
        fcntl.flock(held, fcntl.LOCK_UN)

    monkeypatch.setattr(private_file, "sleep", nap)
    store.remember("a:1", ONE)
    os.close(held)
    assert store.mediators() == {"a:1": ONE, "b:1": OTHER}


def test_what_is_known_takes_no_lock(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.remember("a:1", ONE)
    monkeypatch.setattr(private_file.fcntl, "flock", lambda *_: pytest.fail("takes the lock"))
    assert store.remember("a:1", ONE) is None


def test_nobody_forgets_what_another_remembers_at_the_same_moment(
    store: TrustStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private_file, "_LOCK_TRIES", 10**9)  # however slow this machine is just now
    numbers = range(40)

    def meet(number: int) -> None:  # takes the lock as a process of its own would
        TrustStore(store.folder).remember(f"mediator-{number}:1", MediatorId(bytes(32)))
        TrustStore(store.folder).met(PeerId(bytes([number]) * 32), f"peer-{number}:1", number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(meet, numbers))
    assert store.mediators().keys() == {f"mediator-{number}:1" for number in numbers}
    assert [peer.targets for peer in store.peers()] == [(f"peer-{number}:1",) for number in numbers]


# Where it is.


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg")
    assert default_state_dir() == Path("/xdg/punchwire")
    assert TrustStore().folder == Path("/xdg/punchwire")
    assert TrustStore().path == Path("/xdg/punchwire/trust.json")
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
    with pytest.raises(UsageError, match="there is no home folder to remember anything in") as caught:
        TrustStore().known("a:1")
    assert "--state-dir" in caught.value.advice
    with pytest.raises(UsageError, match="there is no home folder"):
        TrustStore().remember("a:1", ONE)
    assert store.known("a:1") is None
