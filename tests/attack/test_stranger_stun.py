"""A stranger on the mediator's STUN ports, over UDP and TCP: floods in others' names, and connections that hold on."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator

import pytest
from p2p_core.wire import stun
from p2p_core.wire.candidate import Transport
from p2p_proto import mediator_pb2 as pb
from p2p_server.app import Mediator

from tests.server import conftest as server
from tests.server.client import PATIENCE
from tests.server.conftest import OpenPeer, StartMediator

clock, config, peer, start = server.clock, server.config, server.peer, server.start

REQUEST = stun.BindingRequest(bytes(range(12))).encode()
COOKIE = REQUEST[4:8]
LARGEST = 32 + 12  # bytes of an answer, with an IPv6 address
NO_REQUESTS = {
    "nothing": b"",
    "noise": os.urandom(100),
    "an indication": b"\0\x11" + REQUEST[2:],
    "a response": b"\x01\x01" + REQUEST[2:],
    "an allocation of TURN": b"\0\x03" + REQUEST[2:],
    "no cookie": REQUEST[:4] + bytes(4) + REQUEST[8:],
    "cut off": REQUEST[:19],
    "longer than it says": REQUEST + bytes(8),
    "shorter than it says": b"\0\x01\0\x08" + REQUEST[4:],
    "an attribute over the end": b"\0\x01\0\x04" + REQUEST[4:] + b"\x80\x22\xff\xff",
    "longer than any request": b"\0\x01\x08\0" + COOKIE + bytes(12 + 2048),
    "CLASSIC-STUN's CHANGE-REQUEST alone": b"\0\x03\0\x08" + COOKIE,
}


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.2", 0))
        sock.setblocking(False)
        yield sock


async def ports(mediator: Mediator, peer: OpenPeer, transport: Transport) -> list[int]:
    """Where STUN is answered, as the mediator tells its peers."""
    welcome = await peer(mediator, 0).enter()
    wanted = pb.UDP if transport is Transport.UDP else pb.TCP
    found = [one.port for one in welcome.stun if one.transport == wanted]
    assert len(found) == 2
    return found


async def answers(sock: socket.socket, port: int) -> list[bytes]:
    """Ask once more from another socket, and return all that came until that was answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        other.setblocking(False)
        other.sendto(REQUEST, ("127.0.0.1", port))
        await asyncio.wait_for(asyncio.get_running_loop().sock_recv(other, 2048), PATIENCE)
    came = []
    with contextlib.suppress(BlockingIOError):
        while True:
            came.append(sock.recv(2048))
    return came


async def test_what_is_no_request(start: StartMediator, peer: OpenPeer, sock: socket.socket) -> None:
    """TRIES: to get an answer, or to end the responder, by datagrams that are no request: cut, long, of other kinds.

    OUTCOME: none is answered; requests are.
    """
    for port in await ports(await start(), peer, Transport.UDP):
        for data in NO_REQUESTS.values():
            sock.sendto(data, ("127.0.0.1", port))
        assert await answers(sock, port) == []


async def test_an_amplifier(start: StartMediator, peer: OpenPeer, sock: socket.socket) -> None:
    """TRIES: to have the mediator flood a third party: requests in its name, as small as may be, and many of them.

    OUTCOME: an answer has 32 bytes for 20, or 44 where it tells an IPv6 address, and one place gets 1000 at once.
    """
    mediator = await start(stun_requests_at_once=20)
    first, second = await ports(mediator, peer, Transport.UDP)
    for _ in range(100):
        sock.sendto(REQUEST, ("127.0.0.1", first))
    for _ in range(100):
        sock.sendto(REQUEST, ("127.0.0.1", second))
    came = await answers(sock, first) + await answers(sock, second)
    assert len(came) == 20  # of both ports together
    assert {len(answer) for answer in came} == {32}
    assert max(len(answer) for answer in came) <= 2.2 * len(REQUEST)
    assert mediator._meet._setting.limits.stun_requests_at_once == 20


async def test_two_responders_that_answer_each_other(start: StartMediator, peer: OpenPeer, sock: socket.socket) -> None:
    """TRIES: to set two STUN ports on each other for ever, with one request in the other's name.

    OUTCOME: what is answered is no request: it ends there.
    """
    port, _ = await ports(await start(), peer, Transport.UDP)
    sock.sendto(REQUEST, ("127.0.0.1", port))
    [answer] = [await asyncio.wait_for(asyncio.get_running_loop().sock_recv(sock, 2048), PATIENCE)]
    sock.sendto(answer, ("127.0.0.1", port))
    assert await answers(sock, port) == []


async def closes(port: int, data: bytes) -> bytes:
    """Say this over TCP, and return what came until the mediator ended it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0))
    writer.write(data)
    try:
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), PATIENCE)
        return b""
    finally:
        writer.transport.abort()


async def test_garbage_over_tcp(start: StartMediator, peer: OpenPeer) -> None:
    """TRIES: HTTP, TLS, TURN and lengths that lie on the TCP ports; and three hundred requests at once, unread.

    OUTCOME: the connection is closed, unanswered, or once too much waits.
    """
    garbage = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(32), bytes(20)]
    garbage += [b"\0\x03\0\0" + REQUEST[4:], b"\0\x01\xff\xfc" + REQUEST[4:], REQUEST[:4] + bytes(16)]
    for port in await ports(await start(), peer, Transport.TCP):
        for data in garbage:
            assert await closes(port, data) == b""
        assert len(await closes(port, REQUEST * 300)) < 300 * 32


async def test_connections_that_hold_on(start: StartMediator, peer: OpenPeer) -> None:
    """TRIES: to take every place with connections that say half a request, and nothing more.

    OUTCOME: one address has so many and no more; others are answered meanwhile.
    """
    mediator = await start(stun_connections_per_address=8)
    port, _ = await ports(mediator, peer, Transport.TCP)
    held = [await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.2", 0)) for _ in range(20)]
    for _, writer in held:
        writer.write(REQUEST[:7])
    ends = [asyncio.create_task(reader.read()) for reader, _ in held]
    async with asyncio.timeout(PATIENCE):
        while sum(end.done() for end in ends) < 12:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED, timeout=0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    assert len(await asyncio.wait_for(reader.readexactly(32), PATIENCE)) == 32
    assert sum(not end.done() for end in ends) == 8
    for _, each in (*held, (reader, writer)):
        each.transport.abort()
    await asyncio.gather(*ends, return_exceptions=True)
