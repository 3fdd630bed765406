"""All ways to the other peer at once: TCP and UDP are punched, the relay is made ready, and one of them is taken."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from p2p_core.machines.choosing import MIN_GRACE, PATIENT_GRACE, Choosing
from p2p_core.machines.patience import Wait
from p2p_core.machines.port_guessing import takes_luck
from p2p_core.no_path import why_no_path
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchTerms
from p2p_core.targets import dialable
from p2p_core.wire.candidate import Address, Transport

from p2p_peer.gather.candidates import Gathered
from p2p_peer.paths.base import Path
from p2p_peer.paths.tcp import TcpPunching
from p2p_peer.paths.udp import UdpPunching

__all__ = ["Racer", "Start", "race"]

RELAY_READY_AFTER = 0.3  # s from the start; most pairs are connected by then, and cost the mediator nothing

_log = logging.getLogger(__name__)


class Racer(Protocol):
    """A way that may come up."""

    found: "asyncio.Future[None]"  # initiator: it can be nominated
    nominated: "asyncio.Future[Path]"  # responder: the other side has nominated it
    exhausted: "asyncio.Future[str]"  # nothing will come of it any more, and why

    def nominate(self) -> Path:
        """Take it; the path's socket is the caller's."""

    def close(self) -> None:
        """Let go of everything but a path that was taken."""


@dataclass(frozen=True, slots=True)
class Start:
    """When both sides begin, on the event loop's clock, and what is known of the way between them."""

    at: float
    round_trip: float  # s between the peers, estimated
    observed: Address | None  # where the mediator sees the other side
    wait: Wait | None = None  # for a side that nobody has told when to begin


async def race(
    gathered: Gathered,
    terms: PunchTerms,
    start: Start,
    *,
    budget: PacketBudget,
    relay: Callable[[], Racer] | None,
    without: frozenset[PathKind] = frozenset(),
    later: "asyncio.Future[PunchTerms] | None" = None,
) -> Path:
    """Return the path that the initiator takes. Raises `NoPath` when there is none, `MediatorLied` for equal roles.

    `relay` begins to use the mediator's relay, if that may be. As the initiator, nothing of the kinds in `without` is
    taken: it was tried, and broke at once.

    While the other side's token is not known, `terms` are without its candidates, and `later` will have those with
    them. Until it is done there is no `NoPath`.
    """
    with ExitStack() as stack:
        return await _Race(gathered, terms, start, budget, relay, without, later, stack).run()


