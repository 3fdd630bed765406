"""Peers and their streams as a model sees them, whatever the store is: what they asked for and were told."""

import itertools
from dataclasses import dataclass, field
from typing import Protocol

from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_server.stores.base import Displaced, Event, Left, Lost, Matched, RelayTicket, Signalled, StreamId

from tests.server.client import sha256

__all__ = ["Desk", "Match", "Place", "Stream", "World"]

FRESH = 2.0  # s

Match = tuple[bytes, bytes]  # the hashes of both offers, the initiator's first; no offer is made twice


class Place(Protocol):
    """Where a stream is: an instance of a mediator."""

    is_dead: bool


class Desk:
    """Where an instance has its tickets from."""

    def __init__(self, name: int) -> None:
        self._numbers = itertools.count()
        self._name = name
        self.drawn: list[tuple[RelayTicket, RelayTicket]] = []
        self.admitted: dict[tuple[RelayTicket, RelayTicket], tuple[PeerId, PeerId]] = {}

    def draw(self) -> tuple[RelayTicket, RelayTicket]:
        number = next(self._numbers)
        one, other = (RelayTicket(b"%d %d %d" % (self._name, number, side), "relay.example", 54700) for side in (0, 1))
        self.drawn.append((one, other))
        return one, other

    def admit(self, peer: PeerId, other: PeerId, tickets: tuple[RelayTicket, RelayTicket]) -> None:
        assert tickets in self.drawn
        assert tickets not in self.admitted
        self.admitted[tickets] = peer, other


def match_of(event: Matched) -> Match:
    own, other = event.own_offer_hash, sha256(event.offer)
    return (own, other) if event.role is Role.INITIATOR else (other, own)


@dataclass(eq=False)
class Stream:
    """One stream of a peer, as its mediator drives it: it ends when told so, or if the store does not answer."""

    id: StreamId
    peer: PeerId
    place: Place
    is_over: bool = False
    offers: dict[bytes, PeerId] = field(default_factory=dict)  # that may be matched, by hash, with who is wanted
    matched: dict[PeerId, Matched] = field(default_factory=dict)  # the last match with each, unless it is over
    introduced: set[PeerId] = field(default_factory=set)  # to whom it was, and that it has not left
    left: set[bytes] = field(default_factory=set)  # likewise: those that went with a match that it left
    withdrawn: set[bytes] = field(default_factory=set)  # hashes of offers, which may be in a match already
    unsure: set[PeerId] = field(default_factory=set)  # for whom it did several things at once
    parted: set[PeerId] = field(default_factory=set)  # whom it has left, and that may have done so before
    matches: dict[Match, Matched] = field(default_factory=dict)  # all of which it was told

    def took(self, event: Event) -> None:
        """Take what the store delivers."""
        assert not self.is_over, "nothing comes to a stream that is over"
        match event:
            case Matched():
                if event.own_offer_hash in self.left:
                    return
                found = match_of(event)
                assert self.offers.pop(event.own_offer_hash, None) == event.peer, "it does not ask for that (any more)"
                assert found not in self.matches
                self.matches[found] = self.matched[event.peer] = event
                self.introduced.add(event.peer)
                self.parted.discard(event.peer)
            case Signalled(peer):
                assert peer in self.matched or peer in self.parted
            case Left(peer):
                assert peer in self.matched or peer in self.parted, "left by one with whom it is not matched"
                self.matched.pop(peer, None)
                self.parted.discard(peer)
            case Displaced() | Lost():
                self.is_over = True

    def leave(self, peer: PeerId) -> None:
        """Take what the peer does: end a match. What was done before may still come, and that there was one."""
        self.left |= {offer for offer, wanted in self.offers.items() if wanted == peer}
        self.matched.pop(peer, None)
        self.parted.add(peer)
        self.introduced.discard(peer)

    def check_waiting(self, other: PeerId, offer: bytes | None) -> None:
        """Check what the store has for `other`: the newest offer that was neither withdrawn nor told of in a match."""
        if other in self.unsure:
            return
        gone = self.withdrawn | self.left
        expected = [each for each, wanted in self.offers.items() if wanted == other and each not in gone]
        assert ([] if offer is None else [sha256(offer)]) == expected[-1:]

    @property
    def open_matches(self) -> dict[PeerId, Match]:
        """Of which it was told, and that are not over for it."""
        return {event.peer: found for found, event in self.matches.items() if self.matched.get(event.peer) is event}


class World:
    """All streams there ever were."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.offered: dict[bytes, tuple[PeerId, PeerId, int | None]] = {}  # by hash: of whom, to whom, and its place
        self.made: dict[bytes, Stream] = {}  # by hash of an offer: with which stream
        self._numbers = itertools.count(1)
        self._told: dict[Match, float] = {}  # when

    def told(self, event: Matched, now: float) -> None:
        """Both sides of a match are told within `FRESH`, or one of them never is."""
        first = self._told.setdefault(match_of(event), now)
        assert now - first <= FRESH, "told too late"

    def number(self) -> int:
        return next(self._numbers)

    def here(self) -> list[Stream]:
        """Streams that are not over."""
        return [stream for stream in self.streams if not stream.is_over and not stream.place.is_dead]

    def check(self) -> None:
        """What holds when all that was written has been read, and everybody knows who is there."""
        here = self.here()
        current = {stream.peer: stream for stream in here}
        assert len(current) == len(here), "two streams of one peer"
        for stream in here:
            for peer, found in stream.open_matches.items():
                self._check_order(stream, found)
                both = [each for each in self.streams if found in each.matches]
                assert len(both) == 2, "told to one only"
                one, other = (each.matches[found] for each in both)
                assert one.role is not other.role
                assert {each.peer for each in both} == {stream.peer, peer}
                partner = next(each for each in both if each is not stream)
                assert not partner.is_over, "it was not told that the other is gone"
                assert not partner.place.is_dead
                assert partner.open_matches.get(stream.peer) == found, "over for one side only"

    def _check_order(self, stream: Stream, found: Match) -> None:
        first, second = (self.offered[each] for each in found)
        assert (first[0], first[1]) == (second[1], second[0])
        if first[2] is not None and second[2] is not None:
            assert first[2] < second[2], "who advertised first is the initiator"
