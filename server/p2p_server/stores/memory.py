"""The store of a mediator that is alone: everything in this process, nothing to install."""

from collections.abc import Iterable
from dataclasses import replace

from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address

from p2p_server.matching import Delivery, Table
from p2p_server.stores.base import NO_TICKETS, Deliver, Matched, Store, StreamId, Tickets

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """Delivers before the call that caused it returns."""

    def __init__(self, deliver: Deliver, max_others: int, tickets: Tickets = NO_TICKETS) -> None:
        """Call `deliver` with every event; let a stream want or be matched with `max_others` peers."""
        self._deliver = deliver
        self._tickets = tickets
        self._table = Table(max_others)

    @property
    def is_available(self) -> bool:
        """Always."""
        return True

    async def start(self) -> None:
        """See `Store`; there is nothing to do."""

    async def claim(self, stream: StreamId, peer: PeerId, observed: Address | None, round_trip: float) -> None:
        """See `Store`."""
        self._tell(self._table.claim(stream, peer, observed, round_trip))

    async def measured(self, stream: StreamId, round_trip: float) -> None:
        """See `Store`."""
        self._table.measured(stream, round_trip)

    async def advertise(self, stream: StreamId, wanted: PeerId, offer: bytes) -> None:
        """See `Store`."""
        self._tell(self._with_tickets(self._table.advertise(stream, wanted, offer)))

    async def withdraw(self, stream: StreamId, wanted: PeerId) -> None:
        """See `Store`."""
        self._table.withdraw(stream, wanted)

    async def signal(self, stream: StreamId, to: PeerId, body: bytes) -> None:
        """See `Store`."""
        self._tell(self._table.signal(stream, to, body))

    async def leave(self, stream: StreamId, other: PeerId) -> None:
        """See `Store`."""
        self._tell(self._table.leave(stream, other))

    async def forget(self, stream: StreamId) -> None:
        """See `Store`."""
        self._tell(self._table.forget(stream))

    async def close(self) -> None:
        """See `Store`."""
        self._table = Table(0)

    def _with_tickets(self, deliveries: tuple[Delivery, ...]) -> tuple[Delivery, ...]:
        match deliveries:
            case (Delivery(first, Matched() as to_first), Delivery(second, Matched() as to_second)):
                if (tickets := self._tickets.draw()) is not None:
                    self._tickets.admit(to_second.peer, to_first.peer, tickets)
                    return (
                        Delivery(first, replace(to_first, relay=tickets[0])),
                        Delivery(second, replace(to_second, relay=tickets[1])),
                    )
        return deliveries

    def _tell(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            self._deliver(delivery.stream, delivery.event)