@dataclass(slots=True)
class _Race:
    gathered: Gathered
    terms: PunchTerms
    start: Start
    budget: PacketBudget
    relay: Callable[[], Racer] | None
    without: frozenset[PathKind]
    later: "asyncio.Future[PunchTerms] | None"  # None once it is known
    stack: ExitStack
    _choosing: Choosing = field(init=False)
    _racers: dict[PathKind, Racer] = field(default_factory=dict)
    _tcp: TcpPunching | None = None
    _udp: UdpPunching | None = None
    _path: Path | None = None  # that was taken
    _why: dict[PathKind, str] = field(default_factory=dict)
    _events: "asyncio.Queue[None]" = field(default_factory=asyncio.Queue)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    def __post_init__(self) -> None:
        birthday = takes_luck(self.terms, self.start.observed)
        grace = MIN_GRACE if self.start.wait is None else PATIENT_GRACE
        self._choosing = Choosing(self.start.at, self.start.round_trip, set(), birthday, grace)

    async def run(self) -> Path:
        self._begin()
        while (path := self._taken()) is None:
            if self._choosing.is_hopeless and self.later is None:
                raise why_no_path(self.terms, self._why)
            await self._event()
        self._path = path
        return path

    def _begin(self) -> None:
        is_patient = self.start.wait is not None  # the other side may come to us
        direct = self.gathered.candidates() and (self.terms.other.candidates or is_patient)
        without = self.without if self.terms.role is Role.INITIATOR else frozenset()
        if direct and PathKind.TCP not in without and self.gathered.tcp_port is not None:
            self._tcp = TcpPunching(
                self.gathered.tcp_port,
                self.terms,
                self._targets(Transport.TCP),
                start=self.start.at,
                round_trip=self.start.round_trip,
                budget=self.budget,
                wait=self.start.wait,
            )
            self._join(PathKind.TCP, self._tcp)
        if direct and PathKind.QUIC not in without and self.gathered.udp_sockets:
            self._udp = UdpPunching(
                self.gathered.udp_sockets,
                self.terms,
                self._targets(Transport.UDP),
                start=self.start.at,
                round_trip=self.start.round_trip,
                budget=self.budget,
                observed=self.start.observed,
                wait=self.start.wait,
            )
            self._join(PathKind.QUIC, self._udp)
            if is_patient:
                self._udp.heard.add_done_callback(self._heard)
        if self.relay is not None:
            self._choosing.awaited.add(PathKind.RELAY)
            ready = self.start.at + (RELAY_READY_AFTER if direct else 0.0)
            timer = self._loop.call_at(ready, self._begin_relay, self.relay)
            self.stack.callback(timer.cancel)

        if self.later is not None:
            self.later.add_done_callback(self._wake)
            self.stack.callback(self.later.remove_done_callback, self._wake)

    def _heard(self, _: object) -> None:
        """Hurry: the other side is there, for which we have waited."""
        self._choosing.heard(self._loop.time())
        if self._tcp is not None:
            self._tcp.hurry()

    def _learn(self, terms: PunchTerms) -> None:
        self.terms = terms
        if self._tcp is not None:
            self._tcp.learn(terms, self._targets(Transport.TCP))
        if self._udp is not None:
            self._udp.learn(terms, self._targets(Transport.UDP))

    def _begin_relay(self, relay: Callable[[], Racer]) -> None:
        self._join(PathKind.RELAY, relay())
        self._wake()

    def _join(self, kind: PathKind, racer: Racer) -> None:
        self.stack.callback(self._leave, racer)
        self._choosing.awaited.add(kind)
        self._racers[kind] = racer
        for future in (racer.found, racer.nominated, racer.exhausted):
            future.add_done_callback(self._wake)

    def _leave(self, racer: Racer) -> None:
        racer.close()
        if racer.nominated.done() and racer.nominated.exception() is None:
            path = racer.nominated.result()
            if path is not self._path:
                path.socket.close()

    def _wake(self, _: object = None) -> None:
        self._events.put_nowait(None)

    async def _event(self) -> None:
        """Wait until something happens, or the choice may be another one."""
        deadline = self._choosing.deadline()
        try:
            async with asyncio.timeout_at(deadline):
                await self._events.get()
        except TimeoutError:
            return

    def _taken(self) -> Path | None:
        """Take in what has happened; return the path, if that makes one ours."""
        now = self._loop.time()
        if self.later is not None and self.later.done():
            terms, self.later = self.later.result(), None
            self._learn(terms)
        for kind, racer in self._racers.items():
            if racer.nominated.done():
                return racer.nominated.result()
            if racer.found.done() and kind in self._choosing.awaited:
                racer.found.result()
                _log.debug("%s is possible", kind.value)
                self._choosing.found(kind, now)
            if racer.exhausted.done() and kind not in self._why:
                self._gone(kind, racer.exhausted.result())
        if self.terms.role is Role.INITIATOR and (chosen := self._choosing.choice(now)) is not None:
            _log.debug("%s is nominated", chosen.value)
            return self._racers[chosen].nominate()
        return None

    def _gone(self, kind: PathKind, why: str) -> None:
        _log.debug("%s: %s", kind.value, why)
        self._why[kind] = why
        self._choosing.gone(kind)

    def _targets(self, transport: Transport) -> list[Address]:
        offered, own = self.terms.other.candidates, self.terms.own.candidates
        return dialable(offered, transport, own=own, observed=self.start.observed)
