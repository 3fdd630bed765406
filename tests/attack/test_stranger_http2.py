"""A stranger on the mediator's port for peers that abuses HTTP/2: floods of cheap frames (RFC 9113 §10.5)."""

import asyncio
import contextlib

import pytest

from tests.server import conftest as server
from tests.server.client import PATIENCE, until
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched
from tests.server.raw_http2 import (
    ACK,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    MAX_STREAMS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    any_certificate,
    call_headers,
    frame,
)

clock, config, peer, start = server.clock, server.config, server.peer, server.start

CONTINUATION = 9
MEET = call_headers("/punchwire.v1.Mediator/Meet")
MANY = 5000
LAST = b"the last"  # of a PING: when it is answered, all before it was looked at


def on_streams(*frames: tuple[int, int, bytes]) -> bytes:
    """These frames on each of many streams."""
    return b"".join(frame(kind, flags, 2 * n + 1, data) for n in range(MANY) for kind, flags, data in frames)


FLOODS = {
    "rapid reset": on_streams((HEADERS, END_HEADERS, MEET), (RST_STREAM, 0, bytes(4))),  # CVE-2023-44487
    "streams that are half closed": on_streams((HEADERS, END_HEADERS | 1, MEET)),
    "headers without end": frame(HEADERS, 0, 1, MEET) + frame(CONTINUATION, 0, 1, b"\0\x01a\x01b" * 100) * 1000,
    "headers that are too large": frame(HEADERS, 0, 1, MEET)
    + frame(CONTINUATION, 0, 1, b"\0\x01a\x7f\x81\x7e" + b"x" * 16_000)
    + frame(CONTINUATION, END_HEADERS, 1, b""),
    "a bomb of header compression": frame(HEADERS, END_HEADERS, 1, MEET + b"\x40\x01a\x7f\xe1\x1e" + b"x" * 4000)
    + frame(HEADERS, END_HEADERS, 3, MEET + b"\xbe" * 16_000),
    "pings": frame(PING, 0, 0, bytes(8)) * MANY,
    "settings": frame(SETTINGS, 0, 0, b"") * MANY,
    "empty data": frame(HEADERS, END_HEADERS, 1, MEET) + frame(DATA, 0, 1, b"") * MANY,
    "a window that overflows": frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "windows of one byte": frame(HEADERS, END_HEADERS, 1, MEET) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * MANY,
    "kinds that there are not": frame(200, 0, 0, bytes(100)) * MANY,
    "priorities": b"".join(frame(2, 0, 2 * n + 1, b"\0\0\0\0\x10") for n in range(MANY)),
}


async def connection(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from an address at which no peer is."""
    return await asyncio.open_connection(
        "127.0.0.1", port, ssl=any_certificate(), local_addr=("127.0.0.2", 0), server_hostname=""
    )


async def flood(port: int, data: bytes) -> asyncio.StreamWriter:
    """Send this, and read what is answered, until all was looked at or the connection is over."""
    reader, writer = await connection(port)
    writer.write(PREFACE + frame(SETTINGS, 0, 0, b"") + data + frame(PING, 0, 0, LAST))
    with contextlib.suppress(asyncio.IncompleteReadError, OSError):
        async with asyncio.timeout(PATIENCE):
            while True:
                header = await reader.readexactly(9)
                payload = await reader.readexactly(int.from_bytes(header[:3]))
                if header[3] == GOAWAY or (header[3] == PING and header[4] & ACK and payload == LAST):
                    break
    return writer


@pytest.mark.parametrize("data", FLOODS.values(), ids=FLOODS)
async def test_a_flood_of_frames(start: StartMediator, peer: OpenPeer, data: bytes) -> None:
    """TRIES: floods of frames: rapid reset, CONTINUATION without end, header bombs, PING, SETTINGS, empty DATA.

    OUTCOME: each is taken or its connection is closed; no more than eight streams are open, and peers meet meanwhile.
    """
    mediator = await start()
    waits = peer(mediator, 2)
    await waits.enter()
    writer = await flood(mediator.listening.port, data)
    assert len(mediator._meet._open) <= 1 + MAX_STREAMS
    await matched(mediator, peer)
    assert not waits.call.done()
    writer.transport.abort()
    await until(lambda: len(mediator._meet._open) == 3)


async def test_streams_that_say_nothing(start: StartMediator, peer: OpenPeer) -> None:
    """TRIES: to lock everybody out with 400 streams that open, say nothing, and read nothing.

    OUTCOME: one address holds 25 of them, and those who prove their keys come in.
    """
    mediator = await start()
    calls = b"".join(frame(HEADERS, END_HEADERS, 2 * n + 1, MEET) for n in range(MAX_STREAMS))
    writers = [await flood(mediator.listening.port, calls) for _ in range(50)]
    await matched(mediator, peer)
    assert mediator._meet._setting.admission.unauthenticated <= 25
    for writer in writers:
        writer.transport.abort()
