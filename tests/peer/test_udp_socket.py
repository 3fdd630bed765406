import asyncio
import errno
import re
import socket
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer.gather import udp_socket
from p2p_peer.gather.stun import StunFailed
from p2p_peer.gather.udp_socket import UdpSocket

from tests.peer.pair import soon, until
from tests.peer.stun_server import Answer, honest, udp_stun_server

LOCAL = "127.0.0.1"
Taken = list[tuple[bytes, Address]]


def own_address(sock: UdpSocket, host: str = LOCAL) -> Address:
    return Address.of(host, sock.number)


def take_all(sock: UdpSocket) -> tuple[Taken, Taken]:
    probes: Taken = []
    quic: Taken = []
    sock.on_probe(lambda data, source: probes.append((data, source)))
    sock.on_quic(lambda data, source: quic.append((data, source)))
    return probes, quic


@pytest.fixture
async def sock() -> AsyncIterator[UdpSocket]:
    with closing(UdpSocket.open(socket.AF_INET)) as sock:
        yield sock


@pytest.fixture
async def other() -> AsyncIterator[UdpSocket]:
    with closing(UdpSocket.open(socket.AF_INET)) as sock:
        yield sock


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_socket, "ANSWER_TIME", 0.05)


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, LOCAL), (socket.AF_INET6, "::1")])
async def test_datagrams_go_to_and_fro(family: socket.AddressFamily, host: str) -> None:
    with closing(UdpSocket.open(family)) as one, closing(UdpSocket.open(family)) as two:
        assert one.family == family
        probes, _ = take_all(two)
        assert one.send(b"\x80probe", own_address(two, host))
        await until(lambda: probes == [(b"\x80probe", own_address(one, host))])


async def test_ipv4_and_ipv6_may_have_one_number() -> None:
    with closing(UdpSocket.open(socket.AF_INET6)) as six, closing(UdpSocket.open(socket.AF_INET, six.number)) as four:
        assert six.number == four.number


async def test_bound_to_one_address() -> None:
    with closing(UdpSocket.open(socket.AF_INET, 0, "127.0.0.5")) as sock:
        assert sock.socket.getsockname() == ("127.0.0.5", sock.number)
    with pytest.raises(OSError, match="assign"):
        UdpSocket.open(socket.AF_INET, 0, "203.0.113.77")


async def test_sorted_by_the_first_byte(sock: UdpSocket, other: UdpSocket) -> None:
    """RFC 7983 §7 and RFC 9443 §3."""
    probes, quic = take_all(sock)
    other.send(b"", own_address(sock))
    for first in range(256):
        other.send(bytes([first]), own_address(sock))
    await until(lambda: bool(quic) and quic[-1][0] == b"\xff")
    assert [data[0] for data, _ in probes] == list(range(128, 192))
    assert [data[0] for data, _ in quic] == [*range(64, 128), *range(192, 256)]


async def test_what_nobody_takes_is_dropped(sock: UdpSocket, other: UdpSocket) -> None:
    probes, quic = take_all(sock)
    sock.on_probe(None)
    other.send(b"\x80", own_address(sock))
    other.send(b"\xc0", own_address(sock))
    await until(lambda: len(quic) == 1)
    sock.on_quic(None)
    other.send(b"\xc0", own_address(sock))
    sock.on_probe(lambda data, source: probes.append((data, source)))
    other.send(b"\x81", own_address(sock))
    await until(lambda: bool(probes))
    assert [data for data, _ in probes] == [b"\x81"]
    assert len(quic) == 1


async def test_sending_never_fails_loudly(sock: UdpSocket) -> None:
    assert not sock.send(b"\x80", Address.of("::1", 9))  # another family
    assert not sock.send(bytes(70_000), Address.of(LOCAL, 9))  # too long
    assert not sock.send(b"\x80", Address.of("255.255.255.255", 9))  # not allowed
    sock.close()
    assert not sock.send(b"\x80", Address.of(LOCAL, 9))


