import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
from p2p_peer import what_answers
from p2p_peer.what_answers import speaks_http2, speaks_http2_over_tls

from tests.peer.mediator_script import Stream, scripted_mediator
from tests.peer.pair import soon
from tests.peer.tls_server import shown, tls_server

SETTINGS = struct.pack(">xHBBI", 0, 4, 0, 0)


async def answered(data: bytes, look: Callable[[str, int], Awaitable[bool]]) -> bool:
    """Look at a server that sends `data` to whoever comes, and waits for them to go."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await soon(look("127.0.0.1", server.sockets[0].getsockname()[1]))


@pytest.mark.parametrize(
    ("data", "is_http2"),
    [
        (SETTINGS, True),
        (SETTINGS + b"more", True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (struct.pack(">xHBBI", 0, 4, 0, 1), False),
    ],
)
async def test_http2_begins_with_settings(data: bytes, is_http2: bool) -> None:
    assert await answered(data, speaks_http2) is is_http2


async def test_a_mediator_without_tls() -> None:
    async with scripted_mediator(Stream.stay) as mediator:
        where = "127.0.0.1", mediator.address.port
        assert await soon(speaks_http2(*where))
        assert not await soon(speaks_http2_over_tls(*where))


async def test_a_mediator_with_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(what_answers, "LOOK_TIME", 0.2)  # it waits for us to say something that it understands
    async with tls_server(shown()) as port:
        assert await soon(speaks_http2_over_tls("127.0.0.1", port))
        assert not await soon(speaks_http2("127.0.0.1", port))


@pytest.mark.parametrize("look", [speaks_http2, speaks_http2_over_tls])
async def test_who_says_nothing(monkeypatch: pytest.MonkeyPatch, look: Callable[[str, int], Awaitable[bool]]) -> None:
    monkeypatch.setattr(what_answers, "LOOK_TIME", 0.05)
    assert not await answered(b"", look)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert not await soon(look("127.0.0.1", port))
