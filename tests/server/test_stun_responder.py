"""STUN over TCP, as the mediator answers it."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_server.limits import Limits
from p2p_server.metrics import Metrics
from p2p_server.sockets import listen
from p2p_server.stun_responder import StunResponder

from tests.server.client import PATIENCE, until
from tests.server.clock import ManualClock
from tests.server.conftest import ipv6
from tests.server.scraped import value

Start = Callable[..., Awaitable[tuple[StunResponder, int]]]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @property
    def address(self) -> Address:
        return Address.of(*self.writer.get_extra_info("sockname")[:2])

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self) -> stun.BindingResponse:
        async with asyncio.timeout(PATIENCE):
            header = await self.reader.readexactly(stun.HEADER_BYTES)
            response = stun.decode(header + await self.reader.readexactly(stun.body_length(header)))
        assert isinstance(response, stun.BindingResponse)
        return response

    async def ask(self) -> Address:
        request = stun.BindingRequest.fresh()
        self.send(request.encode())
        response = await self.response()
        assert response.transaction == request.transaction
        return response.mapped

    async def closed(self) -> bytes:
        """What still came before the end."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


@pytest.fixture
async def start(clock: ManualClock, metrics: Metrics) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        async def start(host: str = "127.0.0.1", **limits: float) -> tuple[StunResponder, int]:
            responder = StunResponder(Limits(**limits), clock, metrics)
            sockets = await listen(host, 0)
            await responder.start(sockets)
            stack.push_async_callback(responder.stop)
            return responder, sockets[0].getsockname()[1]

        yield start


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Awaitable[Client]]]:
    clients: list[Client] = []

    async def connect(port: int, host: str = "127.0.0.1") -> Client:
        clients.append(Client(*await asyncio.open_connection(host, port)))
        return clients[-1]

    yield connect
    for client in clients:
        client.writer.transport.abort()


async def test_several_requests_on_one_connection(start: Start, connect) -> None:
    _, port = await start()
    client = await connect(port)
    assert await client.ask() == client.address
    assert await client.ask() == client.address


async def test_each_answer_is_counted(start: Start, connect, metrics: Metrics) -> None:
    _, port = await start()
    client, other = await connect(port), await connect(port)
    client.send(b"".join(stun.BindingRequest.fresh().encode() for _ in range(3)))
    for _ in range(3):
        await client.response()
    other.send(bytes(20))
    await other.closed()
    assert value(metrics, "stun_answers_total", transport="tcp") == 3
    assert value(metrics, "stun_answers_total", transport="udp") == 0


async def test_requests_in_one_piece_and_one_in_many(start: Start, connect) -> None:
    _, port = await start()
    client = await connect(port)
    requests = [stun.BindingRequest.fresh() for _ in range(3)]
    client.send(b"".join(request.encode() for request in requests[:2]))
    for byte in requests[2].encode():
        client.send(bytes([byte]))
        await client.writer.drain()
    assert [(await client.response()).transaction for _ in requests] == [request.transaction for request in requests]


async def test_a_request_with_attributes_is_answered(start: Start, connect) -> None:
    _, port = await start()
    client = await connect(port)
    request = bytearray(stun.BindingRequest.fresh().encode() + b"\x80\x22\x00\x03abc\x00")  # SOFTWARE
    request[3] = 8
    client.send(bytes(request))
    assert (await client.response()).mapped == client.address


@ipv6
async def test_all_addresses_are_one_port_and_ipv4_is_reported_as_ipv4(start: Start, connect) -> None:
    _, port = await start("")
    for host in ("127.0.0.1", "::1"):
        client = await connect(port, host)
        assert await client.ask() == Address.of(host, client.address.port)


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        bytes(20),
        stun.BindingResponse(bytes(12), Address.of("192.0.2.1", 1)).encode(),
        b"\x00\x01\xff\xfc\x21\x12\xa4\x42" + bytes(12),  # says that 64 KiB follow
        b"\x00\x01\x00\x04\x21\x12\xa4\x42" + bytes(12) + b"\x00\x01\xff\xff",  # an attribute beyond the end
    ],
    ids=["http", "zeros", "response", "long", "overrun"],
)
async def test_garbage_closes_the_connection(start: Start, connect, garbage: bytes) -> None:
    responder, port = await start()
    client = await connect(port)
    client.send(garbage)
    assert await client.closed() == b""
    await until(lambda: responder.connections == 0)


async def test_a_silent_connection_is_closed_after_a_minute(start: Start, connect, clock: ManualClock) -> None:
    responder, port = await start()
    client = await connect(port)
    await client.ask()
    clock.advance(50)
    await client.ask()
    clock.advance(50)
    await client.ask()
    client.send(b"\x00\x01")  # half a request is no sign of life
    clock.advance(60)
    await client.closed()
    await until(lambda: responder.connections == 0)
    assert clock.pending == 0


async def test_connections_are_counted_in_all_and_for_each_address(start: Start, connect) -> None:
    responder, port = await start(stun_connections_per_address=2)
    first, second = await connect(port), await connect(port)
    await first.ask()
    await second.ask()
    third = await connect(port)
    assert await third.closed() == b""
    first.writer.close()
    await until(lambda: responder.connections == 1)
    await (await connect(port)).ask()

    responder, port = await start(stun_connections=1)
    await (await connect(port)).ask()
    assert await (await connect(port)).closed() == b""


async def test_a_client_that_asks_and_does_not_read_is_cut(start: Start) -> None:
    responder, port = await start()
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await until(lambda: responder.connections == 1)
        with contextlib.suppress(ConnectionError):
            for _ in range(10_000):
                await loop.sock_sendall(client, stun.BindingRequest.fresh().encode() * 10)
                await asyncio.sleep(0)
            pytest.fail("it was answered all the same")
        await until(lambda: responder.connections == 0)


async def test_a_client_that_sends_hundreds_of_requests_at_once_is_cut(start: Start, connect) -> None:
    _, port = await start()
    client = await connect(port)
    client.send(stun.BindingRequest.fresh().encode() * 300)
    assert len(await client.closed()) < 300 * 32


async def test_stopping_closes_everything(start: Start, connect) -> None:
    responder, port = await start()
    client = await connect(port)
    await client.ask()
    await responder.stop()
    assert await client.closed() == b""
    with pytest.raises(ConnectionRefusedError):
        await connect(port)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
async def test_without_ipv6_there_is_ipv4(start: Start, connect, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    create_server = socket.create_server

    def refuse_ipv6(address: tuple[str, int], *, family: int, **options: object) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(number, os.strerror(number))
        return create_server(address, family=family, backlog=options["backlog"])

    monkeypatch.setattr(socket, "create_server", refuse_ipv6)
    _, port = await start("")
    client = await connect(port)
    assert await client.ask() == client.address
