"""Which of the ways is taken when several come up; the ways themselves are made up."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest
from p2p_core.agreement import Agreement
from p2p_core.errors import NoPath
from p2p_core.machines.patience import Wait
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchSecret, PunchTerms
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_peer.gather.candidates import Gathered
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.paths import race as race_module
from p2p_peer.paths.base import Path
from p2p_peer.paths.race import Start, race

from tests.peer.pair import agreement, offer, soon

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
    heard: "asyncio.Future[None]" = field(default_factory=future)
    is_closed: bool = False
    hurries: int = 0
    learned: list[tuple[PunchTerms, list[Address]]] = field(default_factory=list)

    def learn(self, terms: PunchTerms, targets: list[Address]) -> None:
        self.learned.append((terms, targets))

    def hurry(self) -> None:
        self.hurries += 1

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

    def race(self, role: Role, later: "asyncio.Future[PunchTerms] | None" = None) -> "asyncio.Task[Path]":
        """Begin long after the start: nothing is waited for. With `later`, wait for somebody whose token is unknown."""
        ports = cast("Any", object())
        gathered = Gathered((CANDIDATE,), (), None, ports, (ports,), asyncio.Event())
        now = asyncio.get_running_loop().time()
        start = Start(at=now - 60, round_trip=0.0, observed=None, wait=None if later is None else Wait(now + 600))
        return asyncio.create_task(
            race(
                gathered,
                with_candidates(agreement(role)).terms if later is None else agreement(role).terms,
                start,
                budget=PacketBudget(),
                relay=(lambda: self.relay) if later is None else None,
                later=later,
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


# Somebody who may read our token later, or whose token we may read later.


def give_up(ways: Ways) -> None:
    for way in (ways.tcp, ways.udp):
        way.exhausted.set_result("no answer, within 600 s")


async def test_it_waits_for_somebody_of_whom_nothing_is_known(ways: Ways) -> None:
    racing = ways.race(Role.INITIATOR, future())
    await turns()
    ways.tcp.found.set_result(None)
    assert await taken(racing) is PathKind.TCP
    assert not ways.udp.learned


async def test_what_is_learned_later_is_told_to_both(ways: Ways) -> None:
    later: asyncio.Future[PunchTerms] = future()
    racing = ways.race(Role.INITIATOR, later)
    await turns()
    terms = with_candidates(agreement(Role.INITIATOR)).terms
    terms = replace(terms, own=replace(terms.own, candidates=()))
    later.set_result(terms)
    await turns()
    assert ways.udp.learned == [(terms, [ADDRESS])]
    assert ways.tcp.learned == [(terms, [])]
    ways.udp.found.set_result(None)
    assert await taken(racing) is PathKind.QUIC


async def test_it_is_not_in_vain_before_that_is_known(ways: Ways) -> None:
    later: asyncio.Future[PunchTerms] = future()
    racing = ways.race(Role.INITIATOR, later)
    await turns()
    give_up(ways)
    await turns()
    assert not racing.done()
    later.set_result(replace(with_candidates(agreement(Role.INITIATOR)).terms, by_token=True))
    with pytest.raises(NoPath, match="within 600 s"):
        await soon(racing)


async def test_tcp_hurries_when_udp_has_heard_somebody_and_has_its_moment(ways: Ways) -> None:
    racing = ways.race(Role.INITIATOR, future())
    await turns()
    assert ways.tcp.hurries == 0
    ways.udp.heard.set_result(None)
    ways.udp.found.set_result(None)
    await turns()
    assert ways.tcp.hurries == 1
    assert not racing.done()
    ways.tcp.found.set_result(None)
    assert await taken(racing) is PathKind.TCP


# Real ones, on this machine.

SECRETS = {role: PunchSecret(role.value.encode(), bytes(32)) for role in Role}


class Home:
    """One side's ports on 127.0.0.1."""

    def __init__(self, role: Role, stack: ExitStack) -> None:
        self.role = role
        tcp, udp = PunchPort.open(), UdpSocket.open(socket.AF_INET, host="127.0.0.1")
        stack.callback(tcp.close)
        stack.callback(udp.close)
        hosts = tuple(
            Candidate(CandidateKind.HOST, transport, Address.of("127.0.0.1", number))
            for transport, number in ((Transport.TCP, tcp.number), (Transport.UDP, udp.number))
        )
        self.gathered = Gathered(hosts, (), None, tcp, (udp,), asyncio.Event())

    def alone(self) -> PunchTerms:
        own = replace(offer(1), candidates=self.gathered.candidates())
        return PunchTerms(self.role, own, offer(2), (SECRETS[self.role],), by_token=True)

    def having_read(self, other: "Home") -> PunchTerms:
        theirs = replace(offer(2), candidates=other.gathered.candidates())
        return replace(self.alone(), other=theirs, secrets=(SECRETS[other.role], SECRETS[self.role]))

    def race(self, terms: PunchTerms, without: PathKind, later: "asyncio.Future[PunchTerms] | None" = None) -> Any:
        now = asyncio.get_running_loop().time()
        gathered = replace(self.gathered, tcp_port=None) if without is PathKind.TCP else self.gathered
        gathered = replace(gathered, udp_sockets=()) if without is PathKind.QUIC else gathered
        start = Start(now, 0.01, None, wait=Wait(now + 600))
        return asyncio.create_task(race(gathered, terms, start, budget=PacketBudget(), relay=None, later=later))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def begin_quic(path: Path) -> None:
    path.socket.sendto(path.nomination, (path.address.host, path.address.port))
    path.socket.sendto(b"\xc0" + bytes(1199), (path.address.host, path.address.port))


@pytest.mark.parametrize("reads", [None, "before", "after"])
@pytest.mark.parametrize("dialler", Role)
@pytest.mark.parametrize("without", [PathKind.TCP, PathKind.QUIC])
async def test_one_listens_and_the_other_comes(
    stack: ExitStack, without: PathKind, dialler: Role, reads: str | None
) -> None:
    """Only one token was read, or the second is read in the middle of it."""
    ours, theirs = Home(dialler, stack), Home(dialler.other, stack)
    later: asyncio.Future[PunchTerms] = future()
    listening = theirs.race(theirs.alone(), without, later)
    await turns()
    if reads == "before":
        later.set_result(theirs.having_read(ours))
    coming = ours.race(ours.having_read(theirs), without)
    if reads == "after":
        await turns()
        later.set_result(theirs.having_read(ours))
    initiator, responder = (coming, listening) if dialler is Role.INITIATOR else (listening, coming)
    ours_path = await soon(initiator)
    if without is PathKind.TCP:
        begin_quic(ours_path)
    theirs_path = await soon(responder)
    with ours_path.socket, theirs_path.socket:
        assert ours_path.kind is theirs_path.kind is not without
