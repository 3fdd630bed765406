"""A peer with a key of its own that comes to a direct connection as somebody else, or does not go on as it should."""

import asyncio
from typing import Any

import pytest
from p2p_core.errors import NotAdmitted, PeerKeyChanged, ProofFailed
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.frames import Introduction, Ping
from p2p_peer.channel.channel import HANDSHAKE_TIME, Channel, read_frame, send_frame
from p2p_peer.channel.introduction import introduce
from p2p_peer.events import PeerMet, Standing, TurnedAway
from p2p_peer.paths.base import Path as PeerPath
from p2p_peer.serverless import connections
from p2p_peer.serverless.connections import MAX_ACCEPTED
from p2p_peer.serverless.direct import DirectMode

from tests.attack import direct_callers
from tests.attack.direct_callers import connected, is_over, tls_to
from tests.attack.hostile_keys import hostile_keys
from tests.keys import key
from tests.peer import conftest as peers
from tests.peer.directly import ALICE, BOB, HERE, MALLORY, Direct, Meetings, id_of, is_one_session
from tests.peer.pair import Clock, soon

start, clock, no_tasks_left = direct_callers.start, peers.clock, peers.no_tasks_left

LOWER, HIGHER = sorted((ALICE, BOB), key=id_of)  # the session's initiator, and its responder


async def met(start: Meetings, number: int, port: int, **options: Any) -> tuple[Direct, Direct]:
    """Alice dials `port`, at which the peer `number` listens; they meet, and part."""
    waits = start(number, DirectMode.LISTEN, port=port)
    dials = start(ALICE, DirectMode.CONNECT, await waits.port(), **options)
    session, other = await dials.session(), await waits.session()
    await soon(asyncio.gather(session.close(), other.close()))
    return dials, waits


async def proved(port: int, number: int) -> Channel:
    path = PeerPath(PathKind.TCP, await connected(port), Address.of(HERE, port))
    return (await soon(introduce(path, Role.INITIATOR, key(number), judge=lambda _: None))).channel


async def test_an_initiator_that_never_chooses(start: Meetings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """TRIES: to hold the listener by proving a key, and never saying that it begins.

    OUTCOME: its connection ends with the handshake's time; the next peer comes in.
    """
    awaited = asyncio.Event()

    async def read(*arguments: Any) -> Any:
        awaited.set()
        return await read_frame(*arguments)

    monkeypatch.setattr(connections, "read_frame", read)
    waits = start(HIGHER, DirectMode.LISTEN)
    port = await waits.port()
    channel = await proved(port, LOWER)
    await soon(awaited.wait())
    clock.advance(HANDSHAKE_TIME)
    await is_over(channel.stream)
    assert not waits.meeting.done()
    await is_one_session(await start(MALLORY, DirectMode.CONNECT, port).session(), await waits.session())


async def test_an_initiator_that_begins_without_choosing(start: Meetings) -> None:
    """TRIES: to begin a session on a connection that was not chosen.

    OUTCOME: that connection ends; the next peer comes in.
    """
    waits = start(HIGHER, DirectMode.LISTEN)
    port = await waits.port()
    channel = await proved(port, LOWER)
    await send_frame(channel.stream, Ping(1))
    await is_over(channel.stream)
    await is_one_session(await start(MALLORY, DirectMode.CONNECT, port).session(), await waits.session())


async def test_peers_that_never_choose_keep_nobody_out(start: Meetings) -> None:
    """TRIES: to keep all others out, by more proved connections than there are places.

    OUTCOME: whoever comes takes the place of one of them.
    """
    waits = start(HIGHER, DirectMode.LISTEN)
    port = await waits.port()
    channels = [await proved(port, LOWER) for _ in range(MAX_ACCEPTED + 3)]
    await is_one_session(await start(MALLORY, DirectMode.CONNECT, port).session(), await waits.session())
    for channel in channels:
        await is_over(channel.stream)


async def test_the_one_that_is_dialled_has_another_key(start: Meetings) -> None:
    """TRIES: to answer at the address of a peer whose key was given, with a valid key of its own.

    OUTCOME: not authenticated, with both ids in the sentence; nobody is remembered.
    """
    waits = start(BOB, DirectMode.LISTEN)
    port = await waits.port()
    for mode in (DirectMode.CONNECT, DirectMode.BOTH):
        error = await start(ALICE, mode, port, peer_key=key(MALLORY).public_key()).error()
        assert isinstance(error, ProofFailed)
        assert str(error) == (
            f"the peer at {HERE}:{port} has another key than the one given: "
            f"it is {id_of(BOB).short}, and should be {id_of(MALLORY).short}"
        )
    dials = start(ALICE, DirectMode.CONNECT, port, peer_key=key(BOB).public_key())
    await is_one_session(await dials.session(), await waits.session())
    assert dials.all(PeerMet)[0].standing is Standing.EXPECTED
    assert start.store(ALICE).peers() == ()


async def test_another_one_comes_than_the_one_expected(start: Meetings) -> None:
    """TRIES: to come, with a valid key of its own, where another one is waited for.

    OUTCOME: it is turned away before it sees the victim's key; that is told once; waiting goes on.
    """
    waits = start(BOB, DirectMode.LISTEN, peer_key=key(ALICE).public_key())
    port = await waits.port()
    for _ in range(2):
        error = await start(MALLORY, DirectMode.CONNECT, port).error()
        assert isinstance(error, NotAdmitted)
        assert str(error) == (
            f"the peer at {HERE}:{port} was reached, but the other side ended the connection when it saw this side's "
            f"key ({id_of(MALLORY).short})"
        )
        assert "p2p-peer fingerprint" in error.advice
    told = waits.all(TurnedAway)
    assert [(turned.address.host, type(turned.error)) for turned in told] == [(HERE, ProofFailed)]
    await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())
    assert start.store(MALLORY).peers() == start.store(BOB).peers() == ()


