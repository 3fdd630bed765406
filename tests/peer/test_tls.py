import asyncio
import fcntl
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator

import pytest
from OpenSSL import SSL
from p2p_core.errors import ConnectionLost
from p2p_core.proof import Role
from p2p_peer.channel import channel as channel_module
from p2p_peer.channel import tls as tls_module
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.channel import Channel
from p2p_peer.channel.stream import StreamEnded, Wait
from p2p_peer.channel.tls import TlsSocket

from tests.peer.pair import channels, socket_paths, soon

MIB = 1024 * 1024
SIOCOUTQNSD = 0x894B  # linux/sockios.h: bytes that were never sent
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # SO_LINGER 0


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = await channels()
    yield ours, theirs
    ours.stream.close()
    theirs.stream.close()


async def readable(tls: TlsSocket) -> None:
    await soon(channel_module.until(tls, Wait.READ))


async def writable(tls: TlsSocket) -> None:
    await soon(channel_module.until(tls, Wait.WRITE))


@pytest.mark.parametrize("piece", [7, 1000, 16 * 1024, 64 * 1024])
async def test_a_frame_goes_whole_through_the_smallest_buffer(piece: int) -> None:
    """And to a reader that takes a little at a time."""
    paths = socket_paths()
    for path in paths:
        path.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)  # the kernel takes its least: a few KiB
    sender, receiver = (channel.stream for channel in await channels(paths))
    frame = os.urandom(MIB if piece > 1000 else 50_000)
    written: list[int | None] = []
    got = bytearray()
    writing = asyncio.create_task(write(sender, frame, written))
    space = memoryview(bytearray(piece))
    while len(got) < len(frame):
        count = receiver.read_into(space)
        if count is None:
            await readable(receiver)
        else:
            got += space[:count]
            await asyncio.sleep(0)
    await soon(writing)
    assert got == frame
    assert written[-1] == len(frame)
    assert set(written[:-1]) == {None}  # whole or not at all
    sender.close()
    receiver.close()


async def write(tls: TlsSocket, data: bytes, results: list[int | None]) -> None:
    view = memoryview(data)
    while True:
        results.append(tls.write(view))
        if results[-1] is not None:
            return
        await writable(tls)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not say what it has not sent")
@pytest.mark.parametrize("size", [32 * 1024, 128 * 1024])
async def test_no_more_than_was_said_waits_in_the_system(ends: tuple[Channel, Channel], size: int) -> None:
    tls = ends[0].stream
    tls.queue_at_most(size)
    while tls.write(memoryview(bytes(16 * 1024))) is not None:
        await asyncio.sleep(0)
    unsent = struct.unpack("i", fcntl.ioctl(tls.socket, SIOCOUTQNSD, bytes(4)))[0]
    assert size // 2 < unsent <= size + 64 * 1024  # the last piece that it takes may go beyond


async def test_a_queue_that_is_no_tcp_socket_stays_as_it_is() -> None:
    """A relay's path is one end of a socket pair, whose other end sees to that."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        TlsSocket(ours, Role.INITIATOR).queue_at_most(32 * 1024)


async def test_nothing_there_yet(ends: tuple[Channel, Channel]) -> None:
    assert ends[0].stream.read_into(memoryview(bytearray(10))) is None


async def test_a_proper_end(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = (end.stream for end in ends)
    ours.write(memoryview(b"the last words"))
    ours.end()
    space = memoryview(bytearray(100))
    await readable(theirs)
    assert theirs.read_into(space) == 14
    with pytest.raises(StreamEnded):
        await read(theirs, space)
    theirs.write(memoryview(b"an answer"))  # the other direction is still open
    assert await read(ours, space) == 9


async def read(tls: TlsSocket, space: memoryview) -> int:
    while (count := tls.read_into(space)) is None:
        await readable(tls)
    return count


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("end of stream", "it ended without a farewell"),
        ("reset", "Connection reset by peer"),
        ("garbage", ".+"),  # OpenSSL's own words
    ],
)
async def test_any_other_end_is_a_loss(ends: tuple[Channel, Channel], how: str, why: str) -> None:
    ours, theirs = (end.stream for end in ends)
    if how == "end of stream":
        ours.socket.shutdown(socket.SHUT_WR)
    elif how == "reset":
        ours.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        ours.socket.close()
    else:
        ours.socket.send(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ConnectionLost, match=f"^the connection to the other side broke: {why}$"):
        await read(theirs, memoryview(bytearray(100)))


async def test_writing_to_one_who_is_gone(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = (end.stream for end in ends)
    theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    await readable(ours)
    why = "Connection reset by peer|Broken pipe"  # on Linux the first; the second is what a later write gets
    with pytest.raises(ConnectionLost, match=f"^the connection to the other side broke: ({why})$"):
        ours.write(memoryview(b"hello"))


async def test_an_end_nobody_hears_is_no_error(ends: tuple[Channel, Channel]) -> None:
    ours, theirs = (end.stream for end in ends)
    theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    ours.end()
    ours.close()
    ours.close()


async def test_no_session_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL sends tickets; nothing can be done with them, even where both sides use a context twice."""
    made: dict[bool, SSL.Context] = {}
    real = tls_module._context

    def context(certificate: ThrowawayCertificate | None) -> SSL.Context:
        return made.setdefault(certificate is None, real(certificate))

    monkeypatch.setattr(tls_module, "_context", context)
    first = await hands_shaken(None)
    assert first[0].read_into(memoryview(bytearray(10))) is None  # takes the tickets in
    second = await hands_shaken(first[0]._connection.get_session())
    assert len(made) == 2
    for tls in (*first, *second):
        assert not SSL._lib.SSL_session_reused(tls._connection._ssl)
        tls.close()


async def hands_shaken(session: SSL.Session | None) -> tuple[TlsSocket, TlsSocket]:
    paths = socket_paths()
    client, server = TlsSocket(paths[0].socket, Role.INITIATOR), TlsSocket(paths[1].socket, Role.RESPONDER)
    if session is not None:
        client._connection.set_session(session)
    await soon(asyncio.gather(*(shake_hands(tls) for tls in (client, server))))
    return client, server


async def shake_hands(tls: TlsSocket) -> None:
    for step in (tls.handshake_to_binding, tls.handshake_to_end):
        while (wait := step()) is not None:
            await channel_module.until(tls, wait)


def test_before_the_handshake_there_is_no_key_exchange() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert TlsSocket(ours, Role.INITIATOR).key_exchange == "none"
