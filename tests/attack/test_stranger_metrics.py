"""A stranger on the mediator's port for metrics, which speaks plain HTTP to whoever comes."""

import asyncio
import contextlib

import pytest
from p2p_server.app import Mediator
from p2p_server.config import HostPort

from tests.server import conftest as server
from tests.server.client import PATIENCE
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched

clock, config, peer, start = server.clock, server.config, server.peer, server.start

GET = b"GET /metrics HTTP/1.1\r\n\r\n"
NO_METRICS = (
    b"GET /../../../../etc/passwd HTTP/1.1\r\n\r\n",
    b"GET /metrics/../../etc/passwd HTTP/1.1\r\n\r\n",
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\n\r\n",
    b"GET //metrics HTTP/1.1\r\n\r\n",
    b"GET /metrics\0.html HTTP/1.1\r\n\r\n",
    b"GET http://127.0.0.1/metrics HTTP/1.1\r\n\r\n",
    b"CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n",
    b"POST /metrics HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n",
    b"DELETE /metrics HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /metrics\r\n\r\n",
    b"\r\n\r\n",
    b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n",
    b"\xff" * 100 + b"\r\n\r\n",
)


@pytest.fixture
async def mediator(start: StartMediator) -> Mediator:
    return await start(metrics=HostPort("127.0.0.1", 0))


def port(mediator: Mediator) -> int:
    assert mediator.listening.metrics is not None
    return mediator.listening.metrics.port


async def said(mediator: Mediator, data: bytes) -> bytes:
    """What is answered until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port(mediator))
    writer.write(data)
    try:
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), PATIENCE)
        return b""
    finally:
        writer.transport.abort()


async def test_what_is_asked_for_otherwise(mediator: Mediator, peer: OpenPeer) -> None:
    """TRIES: to get a file, another host, or a fault: paths up, encoded, absolute, CONNECT, bodies that lie, noise.

    OUTCOME: 400, 404 or 405 with one line, and the connection ends; what is to be had is to be had.
    """
    for request in NO_METRICS:
        answer = await said(mediator, request)
        assert answer.split(b" ")[1] in (b"400", b"404", b"405")
        assert len(answer) < 300
        assert b"punchwire_" not in answer
        assert b"root:" not in answer
    assert b"punchwire_" in await said(mediator, GET)


async def test_who_it_names(mediator: Mediator, peer: OpenPeer) -> None:
    """TRIES: to learn from the metrics who is there, and who meets whom.

    OUTCOME: numbers only: no id, no key, no address.
    """
    a, b = await matched(mediator, peer)
    shown = await said(mediator, GET)
    assert b"punchwire_matches_total 1.0" in shown
    for peer_id in (a.id, b.id):
        for form in (str(peer_id), peer_id.hex(), peer_id.short):
            assert form.encode() not in shown
    assert b"127.0.0.1" not in shown


async def test_requests_without_an_end(mediator: Mediator, clock: ManualClock, peer: OpenPeer) -> None:
    """TRIES: to hold places and memory: a head without end, one byte at a time, silence, a hundred connections.

    OUTCOME: sixteen places, five seconds, eight KiB; whoever asks is answered, and peers meet.
    """
    assert await said(mediator, b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 2000) == b""
    held = [await asyncio.open_connection("127.0.0.1", port(mediator)) for _ in range(100)]
    for _, writer in held:
        writer.write(b"G")
    assert b"punchwire_" in await said(mediator, GET)
    await matched(mediator, peer)
    clock.advance(5)
    with contextlib.suppress(ConnectionError):
        for reader, _ in held:
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    for _, writer in held:
        writer.transport.abort()
