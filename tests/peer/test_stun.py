import asyncio
import socket
from collections.abc import Iterator

import pytest
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer.gather import stun
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.stun import StunConnection, StunFailed

from tests.peer.pair import soon, until
from tests.peer.stun_server import Answer, honest, stun_server


@pytest.fixture
def port() -> Iterator[PunchPort]:
    port = PunchPort.open()
    yield port
    port.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "ANSWER_TIME", 0.05)


async def test_the_answer_is_the_address_of_the_punch_port(port: PunchPort) -> None:
    async with stun_server() as server, await soon(StunConnection.open(port, server.address)) as connection:
        assert connection.mapped == Address.of("127.0.0.1", port.number)
        assert server.sources == [connection.mapped]


async def test_the_connection_stays_open_until_it_is_closed(port: PunchPort) -> None:
    async with stun_server() as server:
        async with await soon(StunConnection.open(port, server.address)):
            assert server.closed == 0
        await until(lambda: server.closed == 1)


async def test_a_keepalive_shows_that_the_mapping_moved(port: PunchPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "KEEPALIVE", 0.01)
    moved = Address.of("203.0.113.5", 4242)

    def answer(request: BindingRequest, source: Address) -> bytes:
        return BindingResponse(request.transaction, moved if len(server.sources) > 1 else source).encode()

    async with stun_server(answer) as server, await soon(StunConnection.open(port, server.address)) as connection:
        assert connection.mapped.port == port.number
        await until(lambda: connection.mapped == moved)


@pytest.mark.parametrize("later", [b"", None, b"garbage" * 10])
async def test_when_the_server_goes_the_last_answer_stands(
    port: PunchPort, monkeypatch: pytest.MonkeyPatch, later: bytes | None
) -> None:
    monkeypatch.setattr(stun, "KEEPALIVE", 0.01)

    def answer(request: BindingRequest, source: Address) -> bytes | None:
        return honest(request, source) if len(server.sources) == 1 else later

    async with stun_server(answer) as server, await soon(StunConnection.open(port, server.address)) as connection:
        await until(connection._keeper.done)
        assert connection.mapped.port == port.number


def wrong_transaction(request: BindingRequest, source: Address) -> bytes:
    return BindingResponse(bytes(12), source).encode()


def a_request(request: BindingRequest, source: Address) -> bytes:
    return request.encode()


def too_long(request: BindingRequest, source: Address) -> bytes:
    return honest(request, source)[:2] + b"\xff\xfc" + honest(request, source)[4:]


def cut_off(request: BindingRequest, source: Address) -> bytes | None:
    return honest(request, source)[:21]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (wrong_transaction, "something else"),
        (a_request, "something else"),
        (too_long, "not a STUN message"),
        (lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a STUN message"),
        (lambda *_: b"", "closed the connection"),
        (lambda *_: None, "no answer within 0.05 s"),
        (cut_off, "no answer within 0.05 s"),
    ],
)
async def test_a_server_that_does_not_answer_as_it_should(port: PunchPort, answer: Answer, why: str) -> None:
    async with stun_server(answer) as server:
        with pytest.raises(StunFailed, match=why):
            await soon(StunConnection.open(port, server.address))
        await until(lambda: server.closed == 1 or answer(BindingRequest(bytes(12)), server.address) == b"")


async def test_nobody_listens(port: PunchPort) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = Address.of(*free.getsockname())
    with pytest.raises(StunFailed, match=f"{nobody}: .*[Cc]onnect"):
        await soon(StunConnection.open(port, nobody))


async def test_a_family_this_machine_has_not(port: PunchPort, monkeypatch: pytest.MonkeyPatch) -> None:
    def socket_towards(self: PunchPort, address: Address) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(PunchPort, "socket_towards", socket_towards)
    with pytest.raises(StunFailed, match="not supported"):
        await soon(StunConnection.open(port, Address.of("::1", 3478)))


async def test_cancelled_while_it_waits(port: PunchPort) -> None:
    async with stun_server(lambda *_: None) as server:
        opening = asyncio.create_task(StunConnection.open(port, server.address))
        await until(lambda: len(server.sources) == 1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await until(lambda: server.closed == 1)


async def test_a_close_that_is_cancelled_closes_the_socket(port: PunchPort) -> None:
    async with stun_server() as server:
        connection = await soon(StunConnection.open(port, server.address))
        closing = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        await until(lambda: server.closed == 1)