async def test_whoever_comes_instead_of_a_target_that_is_known(start: Meetings) -> None:
    """TRIES: to come to a peer that dials a target which it knows, before that target answers.

    OUTCOME: it is turned away as a changed key; the target comes in.
    """
    _, waits = await met(start, BOB, 0)
    target = await waits.port()
    alice = start(ALICE, DirectMode.BOTH, target)
    port = await alice.port()
    await start(MALLORY, DirectMode.CONNECT, port).error()
    assert [type(turned.error) for turned in alice.all(TurnedAway)] == [PeerKeyChanged]
    await is_one_session(await start(BOB, DirectMode.CONNECT, port).session(), await alice.session())


async def test_a_changed_key(start: Meetings) -> None:
    """TRIES: to take over the address of a peer that was met before.

    OUTCOME: the changed key is told with both ids, and nothing is sent; what was remembered stays.
    """
    _, waits = await met(start, BOB, 0)
    port = await waits.port()
    mallory = start(MALLORY, DirectMode.LISTEN, port=port)
    await mallory.port()
    for mode in (DirectMode.CONNECT, DirectMode.BOTH):
        error = await start(ALICE, mode, port).error()
        assert isinstance(error, PeerKeyChanged)
        assert str(error).startswith(f"the key of the peer at {HERE}:{port} has changed: ")
        assert id_of(BOB).short in str(error)
        assert id_of(MALLORY).short in str(error)
        assert error.advice.endswith(start.store(ALICE).command("remove", id_of(BOB).short))
    assert [peer.id for peer in start.store(ALICE).peers()] == [id_of(BOB)]
    start.store(ALICE).forget_peer(id_of(BOB))
    await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await mallory.session())


async def test_a_key_that_is_a_weapon(start: Meetings) -> None:
    """TRIES: introductions with keys that cost much, prove nothing, or have two names: e = 3, 8200 bits, even, cut.

    OUTCOME: each is refused unused, before the listener shows its own key; the peer comes in afterwards.
    """
    waits = start(BOB, DirectMode.LISTEN)
    port = await waits.port()
    for name, hostile in hostile_keys().items():
        stream = await tls_to(port)
        await send_frame(stream, Introduction(hostile, bytes(32)))
        assert await soon(is_over(stream)) == b"", name
    assert start.store(BOB).peers() == ()
    await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())
