"""STUN over UDP, as the mediator answers it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack

import pytest
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address, Transport
from p2p_server.limits import Limits
from p2p_server.metrics import Metrics
from p2p_server.sockets import listen
from p2p_server.stun_responder import StunResponder

from tests.server.client import PATIENCE
from tests.server.clock import ManualClock
from tests.server.conftest import ipv6
from tests.server.scraped import value

Start = Callable[..., Awaitable[int]]


class Client:
    """A UDP socket that asks, on an address of this machine."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.address = Address.of(*self.socket.getsockname()[:2])

    def send(self, data: bytes, server: Address) -> None:
        self.socket.sendto(data, (server.host, server.port))

    async def answer(self) -> tuple[bytes, Address]:
        async with asyncio.timeout(PATIENCE):
            data, name = await asyncio.get_running_loop().sock_recvfrom(self.socket, 2048)
        return data, Address.of(*name[:2])

    async def ask(self, server: Address) -> tuple[stun.BindingRequest | stun.BindingResponse, Address]:
        """What is answered, and from where."""
        request = stun.BindingRequest.fresh()
        self.send(request.encode(), server)
        data, source = await self.answer()
        response = stun.decode(data)
        assert response.transaction == request.transaction
        return response, source


@pytest.fixture
async def start(clock: ManualClock, metrics: Metrics) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(host: str = "127.0.0.1", **limits: float) -> int:
            responder = StunResponder(Limits(**limits), clock, metrics)
            sockets = await listen(host, 0, Transport.UDP)
            port: int = sockets[0].getsockname()[1]
            await responder.start(sockets)
            stack.push_async_callback(responder.stop)
            return port

        yield start


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    with client.socket:
        yield client


async def test_the_answer_is_where_the_request_came_from(start: Start, client: Client) -> None:
    server = Address.of("127.0.0.1", await start())
    response, source = await client.ask(server)
    assert isinstance(response, stun.BindingResponse)
    assert (response.mapped, source) == (client.address, server)


@pytest.mark.parametrize("host", ["127.0.0.2", "127.0.0.3"])
async def test_it_comes_from_the_address_that_was_asked(start: Start, client: Client, host: str) -> None:
    server = Address.of(host, await start(""))
    response, source = await client.ask(server)
    assert isinstance(response, stun.BindingResponse)
    assert (response.mapped, source) == (client.address, server)


async def test_so_it_does_on_a_socket_for_ipv4_alone(start: Start, client: Client) -> None:
    server = Address.of("127.0.0.2", await start("0.0.0.0"))
    assert (await client.ask(server))[1] == server


@ipv6
async def test_ipv6(start: Start) -> None:
    server = Address.of("::1", await start(""))
    client = Client("::1")
    with client.socket:
        response, source = await client.ask(server)
    assert isinstance(response, stun.BindingResponse)
    assert (response.mapped, source) == (client.address, server)


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        bytes(20),
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        stun.BindingResponse(bytes(12), Address.of("192.0.2.1", 1)).encode(),
        stun.BindingRequest(bytes(12)).encode() + bytes(4),
        b"\x00\x11" + stun.BindingRequest(bytes(12)).encode()[2:],  # an indication
        b"\x00\x01\x08\x00\x21\x12\xa4\x42" + bytes(12 + 2048),  # longer than any request
    ],
    ids=["empty", "byte", "zeros", "http", "response", "trailing", "indication", "long"],
)
async def test_what_is_no_request_is_not_answered(start: Start, client: Client, garbage: bytes) -> None:
    server = Address.of("127.0.0.1", await start())
    client.send(garbage, server)
    await client.ask(server)  # the first answer that comes is to the request after it


async def test_each_answer_is_counted(start: Start, client: Client, metrics: Metrics) -> None:
    server = Address.of("127.0.0.1", await start())
    await client.ask(server)
    client.send(bytes(20), server)
    await client.ask(server)
    assert value(metrics, "stun_answers_total", transport="udp") == 2
    assert value(metrics, "stun_answers_total", transport="tcp") == 0


async def test_an_answer_is_no_gift_to_a_flood(start: Start, client: Client) -> None:
    """Anybody may ask in another's name: what that one is sent is at most two and a bit times what it cost."""
    server = Address.of("127.0.0.1", await start())
    request = stun.BindingRequest.fresh().encode()
    client.send(request, server)
    data, _ = await client.answer()
    assert len(data) == 32
    assert b"\x80\x22" not in data[20:22]  # SOFTWARE would be one


async def test_each_source_is_answered_so_often_only(start: Start, client: Client, clock: ManualClock) -> None:
    server = Address.of("127.0.0.1", await start(stun_requests_at_once=2, stun_requests_per_second=1))
    for _ in range(2):
        await client.ask(server)
    client.send(stun.BindingRequest.fresh().encode(), server)
    other = Client("127.0.0.9")
    with other.socket:
        await other.ask(server)  # sent and answered after the one above
    clock.advance(1.5)
    await client.ask(server)  # whose answer is the next to come


async def test_stopping_closes_the_socket(clock: ManualClock) -> None:
    responder = StunResponder(Limits(), clock, Metrics())
    sockets = await listen("127.0.0.1", 0, Transport.UDP)
    await responder.start(sockets)
    await responder.stop()
    assert [sock.fileno() for sock in sockets] == [-1]
