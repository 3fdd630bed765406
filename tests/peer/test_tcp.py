import asyncio
import contextlib
import gc
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from p2p_core.errors import MediatorLied, NoPath
from p2p_core.machines import tcp_punch
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.punch_record import RECORD_BYTES
from p2p_peer.gather import punch_port
from p2p_peer.gather.interfaces import EVERYWHERE
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.paths.base import Path
from p2p_peer.paths.tcp import TcpPunching

from tests.peer.pair import Ports, agreement, path_of, punch, punching, soon, until

INITIATOR, RESPONDER = Role.INITIATOR, Role.RESPONDER


@pytest.fixture
def ports() -> Iterator[tuple[PunchPort, PunchPort]]:
    with Ports() as ports:
        yield ports


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up punching after a moment."""
    monkeypatch.setattr(tcp_punch, "PUNCH_TIME", 0.1)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def dials(monkeypatch: pytest.MonkeyPatch) -> list[Address]:
    """Every address that is dialled, as it is."""
    dialled: list[Address] = []
    real = PunchPort.socket_towards

    def socket_towards(self: PunchPort, address: Address) -> socket.socket:
        dialled.append(address)
        return real(self, address)

    monkeypatch.setattr(PunchPort, "socket_towards", socket_towards)
    return dialled


async def check(ours: Path, theirs: Path) -> None:
    """The two paths are the two ends of one connection, and nothing but preambles was taken from it."""
    with ours.socket, theirs.socket:
        assert ours.kind is theirs.kind is PathKind.TCP
        assert ours.socket.getpeername() == theirs.socket.getsockname()
        assert theirs.socket.getpeername() == ours.socket.getsockname()
        assert (ours.address.host, ours.address.port) == ours.socket.getpeername()[:2]
        loop = asyncio.get_running_loop()
        for sender, receiver in ((ours, theirs), (theirs, ours)):
            await loop.sock_sendall(sender.socket, b"the first byte of TLS")
            assert await soon(loop.sock_recv(receiver.socket, 100)) == b"the first byte of TLS"


async def both(
    ports: tuple[PunchPort, PunchPort], *, before_ours: tuple[int, ...] = (), before_theirs: tuple[int, ...] = ()
) -> tuple[Path, Path]:
    """Punch between two ports; each also tries other ports first."""
    ours, theirs = ports
    return await soon(
        asyncio.gather(
            punch(ours, INITIATOR, *before_ours, theirs.number),
            punch(theirs, RESPONDER, *before_theirs, ours.number),
        )
    )


async def test_both_ends_hold_the_same_connection(ports: tuple[PunchPort, PunchPort]) -> None:
    await check(*await both(ports))


async def test_over_ipv6(ports: tuple[PunchPort, PunchPort]) -> None:
    if len(ports[0].listeners) < 2:
        pytest.skip("no IPv6 on this machine")
    paths = await soon(
        asyncio.gather(
            *(
                path_of(punching(port, agreement(role), other.number, host="::1"))
                for role, port, other in ((INITIATOR, *ports), (RESPONDER, *reversed(ports)))
            )
        )
    )
    await check(paths[0], paths[1])


@pytest.mark.parametrize("dialler", [INITIATOR, RESPONDER])
async def test_one_side_alone_can_be_reached(ports: tuple[PunchPort, PunchPort], dialler: Role) -> None:
    ours, theirs = ports
    paths = await soon(
        asyncio.gather(
            punch(ours, INITIATOR, *([theirs.number] if dialler is INITIATOR else [])),
            punch(theirs, RESPONDER, *([ours.number] if dialler is RESPONDER else [])),
        )
    )
    await check(paths[0], paths[1])


async def test_begins_when_it_is_time(ports: tuple[PunchPort, PunchPort], dials: list[Address]) -> None:
    later = punching(ports[0], agreement(INITIATOR), ports[1].number, after=3600)
    for _ in range(20):
        await asyncio.sleep(0)
    assert dials == []
    later.close()


class Strangers:
    """Listeners that are not the other peer's."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self.accepted: list[socket.socket] = []
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        self.accepted.append(sock)
        self._answer(sock)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        for sock in (self._listener, *self.accepted):
            sock.close()


def say_nothing(sock: socket.socket) -> None:
    """Leave the connection open."""


def say_garbage(sock: socket.socket) -> None:
    sock.send(bytes(range(RECORD_BYTES)) * 3)


def say_a_little(sock: socket.socket) -> None:
    sock.send(b"PWT\x01\x01")


