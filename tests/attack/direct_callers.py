"""Who calls at the port of a direct connection, and keeps to no rule that it does not want to."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from p2p_core.errors import ConnectionLost
from p2p_core.proof import Role
from p2p_peer.channel.channel import until as stream_until
from p2p_peer.channel.stream import Stream, StreamEnded, Wait
from p2p_peer.channel.tls import TlsSocket

from tests.peer.directly import HERE, Meetings
from tests.peer.pair import soon


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Meetings]:
    """Honest peers, which meet directly; none is left in the end."""
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


async def is_over(stream: Stream) -> bytes:
    """Read until the other side has had enough; return what came until then."""
    heard = bytearray()
    space = memoryview(bytearray(4096))
    with contextlib.suppress(StreamEnded, ConnectionLost):
        while True:
            if (count := stream.read_into(space)) is None:
                await soon(stream_until(stream, Wait.READ))
            else:
                heard += space[:count]
    stream.close()
    return bytes(heard)
