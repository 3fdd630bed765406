"""A session does over QUIC what it does over TCP: messages, files, and every way to end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from p2p_core.errors import ConnectionLost, TransferFailed
from p2p_core.machines.liveness import DEAD_AFTER
from p2p_core.proof import PathKind, Role
from p2p_peer.events import MessageReceived, TransferReceived
from p2p_peer.paths.base import Path as PeerPath

from tests.peer.pair import Clock, Pair, Peer, channels, leftovers, sha256, soon, until
from tests.peer.quic_pair import Nat, losing, udp_paths

MIB = 1024 * 1024
BOTH = pytest.mark.parametrize("role", list(Role))


@pytest.fixture
async def nat() -> AsyncIterator[Nat]:
    made = Nat()
    yield made
    made.close()


@pytest.fixture
async def pair(nat: Nat, tmp_path: Path) -> AsyncIterator[Pair]:
    """Two live sessions over QUIC, through a NAT. At the end nothing of them may be left."""
    async with live(nat.paths, tmp_path) as made:
        yield made


@pytest.fixture
async def near_pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """The same with nothing in between, for what is large."""
    async with live(udp_paths(), tmp_path) as made:
        yield made


@asynccontextmanager
async def live(paths: tuple[PeerPath, PeerPath], tmp_path: Path) -> AsyncIterator[Pair]:
    made = Pair.on(await channels(paths), tmp_path)
    yield made
    await made.leave()


def peer(pair: Pair, role: Role) -> Peer:
    return pair.initiator if role is Role.INITIATOR else pair.responder


def sockets(pair: Pair) -> set[int]:
    return {session._driver.channel.path.socket.fileno() for session in pair.sessions}


async def followed(left: Peer) -> None:
    """Leave when the other side has left."""
    assert await left.end() is None
    await left.session.wait_closed()


async def test_messages(pair: Pair) -> None:
    for role in Role:
        assert peer(pair, role).session.path is PathKind.QUIC
        assert peer(pair, role).session.key_exchange == "X25519MLKEM768"
        await soon(peer(pair, role).session.send_message("hello from " + role.value))
        assert (await peer(pair, role.other).wait_for(MessageReceived)).text == "hello from " + role.value


@BOTH
async def test_a_large_file(near_pair: Pair, role: Role) -> None:
    """64 MiB, with messages in between that overtake it."""
    pair = near_pair
    sender, receiver = peer(pair, role), peer(pair, role.other)
    receiver.accept_all(pair.inbox)
    file = pair.file("large", 64 * MIB)
    sending = asyncio.create_task(sender.session.send([file]))
    for number in range(20):
        await soon(sender.session.send_message(str(number)))
    await soon(sending)
    (path,) = (await receiver.wait_for(TransferReceived)).paths
    assert sha256(path.read_bytes()) == sha256(file.read_bytes())
    assert [message.text for message in receiver.all(MessageReceived)] == [str(number) for number in range(20)]


async def test_files_both_ways(near_pair: Pair) -> None:
    pair = near_pair
    for each in (pair.initiator, pair.responder):
        each.accept_all(pair.inbox)
    files = [pair.file(name, 8 * MIB) for name in "ab"]
    await soon(asyncio.gather(*(session.send([file]) for session, file in zip(pair.sessions, files, strict=True))))
    for file in files:
        await until((pair.inbox / file.name).exists)
        assert (pair.inbox / file.name).read_bytes() == file.read_bytes()


async def test_a_file_through_loss(nat: Nat, pair: Pair) -> None:
    nat.passes = losing(0.03, 1)
    await pair.transfer("a", 2 * MIB)


async def test_a_nat_rebinds_in_the_middle_of_a_file(nat: Nat, pair: Pair) -> None:
    passed = 0

    def passes(sender: Role, datagram: bytes) -> int:
        nonlocal passed
        passed += sender is Role.INITIATOR
        if passed == 2000:
            asyncio.get_running_loop().call_soon(nat.rebind, Role.INITIATOR)
        return 1

    nat.passes = passes
    before = nat.address_of(Role.INITIATOR)
    await pair.transfer("a", 16 * MIB)
    assert nat.address_of(Role.INITIATOR) != before
    await soon(pair.responder.session.send_message("still there?"))


@BOTH
async def test_close(pair: Pair, role: Role) -> None:
    message = peer(pair, role).session.send_message("the last word")
    await soon(asyncio.gather(peer(pair, role).session.close("good night"), followed(peer(pair, role.other))))
    await soon(message)
    assert (await peer(pair, role.other).wait_for(MessageReceived)).text == "the last word"
    assert peer(pair, role.other).session.farewell == "good night"
    assert sockets(pair) == {-1}


@BOTH
async def test_abort_in_the_middle_of_a_file(near_pair: Pair, role: Role) -> None:
    pair = near_pair
    pair.responder.accept_all(pair.inbox)
    pair.file("a", 64 * MIB)
    sending = pair.start("a")
    await until(lambda: bool(leftovers(pair.inbox)))
    await soon(asyncio.gather(peer(pair, role).session.abort("enough"), followed(peer(pair, role.other))))
    why = "this side ended the session" if role is Role.INITIATOR else "the other side gave up: enough"
    with pytest.raises(TransferFailed, match=why):
        await soon(sending)
    assert sockets(pair) == {-1}
    assert [path.name for path in pair.inbox.iterdir()] == leftovers(pair.inbox)  # for another try


@BOTH
async def test_the_way_falls_silent(nat: Nat, pair: Pair, clock: Clock, role: Role) -> None:
    """Liveness notices, and not QUIC."""
    await soon(peer(pair, role).session.send_message("hello"))
    nat.passes = lambda sender, datagram: 0
    clock.advance(DEAD_AFTER)
    ended = await peer(pair, role).end()
    assert isinstance(ended, ConnectionLost)
    assert "QUIC" not in str(ended)
