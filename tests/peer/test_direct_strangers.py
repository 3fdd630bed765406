"""Who comes to a port that is open to everybody, and who answers at an address: whom a direct connection believes."""

import asyncio
import contextlib
import errno
import itertools
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, NoPath, NotAdmitted, PeerKeyChanged, PeerUnknown, ProofFailed, UsageError
from p2p_core.identity import public_der
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import Introduction, Ping
from p2p_peer.channel import introduction
from p2p_peer.channel.channel import HANDSHAKE_TIME, Channel, read_frame, send_frame
from p2p_peer.channel.channel import until as stream_until
from p2p_peer.channel.introduction import introduce
from p2p_peer.channel.stream import Stream, StreamEnded, Wait
from p2p_peer.channel.tls import TlsSocket
from p2p_peer.events import NotReached, PeerMet, Standing, TurnedAway
from p2p_peer.paths.base import Path as PeerPath
from p2p_peer.serverless import connections
from p2p_peer.serverless.connections import MAX_ACCEPTED, Connections
from p2p_peer.serverless.direct import DirectMode
from p2p_peer.serverless.judging import Judge
from p2p_peer.trust import TrustStore

from tests.keys import key
from tests.peer.directly import ALICE, BOB, HERE, MALLORY, Direct, Meetings, id_of, is_one_session, own_ports
from tests.peer.pair import Clock, soon, until

NONSENSE = bytes(range(256)) * 16
LOWER, HIGHER = sorted((ALICE, BOB), key=id_of)  # the session's initiator, and its responder


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Meetings]:
    async with Meetings(tmp_path) as meetings:
        yield meetings


async def connected(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    await soon(asyncio.get_running_loop().sock_connect(sock, (HERE, port)))
    return sock


async def tls_to(port: int) -> TlsSocket:
    """A stranger that gets through the handshake as peers do."""
    stream = TlsSocket(await connected(port), Role.INITIATOR)
    while (wait := stream.handshake_to_end()) is not None:
        await soon(stream_until(stream, wait))
    return stream


def client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="peer.example").do_handshake()
    return outgoing.read()


async def is_closed(sock: socket.socket) -> None:
    """Read until the other side has had enough."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while await soon(loop.sock_recv(sock, 4096)):
            pass


# Strangers, who know nothing.


async def says(port: int, data: bytes) -> None:
    with await connected(port) as sock:
        await asyncio.get_running_loop().sock_sendall(sock, data)
        await is_closed(sock)


async def leaves_at_once(port: int) -> None:
    (await connected(port)).close()


async def talks_http(port: int) -> None:
    await says(port, b"GET / HTTP/1.1\r\nHost: peer.example\r\n\r\n")


async def talks_nonsense(port: int) -> None:
    await says(port, NONSENSE)


async def speaks_plain_tls(port: int) -> None:
    """A scanner: TLS 1.3 by all means, but with a key exchange that we do not take, or HTTP inside."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(OSError):
        reader, writer = await soon(asyncio.open_connection(HERE, port, ssl=context))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(OSError):
            await soon(reader.read())
        writer.transport.abort()


async def talks_nonsense_in_tls(port: int) -> None:
    stream = await tls_to(port)
    stream.write(memoryview(NONSENSE))
    await is_over(stream)


async def begins_with_another_frame(port: int) -> None:
    stream = await tls_to(port)
    await send_frame(stream, Ping(1))
    await is_over(stream)


async def introduces_itself_and_leaves(port: int) -> None:
    stream = await tls_to(port)
    await send_frame(stream, Introduction(public_der(key(MALLORY).public_key()), bytes(32)))
    stream.close()


async def borrows_our_key(port: int) -> None:
    """Of the one who listens: it is public."""
    stream = await tls_to(port)
    await send_frame(stream, Introduction(public_der(key(BOB).public_key()), bytes(32)))
    assert await soon(read_frame(stream, FrameReader(introduced=False), Introduction))
    await is_over(stream)


async def borrows_the_peers_key(port: int) -> None:
    """Without being able to prove it."""
    stream = await tls_to(port)
    await send_frame(stream, Introduction(public_der(key(ALICE).public_key()), bytes(32)))
    await soon(read_frame(stream, FrameReader(introduced=False), Introduction))
    stream.close()


