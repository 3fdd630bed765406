"""The rules of matching: who is matched with whom, in which role, and when both start. Pure and deterministic.

A peer has one current stream. Each stream wants some peers and is matched with some. Two streams are matched as soon
as each wants the other's peer; the one that was waiting, which is the one that wanted first, is the initiator.
"""

import hashlib
from dataclasses import dataclass, field

from p2p_core.identity import PeerId
from p2p_core.limits import MAX_START_DELAY
from p2p_core.proof import Role
from p2p_core.wire.candidate import Address

from p2p_server.stores.base import Displaced, Event, Left, Matched, NotMatched, Signalled, StreamId, TooManyOthers

__all__ = ["Delivery", "Table", "start_after"]


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event and the stream it is for."""

    stream: StreamId
    event: Event


@dataclass(slots=True)
class _Presence:
    """A peer's current stream."""

    stream: StreamId
    peer: PeerId
    observed: Address | None
    round_trip: float
    wanted: dict[PeerId, bytes] = field(default_factory=dict)  # with the offer for each
    matched: dict[PeerId, None] = field(default_factory=dict)  # in the order of the matches


def start_after(own_round_trip: float, other_round_trip: float) -> float:
    """Return how long a peer waits after its Match arrives, in seconds, so that both start at one moment.

    A Match travels half a round trip, so the nearer peer waits for the difference. A peer that answers its Pings
    late can make the other wait, but never longer than peers accept.
    """
    half = own_round_trip / 2
    return min(max(half, other_round_trip / 2) - half, MAX_START_DELAY)


class Table:
    """Everybody who is connected, by stream and by peer. The methods are those of `Store`."""

    def __init__(self, max_others: int) -> None:
        """Let each stream want, or be matched with, `max_others` peers."""
        self._max_others = max_others
        self._by_stream: dict[StreamId, _Presence] = {}
        self._by_peer: dict[PeerId, _Presence] = {}

    def __len__(self) -> int:
        return len(self._by_stream)

    def claim(
        self, stream: StreamId, peer: PeerId, observed: Address | None, round_trip: float
    ) -> tuple[Delivery, ...]:
        """Make `stream` the current one of `peer`."""
        older = self._by_peer.get(peer)
        displaced: tuple[Delivery, ...] = ()
        if older is not None:
            displaced = (Delivery(older.stream, Displaced()), *self.forget(older.stream))
        self._by_peer[peer] = self._by_stream[stream] = _Presence(stream, peer, observed, round_trip)
        return displaced

    def measured(self, stream: StreamId, round_trip: float) -> None:
        """Take a newer round trip."""
        if (own := self._by_stream.get(stream)) is not None:
            own.round_trip = round_trip

    def advertise(self, stream: StreamId, wanted: PeerId, offer: bytes) -> tuple[Delivery, ...]:
        """Want a peer; match if it wants this one."""
        own = self._by_stream.get(stream)
        if own is None:
            return ()
        others = own.wanted.keys() | own.matched.keys()
        if wanted not in others and len(others) >= self._max_others:
            raise TooManyOthers
        own.wanted[wanted] = offer
        other = self._by_peer.get(wanted)
        if other is None or own.peer not in other.wanted:
            return ()
        return _match(other, own)

    def withdraw(self, stream: StreamId, wanted: PeerId) -> None:
        """Want a peer no more. A match stays."""
        if (own := self._by_stream.get(stream)) is not None:
            own.wanted.pop(wanted, None)

    def signal(self, stream: StreamId, to: PeerId, body: bytes) -> tuple[Delivery, ...]:
        """Pass `body` on to a match."""
        own = self._by_stream.get(stream)
        if own is None:
            return ()
        if to not in own.matched:
            raise NotMatched
        other = self._by_peer.get(to)
        if other is None or own.peer not in other.matched:
            return ()
        return (Delivery(other.stream, Signalled(own.peer, body)),)

    def leave(self, stream: StreamId, other: PeerId) -> tuple[Delivery, ...]:
        """Want `other` no more, and be its match no more."""
        own = self._by_stream.get(stream)
        if own is None:
            return ()
        own.wanted.pop(other, None)
        if other not in own.matched:
            return ()
        del own.matched[other]
        return self._left(own.peer, other)

    def forget(self, stream: StreamId) -> tuple[Delivery, ...]:
        """Forget a stream that ended."""
        own = self._by_stream.pop(stream, None)
        if own is None:
            return ()
        del self._by_peer[own.peer]
        return tuple(delivery for other in own.matched for delivery in self._left(own.peer, other))

    def _left(self, peer: PeerId, other: PeerId) -> tuple[Delivery, ...]:
        """Tell `other` that `peer` has ended their match, unless `other` has done so itself."""
        left = self._by_peer.get(other)
        if left is None or peer not in left.matched:
            return ()
        return (Delivery(left.stream, Left(peer)),)


def _match(first: _Presence, second: _Presence) -> tuple[Delivery, ...]:
    firsts, seconds = first.wanted.pop(second.peer), second.wanted.pop(first.peer)
    first.matched[second.peer] = None
    second.matched[first.peer] = None
    return (
        _told(first, Role.INITIATOR, firsts, second, seconds),
        _told(second, Role.RESPONDER, seconds, first, firsts),
    )


def _told(own: _Presence, role: Role, own_offer: bytes, other: _Presence, other_offer: bytes) -> Delivery:
    matched = Matched(
        peer=other.peer,
        role=role,
        offer=other_offer,
        own_offer_hash=hashlib.sha256(own_offer).digest(),
        observed=other.observed,
        start_after=start_after(own.round_trip, other.round_trip),
        one_way=own.round_trip / 2,
    )
    return Delivery(own.stream, matched)
