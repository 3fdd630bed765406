"""Which of the ways is taken when several come up; the ways themselves are made up."""

import asyncio
import socket
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from p2p_core.agreement import Agreement
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_peer.gather.candidates import Gathered
from p2p_peer.paths import race as race_module
from p2p_peer.paths.base import Path
from p2p_peer.paths.race import Start, race

from tests.peer.pair import agreement, soon

ADDRESS = Address.of("192.0.2.1", 1000)
CANDIDATE = Candidate(CandidateKind.HOST, Transport.UDP, ADDRESS)


def some_path(kind: PathKind) -> Path:
    """Return a path whose socket pytest misses if nobody closes it."""
    return Path(kind, socket.socket(socket.AF_INET, socket.SOCK_DGRAM), ADDRESS)


def future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


@dataclass
class Way:
    """A racer."""

    kind: PathKind
    found: "asyncio.Future[None]" = field(default_factory=future)
    nominated: "asyncio.Future[Path]" = field(default_factory=future)
    exhausted: "asyncio.Future[str]" = field(default_factory=future)
    is_closed: bool = False

    def nominate(self) -> Path:
        return some_path(self.kind)

    def close(self) -> None:
        self.is_closed = True


class Ways:
    """TCP, UDP and the relay, which do nothing by themselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tcp, self.udp, self.relay = Way(PathKind.TCP), Way(PathKind.QUIC), Way(PathKind.RELAY)
        monkeypatch.setattr(race_module, "TcpPunching", lambda *_, **__: self.tcp)
        monkeypatch.setattr(race_module, "UdpPunching", lambda *_, **__: self.udp)
        monkeypatch.setattr(race_module, "RELAY_READY_AFTER", 0.0)

    def race(self, role: Role) -> "asyncio.Task[Path]":
        """Begin long after the start: nothing is waited for."""
        ports = cast("Any", object())
        gathered = Gathered((CANDIDATE,), (), None, ports, (ports,), asyncio.Event())
        start = Start(at=asyncio.get_running_loop().time() - 60, round_trip=0.0, observed=None)
        return asyncio.create_task(
            race(
                gathered,
                with_candidates(agreement(role)).terms,
                start,
                budget=PacketBudget(),
                relay=lambda: self.relay,
            )
        )


def with_candidates(held: Agreement) -> Agreement:
    sides = (replace(side, offer=replace(side.offer, candidates=(CANDIDATE,))) for side in (held.own, held.other))
    return Agreement.between(held.role, *sides)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    return Ways(monkeypatch)


async def taken(racing: "asyncio.Task[Path]") -> PathKind:
    path = await soon(racing)
    path.socket.close()
    return path.kind


async def test_what_is_found_is_nominated(ways: Ways) -> None:
    racing = ways.race(Role.INITIATOR)
    await turns()
    ways.udp.found.set_result(None)
    assert await taken(racing) is PathKind.QUIC
    assert all(way.is_closed for way in (ways.tcp, ways.udp, ways.relay))


async def test_nothing_else_is_nominated_once_tcp_is(ways: Ways) -> None:
    """The other side has been told so already, and waits on TCP."""
    racing = ways.race(Role.INITIATOR)
    await turns()
    ways.relay.found.set_result(None)
    ways.udp.found.set_result(None)
    ways.tcp.found.set_result(None)
    assert await taken(racing) is PathKind.TCP


async def test_two_nominations_at_the_same_moment(ways: Ways) -> None:
    """One is taken, and of the other nothing is left."""
    racing = ways.race(Role.RESPONDER)
    await turns()
    for way in (ways.relay, ways.udp):
        way.nominated.set_result(some_path(way.kind))
    assert await taken(racing) is PathKind.QUIC
    assert ways.relay.nominated.result().socket.fileno() == -1


async def test_a_nomination_as_the_way_ends(ways: Ways) -> None:
    racing = ways.race(Role.RESPONDER)
    await turns()
    ways.relay.exhausted.set_result("the mediator ended the relay")
    ways.udp.exhausted.set_result("no answer")
    ways.udp.nominated.set_result(some_path(PathKind.QUIC))
    assert await taken(racing) is PathKind.QUIC


async def test_cancelled_as_one_is_nominated(ways: Ways) -> None:
    racing = ways.race(Role.RESPONDER)
    await turns()
    ways.relay.nominated.set_result(some_path(PathKind.RELAY))
    racing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(racing)
    assert ways.relay.nominated.result().socket.fileno() == -1
