import asyncio
import socket
from collections.abc import Iterator

import pytest
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import BindingRequest, BindingResponse
from p2p_peer.gather import stun
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.stun import StunFailed, TcpStun, believable

from tests.peer.pair import soon, until
from tests.peer.stun_server import Answer, honest, stun_server


@pytest.fixture
def port() -> Iterator[PunchPort]:
    port = PunchPort.open()
    yield port
    port.close()


@pytest.fixture
def asker(port: PunchPort) -> Iterator[TcpStun]:
    asker = TcpStun(port.socket_towards)
    yield asker
    asker.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stun, "ANSWER_TIME", 0.05)


async def test_the_answer_is_the_address_of_the_punch_port(port: PunchPort, asker: TcpStun) -> None:
    async with stun_server() as server:
        mapped = await soon(asker.ask(server.address))
        assert mapped == Address.of("127.0.0.1", port.number)
        assert server.sources == [mapped]


async def test_the_connection_stays_open_until_it_is_dropped(asker: TcpStun) -> None:
    async with stun_server() as server:
        await soon(asker.ask(server.address))
        assert server.closed == 0
        asker.drop(server.address)
        await until(lambda: server.closed == 1)
        asker.drop(server.address)


async def test_asking_again_takes_the_same_connection_as_long_as_it_lives(asker: TcpStun) -> None:
    answers = iter([honest, honest, lambda *_: b"", honest])

    def answer(request: BindingRequest, source: Address) -> bytes | None:
        return next(answers)(request, source)

    async with stun_server(answer) as server:
        first = await soon(asker.ask(server.address))
        assert await soon(asker.ask(server.address)) == first
        with pytest.raises(StunFailed, match="closed the connection"):
            await soon(asker.ask(server.address))
        assert server.closed == 0
        assert await soon(asker.ask(server.address)) == first  # over a new one
        asker.close()
        await until(lambda: server.closed == 1)


def wrong_transaction(request: BindingRequest, source: Address) -> bytes:
    return BindingResponse(bytes(12), source).encode()


def a_request(request: BindingRequest, source: Address) -> bytes:
    return request.encode()


def too_long(request: BindingRequest, source: Address) -> bytes:
    return honest(request, source)[:2] + b"\xff\xfc" + honest(request, source)[4:]


def cut_off(request: BindingRequest, source: Address) -> bytes | None:
    return honest(request, source)[:21]


def lying(address: str) -> Answer:
    return lambda request, source: BindingResponse(request.transaction, Address.of(address, 4242)).encode()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (wrong_transaction, "something else"),
        (a_request, "something else"),
        (too_long, "not a STUN message"),
        (lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a STUN message"),
        (lambda *_: b"", "closed the connection"),
        (lying("0.0.0.0"), "it says that we are at 0.0.0.0:4242"),
        (lying("224.0.0.1"), "it says that we are at 224.0.0.1:4242"),
        (lying("2001:db8::1"), "it says that we are at"),
    ],
)
async def test_a_server_that_does_not_answer_as_it_should(asker: TcpStun, answer: Answer, why: str) -> None:
    async with stun_server(answer) as server:
        with pytest.raises(StunFailed, match=why):
            await soon(asker.ask(server.address))
        await until(lambda: server.closed == 1 or answer(BindingRequest(bytes(12)), server.address) == b"")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [lambda *_: None, cut_off], ids=["silent", "cut off"])
async def test_a_server_that_does_not_answer(asker: TcpStun, answer: Answer) -> None:
    async with stun_server(answer) as server:
        with pytest.raises(StunFailed, match=r"no answer within 0\.05 s"):
            await soon(asker.ask(server.address))
        await until(lambda: server.closed == 1)


async def test_nobody_listens(asker: TcpStun) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = Address.of(*free.getsockname())
    with pytest.raises(StunFailed, match=f"{nobody}: .*[Cc]onnect"):
        await soon(asker.ask(nobody))


async def test_a_family_this_machine_has_not() -> None:
    def socket_towards(address: Address) -> socket.socket:
        raise OSError(97, "Address family not supported by protocol")

    with pytest.raises(StunFailed, match="not supported"):
        await soon(TcpStun(socket_towards).ask(Address.of("::1", 3478)))


async def test_cancelled_while_it_waits(asker: TcpStun) -> None:
    async with stun_server(lambda *_: None) as server:
        asking = asyncio.create_task(asker.ask(server.address))
        await until(lambda: len(server.sources) == 1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(lambda: server.closed == 1)


@pytest.mark.parametrize(
    ("mapped", "server", "believed"),
    [
        ("203.0.113.5", "203.0.113.1", True),
        ("10.0.0.5", "10.0.0.1", True),
        ("2001:db8::5", "2001:db8::1", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "203.0.113.1", False),
        ("::1", "2001:db8::1", False),
        ("2001:db8::5", "203.0.113.1", False),
        ("203.0.113.5", "2001:db8::1", False),
        ("0.0.0.0", "203.0.113.1", False),
        ("224.0.0.1", "203.0.113.1", False),
        ("255.255.255.255", "203.0.113.1", False),
        ("169.254.1.1", "203.0.113.1", False),
    ],
)
def test_what_a_server_may_say(mapped: str, server: str, believed: bool) -> None:
    assert believable(Address.of(mapped, 1), Address.of(server, 3478)) is believed
