"""Tickets for relays. docs/protocol/relay.md.

The instance that makes a match issues both its tickets, and bridges the two streams that bring them.
"""

import os
from dataclasses import dataclass

from p2p_core import limits as protocol
from p2p_core.identity import PeerId

from p2p_server.authorized import Admits, KeysUnreadable
from p2p_server.clock import Clock
from p2p_server.config import HostPort
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits
from p2p_server.metrics import Metrics
from p2p_server.relay_accounts import RelayAccounts
from p2p_server.relay_bridge import Bridge, Seat
from p2p_server.stores.base import RelayTicket

__all__ = ["RelayDesk"]

_Pair = frozenset[PeerId]


@dataclass(frozen=True, slots=True)
class _Issued:
    """Tickets that nobody has brought yet, with their seats."""

    seats: dict[bytes, Seat]
    until: float


class RelayDesk:
    """The tickets of this instance. Implements `Tickets`."""

    def __init__(
        self, limits: Limits, clock: Clock, admits: Admits, metrics: Metrics, leads_to: HostPort | None = None
    ) -> None:
        """Hold to `limits`; tickets lead to an address of this instance's own, or to where their peer dialled."""
        self._host, self._port = (leads_to.host, leads_to.port) if leads_to else ("", 0)
        self._limits = limits
        self._clock = clock
        self._admits = admits
        self._metrics = metrics
        self._accounts = RelayAccounts(limits, clock)
        self._issued: dict[_Pair, _Issued] = {}  # the oldest first
        self._pairs: dict[bytes, _Pair] = {}  # by ticket
        self._is_timed = False

    def __len__(self) -> int:
        """How many tickets are good."""
        return len(self._pairs)

    def draw(self) -> tuple[RelayTicket, RelayTicket] | None:
        """See `Tickets`."""
        if not self._limits.relay:
            return None
        first, second = (RelayTicket(os.urandom(protocol.RELAY_TICKET_BYTES), self._host, self._port) for _ in range(2))
        return first, second

    def admit(self, peer: PeerId, other: PeerId, tickets: tuple[RelayTicket, RelayTicket]) -> None:
        """See `Tickets`. Older ones of the same two are good no more, so there are never more than matches."""
        pair = frozenset((peer, other))
        self._withdraw(pair)
        bridge = Bridge((peer, other), self._limits, self._clock, self._accounts, self._metrics)
        seats = {each.ticket: seat for each, seat in zip(tickets, bridge.seats, strict=True)}
        self._issued[pair] = _Issued(seats, self._clock.now() + self._limits.relay_ticket_life)
        self._pairs |= dict.fromkeys(seats, pair)
        if not self._is_timed:
            self._expire()

    def redeem(self, ticket: bytes) -> Seat:
        """Return the seat that `ticket` is for; it is good no more.

        Raises `StreamEnded` if it was not, or the key of its peer was taken away since.
        """
        pair = self._pairs.pop(ticket, None)
        if pair is None:
            raise StreamEnded(Ending.RELAY_TICKET)
        issued = self._issued[pair]
        seat = issued.seats.pop(ticket)
        if not issued.seats:
            del self._issued[pair]
        try:
            is_admitted = self._admits(seat.peer)
        except KeysUnreadable:
            raise StreamEnded(Ending.KEYS_UNREADABLE) from None
        if not is_admitted:
            raise StreamEnded(Ending.NOT_ADMITTED)
        return seat

    @property
    def relays(self) -> int:
        """How many relays there are, of two sides each."""
        return self._accounts.relays // 2

    def _withdraw(self, pair: _Pair) -> None:
        issued = self._issued.pop(pair, None)
        for ticket in issued.seats if issued else ():
            del self._pairs[ticket]

    def _expire(self) -> None:
        """Drop what is too old, and come back for the next."""
        now = self._clock.now()
        for pair, issued in list(self._issued.items()):
            if issued.until > now:
                break
            self._withdraw(pair)
        oldest = next(iter(self._issued.values()), None)
        self._is_timed = oldest is not None
        if oldest is not None:
            self._clock.call_at(oldest.until, self._expire)