async def test_that_nobody_is_there_ends_nothing(sock: UdpSocket, other: UdpSocket) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((LOCAL, 0))
        nobody = Address.of(*free.getsockname())
    for _ in range(3):
        assert sock.send(b"\x80", nobody)  # answered by ICMP port unreachable
    probes, _ = take_all(sock)
    other.send(b"\x80", own_address(sock))
    await until(lambda: len(probes) == 1)


async def test_an_error_that_the_system_tells_is_passed_over() -> None:
    class Refusing(socket.socket):
        refusals = 2

        def recvfrom(self, size: int, flags: int = 0) -> tuple[bytes, object]:
            if self.refusals:
                self.refusals -= 1
                raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
            return super().recvfrom(size, flags)

    raw = Refusing(socket.AF_INET, socket.SOCK_DGRAM)
    raw.setblocking(False)
    raw.bind((LOCAL, 0))
    with closing(UdpSocket(raw)) as sock, closing(UdpSocket.open(socket.AF_INET)) as other:
        probes, _ = take_all(sock)
        other.send(b"\x80", own_address(sock))
        await until(lambda: len(probes) == 1)


async def test_detached_it_is_not_read_any_more(sock: UdpSocket, other: UdpSocket) -> None:
    probes, _ = take_all(sock)
    raw = sock.detach()
    with raw:
        sock.close()  # as whoever opened it will
        other.send(b"\x80", own_address(sock))
        data, name = await soon(asyncio.get_running_loop().sock_recvfrom(raw, 2048))
        assert (data, Address.of(*name)) == (b"\x80", own_address(other))
        assert probes == []
        assert sock.detach() is raw


async def test_detached_by_who_takes_a_datagram_the_next_one_stays(sock: UdpSocket, other: UdpSocket) -> None:
    taken: list[bytes] = []

    def take(data: bytes, source: Address) -> None:
        taken.append(data)
        sock.detach()

    for data in (b"\xc0first", b"\xc0second"):
        other.send(data, own_address(sock))
    sock.on_quic(take)
    await until(lambda: bool(taken))
    with sock.socket:
        assert await soon(asyncio.get_running_loop().sock_recv(sock.socket, 2048)) == b"\xc0second"
    assert taken == [b"\xc0first"]


async def test_closing_twice_does_no_harm(sock: UdpSocket) -> None:
    sock.close()
    sock.close()
    assert sock.socket.fileno() == -1


async def test_stun_shows_our_address(sock: UdpSocket) -> None:
    async with udp_stun_server() as server:
        assert await soon(sock.ask(server.address)) == own_address(sock)
        assert len(server.requests) == 1


async def test_a_request_that_was_lost_is_sent_again(sock: UdpSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_socket, "RETRANSMIT", 0.001)

    def answer(request: BindingRequest, source: Address) -> bytes | None:
        return None if len(server.requests) < 3 else honest(request, source)

    async with udp_stun_server(answer) as server:
        assert await soon(sock.ask(server.address)) == own_address(sock)
        assert len(set(server.requests)) == 1  # one transaction (RFC 8489 §6.2.1)


async def test_not_more_than_a_few_requests_go_out(sock: UdpSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp_socket, "ANSWER_TIME", 0.10)
    monkeypatch.setattr(udp_socket, "RETRANSMIT", 0.02)
    async with udp_stun_server(lambda *_: None) as server:
        with pytest.raises(StunFailed, match=r"no answer within 0.1 s"):
            await soon(sock.ask(server.address))
        assert 1 <= len(server.requests) <= 4  # at 0, 20, 50 and 95 ms


async def test_several_at_once(sock: UdpSocket) -> None:
    async with udp_stun_server() as one, udp_stun_server(host="127.0.0.2") as two:
        answers = await soon(asyncio.gather(sock.ask(one.address), sock.ask(two.address), sock.ask(one.address)))
        assert answers == [own_address(sock)] * 3