async def is_over(stream: Stream) -> None:
    space = memoryview(bytearray(4096))
    with contextlib.suppress(StreamEnded, ConnectionLost):
        while True:
            if stream.read_into(space) is None:
                await soon(stream_until(stream, Wait.READ))
    stream.close()


@pytest.mark.parametrize(
    "stranger",
    [
        leaves_at_once,
        talks_http,
        talks_nonsense,
        speaks_plain_tls,
        talks_nonsense_in_tls,
        begins_with_another_frame,
        introduces_itself_and_leaves,
        borrows_our_key,
        borrows_the_peers_key,
    ],
)
@pytest.mark.parametrize("given", [True, False], ids=["key given", "first use"])
async def test_strangers_do_not_end_the_waiting(
    start: Meetings, stranger: Callable[[int], Awaitable[None]], given: bool
) -> None:
    waits = start(BOB, DirectMode.LISTEN, peer_key=key(ALICE).public_key() if given else None)
    port = await waits.port()
    for _ in range(3):
        await stranger(port)
    assert not waits.meeting.done()
    assert start.store(BOB).peers() == ()
    await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())


@pytest.mark.parametrize("hello", [b"", client_hello(), client_hello()[:7]], ids=["silent", "a hello", "half a hello"])
async def test_two_hundred_who_say_no_more(start: Meetings, hello: bytes) -> None:
    waits = start(BOB, DirectMode.LISTEN)
    port = await waits.port()
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as held:
        strangers = [held.enter_context(await connected(port)) for _ in range(200)]
        closed = [loop.create_task(is_closed(sock)) for sock in strangers]
        for sock in strangers:
            with contextlib.suppress(ConnectionError):
                await loop.sock_sendall(sock, hello)
        await until(lambda: sum(task.done() for task in closed) >= len(strangers) - MAX_ACCEPTED)
        await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())
        await soon(asyncio.gather(*closed))


