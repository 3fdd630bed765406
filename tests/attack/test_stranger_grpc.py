"""A stranger on the mediator's port for peers: silent, half-way, garbage, huge, many. Peers go on meeting.

What it does with frames of HTTP/2 is in test_stranger_http2.py, with the relay in test_stranger_relay.py.
"""

import asyncio
import contextlib
import ssl

import grpc
from p2p_server.app import Mediator

from tests.server import conftest as server
from tests.server.client import PATIENCE
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched
from tests.server.raw_http2 import (
    ACK,
    END_HEADERS,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    NO_UTF_8,
    PING,
    PREFACE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    any_certificate,
    ask,
    call_headers,
    frame,
)

clock, config, mediator, peer, start = server.clock, server.config, server.mediator, server.peer, server.start

HANDSHAKE_TIME = 10.0  # s, of TLS


async def closed(mediator: Mediator, say: bytes, *, tls: bool) -> bytes:
    """Say something on a connection of its own, and nothing more; return what came until the mediator closed it."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", mediator.listening.port, ssl=any_certificate() if tls else None
    )
    try:
        writer.write(say)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return await asyncio.wait_for(reader.read(1 << 20), HANDSHAKE_TIME + PATIENCE)
        return b""
    finally:
        writer.transport.abort()


def client_hello() -> bytes:
    context = any_certificate()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="mediator")
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


async def test_connections_that_never_get_to_a_stream_are_closed_in_time(start: StartMediator, peer: OpenPeer) -> None:
    """TRIES: to hold connections: silence, half a TLS hello, HTTP/1.1, noise, frames that cannot be.

    OUTCOME: each is closed, the silent ones after ten seconds; meanwhile peers meet.
    """
    mediator = await start()
    hello = client_hello()
    silent = [
        asyncio.create_task(closed(mediator, say, tls=False)) for say in (b"", hello[: len(hello) // 2], hello[:1])
    ]
    await matched(mediator, peer)
    wrong = [
        asyncio.create_task(closed(mediator, b"GET / HTTP/1.1\r\n\r\n" * 10, tls=False)),
        asyncio.create_task(closed(mediator, bytes(100), tls=False)),
        asyncio.create_task(closed(mediator, b"not HTTP/2 at all, but a few lines\r\n" * 10, tls=True)),
        asyncio.create_task(closed(mediator, PREFACE + frame(200, 0, 0, bytes(20_000)), tls=True)),
        asyncio.create_task(closed(mediator, PREFACE + frame(HEADERS, END_HEADERS, 1, b"\xff" * 50), tls=True)),
    ]
    await asyncio.wait_for(asyncio.gather(*wrong), PATIENCE)
    assert await asyncio.gather(*silent) == [b""] * 3
    await matched(mediator, peer)


async def test_a_message_of_100_mib_is_refused_before_it_is_there(start: StartMediator, peer: OpenPeer) -> None:
    """TRIES: to fill the memory with one message of 100 MiB.

    OUTCOME: it is refused by its length; peers meet.
    """
    mediator = await start()
    a = peer(mediator, 0)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        await asyncio.wait_for(a.send_bytes(bytes(100 * 1024**2)), PATIENCE)
    end = await a.end()
    assert end.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    await matched(mediator, peer)


async def test_a_thousand_streams_on_one_connection_are_eight(start: StartMediator, peer: OpenPeer) -> None:
    """TRIES: to open a thousand streams on one connection.

    OUTCOME: eight are open at once; peers meet.
    """
    mediator = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", mediator.listening.port, ssl=any_certificate())
    writer.write(PREFACE + frame(SETTINGS, 0, 0, b""))
    for stream in range(1, 2001, 2):
        writer.write(frame(HEADERS, END_HEADERS, stream, call_headers("/punchwire.v1.Mediator/Meet")))
    writer.write(frame(PING, 0, 0, bytes(8)))  # a PING: what comes before its answer was looked at
    refused = 0
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        async with asyncio.timeout(PATIENCE):
            while True:
                header = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(header[:3]))
                kind, flags = header[3], header[4]
                if kind == RST_STREAM:
                    assert int.from_bytes(payload) in (REFUSED_STREAM, ENHANCE_YOUR_CALM)
                    refused += 1
                if kind == GOAWAY or (kind == PING and flags & ACK):
                    break
    assert len(mediator._meet._open) <= 8
    assert refused or kind == GOAWAY  # whichever gRPC thinks right
    writer.transport.abort()
    await matched(mediator, peer)


async def test_no_name_of_a_method_ends_the_mediator(mediator: Mediator, peer: OpenPeer) -> None:
    """TRIES: to end the mediator by calling methods whose names are no UTF-8, empty, or unknown (grpcio's known fault).

    OUTCOME: the calls end; whoever waits goes on waiting, and peers meet.
    """
    here = peer(mediator, 2)
    await here.enter()
    tls = mediator.certificate is not None
    for _ in range(20):
        for path in (NO_UTF_8, b"", b"/a\nb", b"/punchwire.v1.Mediator/Other"):
            await ask(mediator.listening.port, path, tls=tls)
        await matched(mediator, peer)
    assert not mediator._port._fading
    await here.advertise(peer(mediator, 3).id)
    assert not here.call.done()