def lying(address: str) -> Answer:
    return lambda request, source: BindingResponse(request.transaction, Address.of(address, 4242)).encode()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "answer",
    [
        lambda *_: None,
        lambda *_: b"\x00",
        lambda request, _: request.encode(),
        lambda _, source: BindingResponse(bytes(12), source).encode(),
        lambda request, source: honest(request, source)[:-4],
        lambda request, _: b"\x01\x11" + request.encode()[2:],  # an error
    ],
    ids=["silent", "byte", "request", "transaction", "short", "error"],
)
async def test_what_is_no_answer(sock: UdpSocket, answer: Answer) -> None:
    async with udp_stun_server(answer) as server:
        with pytest.raises(StunFailed, match=f"{server.address}: no answer"):
            await soon(sock.ask(server.address))


@pytest.mark.parametrize("address", ["0.0.0.0", "239.255.255.250", "2001:db8::1"])
async def test_an_answer_that_cannot_be_true(sock: UdpSocket, address: str) -> None:
    async with udp_stun_server(lying(address)) as server:
        said = f"it says that we are at {Address.of(address, 4242)}"
        with pytest.raises(StunFailed, match=re.escape(f"{server.address}: {said}")):
            await soon(sock.ask(server.address))


@pytest.mark.usefixtures("impatient")
async def test_an_answer_from_another_address_is_none(sock: UdpSocket) -> None:
    async with udp_stun_server() as elsewhere:

        def from_elsewhere(request: BindingRequest, source: Address) -> None:
            elsewhere.transport.sendto(honest(request, source), (source.host, source.port))

        async with udp_stun_server(from_elsewhere) as server:
            with pytest.raises(StunFailed, match="no answer"):
                await soon(sock.ask(server.address))
            assert server.requests


async def test_the_first_answer_counts(sock: UdpSocket) -> None:
    def twice(request: BindingRequest, source: Address) -> bytes:
        server.transport.sendto(honest(request, source), (source.host, source.port))
        return BindingResponse(request.transaction, Address.of("203.0.113.5", 1)).encode()

    async with udp_stun_server(twice) as server:
        assert await soon(sock.ask(server.address)) == own_address(sock)


@pytest.mark.parametrize("end", [UdpSocket.close, UdpSocket.detach])
async def test_closed_while_it_asks(sock: UdpSocket, end: object) -> None:
    async with udp_stun_server(lambda *_: None) as server:
        asking = asyncio.create_task(sock.ask(server.address))
        await until(lambda: bool(server.requests))
        with sock.socket:
            assert callable(end)
            end(sock)
            with pytest.raises(StunFailed, match="closed"):
                await soon(asking)
            with pytest.raises(StunFailed, match="closed"):
                await soon(sock.ask(server.address))


async def test_cancelled_while_it_asks(sock: UdpSocket) -> None:
    async with udp_stun_server(lambda *_: None) as server:
        asking = asyncio.create_task(sock.ask(server.address))
        await until(lambda: bool(server.requests))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        server.transport.sendto(honest(server.requests[0], own_address(sock)), (LOCAL, sock.number))
        server.answer = honest
        assert await soon(sock.ask(server.address)) == own_address(sock)


async def test_a_flood_leaves_the_loop_its_turns(sock: UdpSocket, other: UdpSocket) -> None:
    _, quic = take_all(sock)
    turns: list[int] = []

    async def count() -> None:
        while len(quic) < 200:
            turns.append(len(quic))
            await asyncio.sleep(0)

    for _ in range(200):
        other.send(b"\xc0", own_address(sock))
    await soon(count())
    assert all(after - before <= 64 for before, after in zip(turns, [*turns[1:], 200], strict=True))


async def test_the_same_port_is_taken_again(sock: UdpSocket, other: UdpSocket) -> None:
    number, taken = sock.number, sock.detach()
    taken.close()
    sock.reopen()
    assert sock.socket.getsockname()[1] == number == sock.number
    probes, _ = take_all(sock)
    other.send(b"\x80 again", own_address(sock))
    await until(lambda: bool(probes))
    sock.reopen()  # one that is open stays as it is
    assert probes[0][0] == b"\x80 again"


async def test_a_port_that_somebody_else_has_taken_meanwhile(sock: UdpSocket) -> None:
    sock.close()
    with closing(UdpSocket.open(socket.AF_INET, sock.number)):
        with pytest.raises(OSError, match="in use"):
            sock.reopen()
        assert not sock.send(b"\x80", Address.of(LOCAL, 9))
