"""A stranger at the port of `p2p-peer direct --listen`, which is open to everybody."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from p2p_core.errors import NoPath
from p2p_core.identity import public_der
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import Introduction, Ping
from p2p_peer.channel.channel import read_frame, send_frame
from p2p_peer.serverless import connections
from p2p_peer.serverless.connections import MAX_ACCEPTED
from p2p_peer.serverless.direct import DirectMode

from tests.attack import direct_callers
from tests.attack.direct_callers import client_hello, connected, is_closed, is_over, tls_to
from tests.keys import key
from tests.peer import conftest as peers
from tests.peer.directly import ALICE, BOB, HERE, MALLORY, Meetings, is_one_session
from tests.peer.pair import Clock, soon, until

start, clock, no_tasks_left = direct_callers.start, peers.clock, peers.no_tasks_left

NONSENSE = bytes(range(256)) * 16


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
    """TRIES: to end the waiting, or to be taken for the peer: HTTP, noise, TLS of other kinds, borrowed public keys.

    OUTCOME: each connection is closed, nobody is remembered, and the peer that was waited for comes in.
    """
    waits = start(BOB, DirectMode.LISTEN, peer_key=key(ALICE).public_key() if given else None)
    port = await waits.port()
    for _ in range(3):
        await stranger(port)
    assert not waits.meeting.done()
    assert start.store(BOB).peers() == ()
    await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())


@pytest.mark.parametrize("hello", [b"", client_hello(), client_hello()[:7]], ids=["silent", "a hello", "half a hello"])
async def test_two_hundred_who_say_no_more(start: Meetings, hello: bytes) -> None:
    """TRIES: to keep the peer out with two hundred connections that say nothing, or half a hello.

    OUTCOME: the oldest make room; the peer comes in while they are held.
    """
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
    """TRIES: to hold a connection for ever by silence.

    OUTCOME: it is closed when the handshake's time is over.
    """
    monkeypatch.setattr(connections, "HANDSHAKE_TIME", 0.01)
    waits = start(BOB, DirectMode.LISTEN)
    with await connected(await waits.port()) as sock:
        await is_closed(sock)
    assert not waits.meeting.done()


async def test_who_said_something_stays_as_long_as_others_are_silent(start: Meetings) -> None:
    """TRIES: to push out whoever is just proving its key, with many silent connections.

    OUTCOME: the silent ones make room for each other.
    """
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
    """TRIES: to stop the listening by taking every descriptor there is.

    OUTCOME: it pauses, listens on, and the peer comes in.
    """
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


async def answers(reply: bytes) -> tuple[asyncio.Server, int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, HERE, 0)
    return server, server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("reply", [b"", b"SSH-2.0-OpenSSH_9.9\r\n"])
async def test_something_else_answers(start: Meetings, reply: bytes) -> None:
    """TRIES: to be dialled instead of the peer, by listening at its address.

    OUTCOME: it is told as what it is; waiting for the peer goes on.
    """
    server, port = await answers(reply)
    async with server:
        error = await start(ALICE, DirectMode.CONNECT, port).error()
        assert isinstance(error, NoPath)
        assert str(error).startswith(f"cannot reach the peer at {HERE}:{port}: the TLS handshake with the other side ")
        waits = start(ALICE, DirectMode.BOTH, port)
        own = await waits.port()
        await is_one_session(await start(BOB, DirectMode.CONNECT, own).session(), await waits.session())
