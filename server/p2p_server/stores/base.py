"""The store: matching and delivery behind one interface, for one mediator or for several that share their peers.

A mediator instance owns the streams that peers opened to it. It tells the store what its peers do, and the store
calls back the instance that owns a stream with what has to be sent on it, wherever the cause came from.

Methods are coroutines because another implementation asks over a network. Those that name a stream which is not,
or no longer, its peer's current one do nothing: its owner learns, or has learned, that it was displaced.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NewType, Protocol

from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.wire.candidate import Address

__all__ = [
    "NO_TICKETS",
    "Deliver",
    "Displaced",
    "Event",
    "Left",
    "Lost",
    "Matched",
    "NotMatched",
    "RelayTicket",
    "Signalled",
    "Store",
    "StoreUnavailable",
    "StreamId",
    "Tickets",
    "TooManyOthers",
]

StreamId = NewType("StreamId", str)  # different for every stream of every instance


@dataclass(frozen=True, slots=True)
class RelayTicket:
    """Lets one peer into the relay of one match, at one instance."""

    ticket: bytes = field(repr=False)
    host: str = ""  # of the instance; empty: as the peer dialled
    port: int = 0  # likewise


class Tickets(Protocol):
    """Where this instance's tickets for relays come from."""

    def draw(self) -> tuple[RelayTicket, RelayTicket] | None:
        """Return two new tickets, which are good for nothing yet; None where nothing is relayed."""

    def admit(self, peer: PeerId, other: PeerId, tickets: tuple[RelayTicket, RelayTicket]) -> None:
        """Let `peer` in with the first ticket, and `other` with the second: they are matched."""


class _NoTickets:
    def draw(self) -> None:
        return None

    def admit(self, peer: PeerId, other: PeerId, tickets: tuple[RelayTicket, RelayTicket]) -> None:
        raise AssertionError("no ticket was drawn")


NO_TICKETS: Tickets = _NoTickets()
"""Of an instance that relays nothing."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Both peers want each other. The advertisements of both are used up."""

    peer: PeerId  # the other side
    role: Role  # the receiver's own
    offer: bytes  # the other side's, sealed
    own_offer_hash: bytes  # SHA-256 of the receiver's own sealed offer
    observed: Address | None  # the other side's address
    start_after: float  # s; how long the receiver waits, so that both start together
    one_way: float  # s; the estimated way from the mediator to the receiver
    relay: RelayTicket | None = None  # the receiver's own


@dataclass(frozen=True, slots=True)
class Signalled:
    """A matched peer sent this."""

    peer: PeerId
    body: bytes


@dataclass(frozen=True, slots=True)
class Left:
    """A matched peer ended the match, or is gone."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Displaced:
    """A newer stream of the same key took this one's place."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The store knows nothing of this stream any more: it, or the way to it, was gone for too long."""


Event = Matched | Signalled | Left | Displaced | Lost
Deliver = Callable[[StreamId, Event], None]


class TooManyOthers(Exception):
    """A stream waits for, or is matched with, as many peers as it may."""


class NotMatched(Exception):
    """A signal to a peer that this stream was not matched with."""


class StoreUnavailable(Exception):
    """The store cannot be asked now, or did not answer: whether it did what it was told is not known."""


class Store(ABC):
    """Takes what the peers of one instance do. Events come back through the `Deliver` it was made with.

    The instance that makes a match adds its own tickets for both sides: they have to come to the same one.

    Each method but `start`, `measured` and `close` may raise `StoreUnavailable`. The stream that it was called for then
    has to end, and to be forgotten: what is known of it may be less, or more, than what its peer has done.
    """

    @property
    @abstractmethod
    def is_available(self) -> bool:
        """Whether it can be asked now, as far as is known."""

    @abstractmethod
    async def start(self) -> None:
        """Begin, before anything else is called. Raises `UsageError` if that will never work."""

    @abstractmethod
    async def claim(self, stream: StreamId, peer: PeerId, observed: Address | None, round_trip: float) -> None:
        """Make `stream` the current one of `peer`, which has proved its key. An older stream is `Displaced`."""

    @abstractmethod
    async def measured(self, stream: StreamId, round_trip: float) -> None:
        """Take a newer round trip, in seconds, between the peer and its mediator."""

    @abstractmethod
    async def advertise(self, stream: StreamId, wanted: PeerId, offer: bytes) -> None:
        """Want `wanted`, which is not the peer itself. When it wants this peer too, both are `Matched`.

        Who wanted first is the initiator; wanting once more only takes the new offer. Raises `TooManyOthers`.
        """

    @abstractmethod
    async def withdraw(self, stream: StreamId, wanted: PeerId) -> None:
        """Want `wanted` no more, if there is no match with it yet. One that there is stays."""

    @abstractmethod
    async def signal(self, stream: StreamId, to: PeerId, body: bytes) -> None:
        """Send `body` to a match. Raises `NotMatched` if there never was this match, or this side left it.

        When only the other side is gone, which the sender cannot know, the signal is dropped.
        """

    @abstractmethod
    async def leave(self, stream: StreamId, other: PeerId) -> None:
        """Withdraw the advertisement for `other` and end the match with it, whichever there is.

        Who ends a match first, in this way or by ceasing to be its peer's current stream, leaves the other with `Left`.
        """

    @abstractmethod
    async def forget(self, stream: StreamId) -> None:
        """Forget the stream: it has ended."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of everything; nothing is delivered afterwards."""
