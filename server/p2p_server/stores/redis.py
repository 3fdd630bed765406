"""The store of several mediators that share their peers: all of it in Redis. docs/decisions/redis-store.md.

Each operation is one script, which changes what is known and writes events for the instances that own the streams
concerned, the calling one among them. Each instance takes its own events, in their order.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address

from p2p_server.stores.base import (
    NO_TICKETS,
    Deliver,
    Displaced,
    Event,
    Left,
    Lost,
    NotMatched,
    RelayTicket,
    Signalled,
    Store,
    StoreUnavailable,
    StreamId,
    Tickets,
    TooManyOthers,
)
from p2p_server.stores.redis_events import Entry, Meeting, Proposed, pack_address, pack_round_trip, pack_ticket
from p2p_server.stores.redis_link import Argument
from p2p_server.stores.redis_membership import Membership, Owner, Times
from p2p_server.stores.redis_scripts import Script, Scripts

__all__ = ["RedisStore"]

_MATCHED, _TOO_MANY = 1, 2  # what scripts that may match return
# A measured round trip that differs less from the one that is known is the same; half of it is how much sooner one side
# then starts. A share of it, as the round trips of an unsteady way differ with every heartbeat.
_SAME_ROUND_TRIP = 0.005  # s, far below any way between peers
_SAME_SHARE = 0.2

_TicketPair = tuple[RelayTicket, RelayTicket]
_Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(slots=True)
class _Own:
    """A stream of this instance."""

    peer: PeerId
    round_trip: float  # as Redis knows it
    told: dict[PeerId, bool] = field(default_factory=dict)  # matches that it did not leave; if the other is in it
    untold: set[PeerId] = field(default_factory=set)  # matches of which it was never told, and will not be
    drawn: dict[bytes, _TicketPair] = field(default_factory=dict)  # by its own: of matches that may have been made


class RedisStore(Store):
    """One instance's view of it."""

    def __init__(
        self,
        url: str,
        deliver: Deliver,
        max_others: int,
        tickets: Tickets = NO_TICKETS,
        *,
        times: Times = Times(),  # noqa: B008 – frozen
    ) -> None:
        """Call `deliver` with every event; let a stream want or be matched with `max_others` peers.

        Raises `UsageError` for what is no URL of a Redis.
        """
        self._deliver = deliver
        self._max_others = max_others
        self._tickets = tickets
        self._own: dict[StreamId, _Own] = {}
        self._round: list[StreamId] = []  # which still have to be refreshed, and those that ended meanwhile
        self._many = 0  # of them by each beat: the round takes as long as it had to, whoever comes and goes
        self._owed: list[_Work] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._scripts = Scripts(times.dead_after, times.fresh, times.kept)
        owner = Owner(self._take, self._lose_all, self._pay, self._some_streams)
        self._membership = Membership(url, times, self._scripts, owner)

    @property
    def is_available(self) -> bool:
        """See `Store`."""
        return self._membership.is_up

    async def start(self) -> None:
        """See `Store`. A Redis that is not there yet is waited for in the background."""
        await self._membership.start()

    async def claim(self, stream: StreamId, peer: PeerId, observed: Address | None, round_trip: float) -> None:
        """See `Store`."""
        instance = self._membership.name
        self._own[stream] = _Own(peer, round_trip)
        packed = pack_address(observed), pack_round_trip(round_trip)
        if not await self._membership.ask(self._scripts.claim, instance, peer, stream, *packed):
            raise StoreUnavailable("this instance was given up by the others")

    async def measured(self, stream: StreamId, round_trip: float) -> None:
        """See `Store`. Redis is told of what makes a difference only."""
        own = self._own.get(stream)
        if own is None:
            return
        if abs(own.round_trip - round_trip) < max(_SAME_ROUND_TRIP, _SAME_SHARE * own.round_trip):
            return
        with suppress(StoreUnavailable):
            await self._ask(self._scripts.measured, own.peer, stream, pack_round_trip(round_trip))
            own.round_trip = round_trip

    async def advertise(self, stream: StreamId, wanted: PeerId, offer: bytes) -> None:
        """See `Store`."""
        if await self._meet(self._scripts.advertise, stream, wanted, offer, self._max_others) == _TOO_MANY:
            raise TooManyOthers

    async def withdraw(self, stream: StreamId, wanted: PeerId) -> None:
        """See `Store`."""
        if (own := self._own.get(stream)) is not None:
            await self._ask(self._scripts.withdraw, own.peer, stream, wanted)

    async def signal(self, stream: StreamId, to: PeerId, body: bytes) -> None:
        """See `Store`."""
        own = self._own.get(stream)
        if own is None or await self._ask(self._scripts.signal, own.peer, stream, to, body):
            return
        if to not in own.told:  # else a later match with it came to nothing, and took this one with it
            raise NotMatched

    async def leave(self, stream: StreamId, other: PeerId) -> None:
        """See `Store`."""
        if (own := self._own.get(stream)) is not None:
            own.told.pop(other, None)
            await self._ask(self._scripts.leave, own.peer, stream, other)

    async def forget(self, stream: StreamId) -> None:
        """See `Store`. Raises nothing: what cannot be done now is done when Redis is back."""
        if (own := self._own.pop(stream, None)) is not None:
            await self._surely(lambda: self._forget(own.peer, stream))

    async def close(self) -> None:
        """See `Store`."""
        self._deliver = _drop
        await self._membership.leave()
        for task in self._tasks:
            task.cancel()

    async def _ask(self, script: Script, peer: PeerId, stream: StreamId, *more: Argument) -> Any:
        """Run a script about a stream of this instance."""
        return await self._membership.ask(script, self._membership.name, peer, stream, *more)

    async def _forget(self, peer: PeerId, stream: StreamId) -> None:
        await self._ask(self._scripts.forget, peer, stream)

    async def _meet(self, script: Script, stream: StreamId, other: PeerId, *more: Argument) -> int | None:
        """Run a script that may match the stream's peer with `other`, and admit both to the relay if it did.

        If its answer is lost, that is done when the stream is told of the match.
        """
        if (own := self._own.get(stream)) is None:
            return None
        tickets = self._tickets.draw()
        if tickets is not None:
            own.drawn[tickets[0].ticket] = tickets
        packed = [pack_ticket(ticket) for ticket in tickets or (None, None)]
        answer: int = await self._ask(script, own.peer, stream, other, *more, *packed)
        if tickets is not None:
            if answer == _MATCHED:
                self._admit(own, other, tickets[0])
            own.drawn.pop(tickets[0].ticket, None)
        return answer

    def _admit(self, own: _Own, other: PeerId, ticket: RelayTicket | None) -> None:
        """Admit both to the relay, if `own` drew the tickets and this was not done yet."""
        if ticket is not None and (tickets := own.drawn.pop(ticket.ticket, None)) is not None:
            self._tickets.admit(own.peer, other, tickets)

    async def _acknowledge(self, stream: StreamId, other: PeerId, asked_at: int) -> None:
        await self._meet(self._scripts.acknowledge, stream, other, asked_at)

    async def _reject(self, stream: StreamId, meeting: Meeting) -> None:
        await self._meet(self._scripts.reject, stream, meeting.matched.peer, meeting.number, meeting.advertisement)

    async def _surely(self, work: _Work) -> None:
        """Do what may be done twice but must not be left undone."""
        try:
            await work()
        except StoreUnavailable:
            self._owed.append(work)

    async def _pay(self) -> None:
        owed, self._owed = self._owed, []
        for work in owed:
            await self._surely(work)

    def _in_background(self, work: _Work) -> None:
        task = asyncio.create_task(self._surely(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take(self, entry: Entry, is_late: bool) -> None:
        stream = entry.stream
        if (own := self._own.get(stream)) is None:
            if isinstance(entry.what, Proposed | Meeting):  # Redis has it still, or again: see "What may come late"
                peer = entry.what.of
                self._in_background(lambda: self._forget(peer, stream))
            return
        match entry.what:
            case Proposed(_, peer):
                self._in_background(lambda: self._acknowledge(stream, peer, entry.at))
            case Meeting() as meeting if is_late:
                peer = meeting.matched.peer
                own.untold.add(peer)
                self._in_background(lambda: self._reject(stream, meeting))
                if own.told.get(peer):  # an earlier match, which is over for the other side with this one
                    own.told[peer] = False
                    self._deliver(stream, Left(peer))
            case Meeting(_, matched):
                own.untold.discard(matched.peer)
                own.told[matched.peer] = True
                self._admit(own, matched.peer, matched.relay)
                self._deliver(stream, matched)
            case Signalled(peer) | Left(peer) if peer in own.untold:
                pass
            case Displaced() | Lost() as end:
                del self._own[stream]
                if isinstance(end, Lost):  # Redis has it still, if what could not be read was another event
                    self._in_background(lambda: self._forget(own.peer, stream))
                self._deliver(stream, end)
            case Left(peer) as event:
                own.told[peer] = False
                self._deliver(stream, event)
            case Signalled() as event:
                self._deliver(stream, event)
            case None:
                pass

    def _lose_all(self) -> None:
        lost, self._own = self._own, {}
        self._owed.clear()
        for stream in lost:
            self._deliver(stream, Lost())

    def _some_streams(self, part: float) -> list[tuple[PeerId, StreamId]]:
        if not self._round:
            self._round = list(self._own)
            self._many = math.ceil(len(self._round) * part)
        some, self._round = self._round[: self._many], self._round[self._many :]
        return [(own.peer, stream) for stream in some if (own := self._own.get(stream)) is not None]


def _drop(stream: StreamId, event: Event) -> None:
    """Deliver to nobody."""