def hang_up(sock: socket.socket) -> None:
    sock.close()


@pytest.mark.parametrize("answer", [say_nothing, say_garbage, say_a_little, hang_up])
@pytest.mark.parametrize("side", [INITIATOR, RESPONDER])
async def test_a_stranger_listens_at_a_candidate(
    ports: tuple[PunchPort, PunchPort], side: Role, answer: Callable[[socket.socket], None]
) -> None:
    stranger = Strangers(answer)
    before: dict[str, Any] = {"before_ours" if side is INITIATOR else "before_theirs": (stranger.port,)}
    try:
        await check(*await both(ports, **before))
    finally:
        stranger.close()


async def knock(port: PunchPort, stack: ExitStack) -> socket.socket:
    """Connect to a punch port as somebody who has no business there."""
    sock = stack.enter_context(socket.socket())
    sock.setblocking(False)
    await soon(asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port.number)))
    return sock


@pytest.mark.parametrize("side", [0, 1])
async def test_a_flood_of_silent_connections(
    ports: tuple[PunchPort, PunchPort], side: int, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One side's port is full of strangers before the other comes: the way out is still free."""
    monkeypatch.setattr(tcp_punch, "MAX_CONNECTIONS", 4)
    roles = (INITIATOR, RESPONDER)
    flooded = asyncio.create_task(punch(ports[side], roles[side], ports[1 - side].number))
    hellos = 0
    for _ in range(12):
        with contextlib.suppress(ConnectionResetError):  # as it connects, or later
            hellos += bool(await soon(asyncio.get_running_loop().sock_recv(await knock(ports[side], stack), 100)))
    assert hellos >= 3
    other = asyncio.create_task(punch(ports[1 - side], roles[1 - side], ports[side].number))
    paths = await soon(asyncio.gather(flooded, other))
    await check(paths[side], paths[1 - side])


@pytest.mark.parametrize("answer", [say_garbage, hang_up])
async def test_a_stranger_knocks(
    ports: tuple[PunchPort, PunchPort], answer: Callable[[socket.socket], None], stack: ExitStack
) -> None:
    ours = asyncio.create_task(punch(ports[0], INITIATOR))
    for _ in range(20):
        answer(await knock(ports[0], stack))
    theirs = asyncio.create_task(punch(ports[1], RESPONDER, ports[0].number))
    await check(*await soon(asyncio.gather(ours, theirs)))


async def test_refused_at_first_and_listening_later(ports: tuple[PunchPort, PunchPort], dials: list[Address]) -> None:
    later = punch_port._bound(socket.AF_INET, 0, EVERYWHERE)  # holds the number; dialling it is refused
    number = later.getsockname()[1]
    ours = asyncio.create_task(punch(ports[0], INITIATOR, number))
    await until(lambda: len(dials) >= 3)
    port = PunchPort(number, (punch_port._listening(later),))
    theirs = asyncio.create_task(punch(port, RESPONDER))
    await check(*await soon(asyncio.gather(ours, theirs)))
    port.close()


@pytest.mark.parametrize("role", [INITIATOR, RESPONDER])
async def test_equal_roles_are_the_mediators_lie(ports: tuple[PunchPort, PunchPort], role: Role) -> None:
    """Each holds the other's offer; both were told the same role."""
    ours, theirs = agreement(role), agreement(role.other).mirrored()
    assert ours.role is theirs.role
    results = await soon(
        asyncio.gather(
            *(
                path_of(punching(port, held, other.number))
                for port, other, held in ((*ports, ours), (*reversed(ports), theirs))
            ),
            return_exceptions=True,
        )
    )
    # Whoever sees it first hangs up; the other may have seen it on another connection, or goes on until it does.
    lied = [result for result in results if isinstance(result, MediatorLied)]
    assert len(lied) == 2
    assert str(lied[0]) == f"the mediator told both sides that they are the {role.value}"


@pytest.mark.usefixtures("short")
async def test_another_session_is_a_stranger(ports: tuple[PunchPort, PunchPort]) -> None:
    ours, theirs = ports
    results = await soon(
        asyncio.gather(
            punch(ours, INITIATOR, theirs.number),
            punch(theirs, RESPONDER, ours.number, seed=7),
            return_exceptions=True,
        )
    )
    assert [type(result) for result in results] == [NoPath, NoPath]


@pytest.mark.usefixtures("short")
async def test_nothing_can_be_reached(ports: tuple[PunchPort, PunchPort], monkeypatch: pytest.MonkeyPatch) -> None:
    ports[1].close()
    with pytest.raises(NoPath, match=rf"127\.0\.0\.1:{ports[1].number}: connection refused"):
        await soon(punch(ports[0], INITIATOR, ports[1].number))


@pytest.mark.usefixtures("short")
async def test_nothing_to_dial_and_nobody_comes(ports: tuple[PunchPort, PunchPort]) -> None:
    with pytest.raises(NoPath, match="no address"):
        await soon(punch(ports[0], RESPONDER))


@pytest.mark.usefixtures("short")
async def test_an_address_without_a_route(ports: tuple[PunchPort, PunchPort], monkeypatch: pytest.MonkeyPatch) -> None:
    def socket_towards(self: PunchPort, address: Address) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(PunchPort, "socket_towards", socket_towards)
    with pytest.raises(NoPath, match="cannot be reached"):
        await soon(punch(ports[0], INITIATOR, ports[1].number))


async def test_a_dial_that_hangs_is_done_again(
    ports: tuple[PunchPort, PunchPort], dials: list[Address], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full backlog drops our SYN, as a NAT without a mapping does."""
    monkeypatch.setattr(tcp_punch, "MIN_CYCLE", 0.01)

    async def never(*_: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", never)
    hanging = punching(ports[0], agreement(INITIATOR), ports[1].number)
    await until(lambda: len(dials) >= 3)
    hanging.close()


async def test_a_connection_that_breaks_as_it_is_chosen(
    ports: tuple[PunchPort, PunchPort], monkeypatch: pytest.MonkeyPatch, short: None
) -> None:
    real = TcpPunching._send

    def send(self: TcpPunching, number: int, data: bytes) -> None:
        if self._machine.wanted(number) == 0:  # it has been chosen: this is the nomination
            self._held[number].socket.shutdown(socket.SHUT_WR)
        real(self, number, data)

    monkeypatch.setattr(TcpPunching, "_send", send)
    results = await soon(
        asyncio.gather(punch(ports[0], INITIATOR, ports[1].number), punch(ports[1], RESPONDER), return_exceptions=True)
    )
    assert str(results[0]) == "the connection to the other side broke as it was chosen"
    assert isinstance(results[1], NoPath)


# Closed: neither a socket nor a task is left. The collector says so, and the fixtures of this folder.


async def test_closed_while_it_waits(ports: tuple[PunchPort, PunchPort], stack: ExitStack) -> None:
    """With dials under way, and a connection of each kind held."""
    stranger = Strangers(say_nothing)
    waiting = punching(ports[0], agreement(INITIATOR), stranger.port, ports[1].number)
    knocker = await knock(ports[0], stack)
    assert len(await soon(asyncio.get_running_loop().sock_recv(knocker, 100))) == RECORD_BYTES
    await until(lambda: len(stranger.accepted) == 1)
    waiting.close()
    with pytest.raises(ConnectionResetError):
        await soon(asyncio.get_running_loop().sock_recv(knocker, 100))
    stranger.close()


async def test_closed_before_it_begins(ports: tuple[PunchPort, PunchPort]) -> None:
    punching(ports[0], agreement(INITIATOR), ports[1].number).close()


async def test_closed_and_what_was_found_not_taken(ports: tuple[PunchPort, PunchPort]) -> None:
    ours = punching(ports[0], agreement(INITIATOR), ports[1].number)
    theirs = punching(ports[1], agreement(RESPONDER))
    await soon(ours.found)
    ours.close()
    path = await soon(theirs.nominated)
    theirs.close()
    with path.socket:
        assert await soon(asyncio.get_running_loop().sock_recv(path.socket, 100)) == b""


@pytest.mark.parametrize("role", [INITIATOR, RESPONDER])
async def test_closed_and_its_error_of_no_interest(ports: tuple[PunchPort, PunchPort], role: Role) -> None:
    """As when another way has found out as well. asyncio would log that nobody has asked for it."""
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    racers = [punching(ports[0], agreement(role), ports[1].number)]
    racers.append(punching(ports[1], agreement(role.other).mirrored()))
    await until(lambda: any(racer.found.done() or racer.nominated.done() for racer in racers))
    while racers:
        racers.pop().close()
    gc.collect()
    assert logged == []


async def test_the_port_stays_the_callers(ports: tuple[PunchPort, PunchPort]) -> None:
    for _ in range(3):  # and can be punched from again, at once
        await check(*await both(ports))