async def test_whoever_says_nothing_is_given_up(start: Meetings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HANDSHAKE_TIME", 0.01)
    waits = start(BOB, DirectMode.LISTEN)
    with await connected(await waits.port()) as sock:
        await is_closed(sock)
    assert not waits.meeting.done()


async def test_who_said_something_stays_as_long_as_others_are_silent(start: Meetings) -> None:
    waits = start(BOB, DirectMode.LISTEN)
    port = await waits.port()
    stream = await tls_to(port)
    with contextlib.ExitStack() as held:
        strangers = [held.enter_context(await connected(port)) for _ in range(3 * MAX_ACCEPTED)]
        closed = [asyncio.create_task(is_closed(sock)) for sock in strangers]
        await until(lambda: sum(task.done() for task in closed) > 2 * MAX_ACCEPTED)
        await send_frame(stream, Introduction(public_der(key(ALICE).public_key()), bytes(32)))
        assert await soon(read_frame(stream, FrameReader(introduced=False), Introduction))
        stream.close()
        waits.meeting.cancel()
        await soon(asyncio.gather(*closed))


async def test_a_computer_that_can_hold_no_more_connections(
    start: Meetings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It tries again after a while, and not again and again meanwhile."""
    monkeypatch.setattr(connections, "PAUSE", 60.0)
    waits = start(BOB, DirectMode.LISTEN)
    port = await waits.port()
    refused = []
    real = socket.socket.accept

    def accept(self: socket.socket) -> Any:
        if len(refused) < 2:
            refused.append(self)
            raise OSError(errno.EMFILE, "Too many open files")
        return real(self)

    monkeypatch.setattr(socket.socket, "accept", accept)
    with await connected(port):
        for times in (1, 2):
            await until(lambda times=times: len(refused) == times)
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(refused) == times
            clock.advance(60.0)
        await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())


# A peer that proves its key, and then does not go on as it should.


async def proved(port: int, number: int) -> Channel:
    path = PeerPath(PathKind.TCP, await connected(port), Address.of(HERE, port))
    return (await soon(introduce(path, Role.INITIATOR, key(number), judge=lambda _: None))).channel


async def test_an_initiator_that_never_chooses(start: Meetings, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
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
    waits = start(HIGHER, DirectMode.LISTEN)
    port = await waits.port()
    channel = await proved(port, LOWER)
    await send_frame(channel.stream, Ping(1))
    await is_over(channel.stream)
    await is_one_session(await start(MALLORY, DirectMode.CONNECT, port).session(), await waits.session())


async def test_peers_that_never_choose_keep_nobody_out(start: Meetings) -> None:
    """Each has proved a key, and holds a place; whoever comes takes one of them."""
    waits = start(HIGHER, DirectMode.LISTEN)
    port = await waits.port()
    channels = [await proved(port, LOWER) for _ in range(MAX_ACCEPTED + 3)]
    await is_one_session(await start(MALLORY, DirectMode.CONNECT, port).session(), await waits.session())
    for channel in channels:
        await is_over(channel.stream)


# Who answers at the address that is dialled.


async def answers(reply: bytes) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, HERE, 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH_9.9\r\n"])
async def test_something_else_answers(start: Meetings, reply: bytes) -> None:
    server, port = await answers(reply)
    async with server:
        error = await start(ALICE, DirectMode.CONNECT, port).error()
        assert isinstance(error, NoPath)
        assert str(error).startswith(f"cannot reach the peer at {HERE}:{port}: the TLS handshake with the other side ")
        waits = start(ALICE, DirectMode.BOTH, port)
        own = await waits.port()
        await is_one_session(await start(BOB, DirectMode.CONNECT, own).session(), await waits.session())


# Another key than the one that was given.


async def test_the_one_that_is_dialled_has_another_key(start: Meetings) -> None:
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
    """It is told once, and waiting goes on."""
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


async def test_the_screen_is_not_filled_with_who_was_turned_away(tmp_path: Path) -> None:
    told: list[TurnedAway] = []
    judge = Judge(TrustStore(tmp_path), id_of(BOB), None, require_known=False)
    async with Connections(key(ALICE), judge, told.append) as ours:
        for last, _ in itertools.product(range(1, 31), range(2)):
            ours._turn_away(Address.of(f"192.0.2.{last}", 8000), ProofFailed("another key"))
    assert [turned.address.host for turned in told] == [f"192.0.2.{last}" for last in range(1, 17)]


async def test_whoever_is_turned_away_goes_on_waiting_where_it_can(start: Meetings) -> None:
    """That it was turned away is not certain: a connection ends in the same way when another one is chosen."""
    waits = start(BOB, DirectMode.LISTEN, peer_key=key(ALICE).public_key())
    both = start(MALLORY, DirectMode.BOTH, await waits.port())
    assert "when it saw this side's key" in (await both.wait_for(NotReached)).why
    assert not both.meeting.done()


# Trust on first use.


async def met(start: Meetings, number: int, port: int, **options: Any) -> tuple[Direct, Direct]:
    """Alice dials `port`, at which the peer `number` listens; they meet, and part."""
    waits = start(number, DirectMode.LISTEN, port=port)
    dials = start(ALICE, DirectMode.CONNECT, await waits.port(), **options)
    session, other = await dials.session(), await waits.session()
    await soon(asyncio.gather(session.close(), other.close()))
    return dials, waits


async def test_a_peer_is_remembered(start: Meetings) -> None:
    dials, waits = await met(start, BOB, 0)
    assert [one.all(PeerMet)[0].standing for one in (dials, waits)] == [Standing.FIRST_USE, Standing.FIRST_USE]
    [bob] = start.store(ALICE).peers()
    [alice] = start.store(BOB).peers()
    port = await waits.port()
    assert (bob.id, bob.targets) == (id_of(BOB), (f"{HERE}:{port}",))
    assert (alice.id, alice.targets) == (id_of(ALICE), ())  # it came; where it can be reached is not known
    start.store(ALICE).rename(bob.id, "Bob")
    dials, waits = await met(start, BOB, port, require_known=True)
    assert dials.all(PeerMet) == [PeerMet(id_of(BOB), Standing.REMEMBERED, id_of(ALICE), "Bob")]
    assert waits.all(PeerMet)[0].standing is Standing.REMEMBERED


async def test_a_changed_key(start: Meetings) -> None:
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


async def test_whoever_comes_instead_of_a_target_that_is_known(start: Meetings) -> None:
    """Wherever from: it is not the one that was named."""
    _, waits = await met(start, BOB, 0)
    target = await waits.port()
    alice = start(ALICE, DirectMode.BOTH, target)
    port = await alice.port()
    await start(MALLORY, DirectMode.CONNECT, port).error()
    assert [type(turned.error) for turned in alice.all(TurnedAway)] == [PeerKeyChanged]
    await is_one_session(await start(BOB, DirectMode.CONNECT, port).session(), await alice.session())


async def test_whoever_comes_from_the_targets_address_is_remembered_as_the_target(start: Meetings) -> None:
    with own_ports() as (target, _):
        alice = start(ALICE, DirectMode.BOTH, target)
        port = await alice.port()
        await alice.wait_for(NotReached)
        await start(BOB, DirectMode.CONNECT, port).session()
        await alice.session()
    assert [peer.targets for peer in start.store(ALICE).peers()] == [(f"{HERE}:{target}",)]


async def test_only_known_ones(start: Meetings) -> None:
    waits = start(BOB, DirectMode.LISTEN, require_known=True)
    port = await waits.port()
    assert isinstance(await start(ALICE, DirectMode.CONNECT, port).error(), NotAdmitted)
    [turned] = waits.all(TurnedAway)
    assert isinstance(turned.error, PeerUnknown)
    assert str(turned.error) == f"the peer at {turned.address} is {id_of(ALICE).short}, whose key is not known"
    assert start.store(ALICE).peers() == start.store(BOB).peers() == ()
    start.store(BOB).met(id_of(ALICE), None, 1)
    await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())


async def test_the_one_that_is_dialled_is_not_known(start: Meetings) -> None:
    waits = start(BOB, DirectMode.LISTEN)
    error = await start(ALICE, DirectMode.CONNECT, await waits.port(), require_known=True).error()
    assert isinstance(error, PeerUnknown)
    assert not waits.meeting.done()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_memory_that_is_damaged(start: Meetings, when: str) -> None:
    """It is for our user to repair, whoever made us look."""
    path = start.store(BOB).path
    path.parent.mkdir()
    if when == "before":
        path.write_text("{")
    waits = start(BOB, DirectMode.LISTEN)
    if when == "meanwhile":
        port = await waits.port()
        path.write_text("{")
        await start(ALICE, DirectMode.CONNECT, port).error()
    assert type(await waits.error()) is UsageError


# Somebody in between.


def in_between(target: int) -> tuple[socket.socket, "asyncio.Task[None]"]:
    """Listen for whoever wants to get to port `target`: two TLS connections, and every byte inside passed on."""
    listener = socket.create_server((HERE, 0))
    listener.setblocking(False)

    async def go_between() -> None:
        loop = asyncio.get_running_loop()
        accepted, _ = await loop.sock_accept(listener)
        towards_dialler = TlsSocket(accepted, Role.RESPONDER)
        towards_target = TlsSocket(await connected(target), Role.INITIATOR)
        try:
            for stream in (towards_dialler, towards_target):
                for step in (stream.handshake_to_binding, stream.handshake_to_end):
                    while (wait := step()) is not None:
                        await stream_until(stream, wait)
            async with asyncio.TaskGroup() as both:
                both.create_task(pass_on(towards_dialler, towards_target))
                both.create_task(pass_on(towards_target, towards_dialler))
        except* (ConnectionLost, StreamEnded):
            pass
        finally:
            towards_dialler.close()
            towards_target.close()

    return listener, asyncio.create_task(go_between())


async def pass_on(source: TlsSocket, sink: TlsSocket) -> None:
    space = memoryview(bytearray(65536))
    while True:
        count = source.read_into(space)
        if count is None:
            await stream_until(source, Wait.READ)
        else:
            assert sink.write(space[:count]) == count


@pytest.mark.parametrize("gullible", [False, True])
async def test_somebody_in_between(start: Meetings, monkeypatch: pytest.MonkeyPatch, gullible: bool) -> None:
    """The proofs hold for another channel. A dialler that did not look would be found out by the other side."""
    real = introduction.verify

    def verify(public_key: Any, *arguments: Any) -> None:
        if not (gullible and public_key == key(BOB).public_key()):
            real(public_key, *arguments)

    monkeypatch.setattr(introduction, "verify", verify)
    waits = start(BOB, DirectMode.LISTEN)
    listener, between = in_between(await waits.port())
    with listener:
        error = await start(ALICE, DirectMode.CONNECT, listener.getsockname()[1]).error()
        await soon(between)
    if gullible:
        assert isinstance(error, NoPath)
        turned = await waits.wait_for(TurnedAway)
        assert str(turned.error) == f"the peer at {turned.address} did not prove that it has the key it showed"
    else:
        assert isinstance(error, ProofFailed)
    assert not waits.meeting.done()
    assert start.store(ALICE).peers() == start.store(BOB).peers() == ()
