"""The rules, and what holds after any sequence of what peers may do."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from p2p_core.identity import PeerId
from p2p_server.matching import Delivery, Table, start_after
from p2p_server.stores.base import Displaced, Left, Matched, NotMatched, Signalled, StreamId, TooManyOthers

PEERS = [PeerId(bytes([n]) * 32) for n in range(4)]


@pytest.mark.parametrize(
    ("own", "other", "expected"),
    [(0.0, 0.0, 0.0), (0.080, 0.020, 0.0), (0.020, 0.080, 0.030), (0.0, 30.0, 2.0), (4.0, 0.0, 0.0)],
)
def test_the_nearer_peer_waits_for_half_the_difference(own: float, other: float, expected: float) -> None:
    assert start_after(own, other) == pytest.approx(expected)


def test_whom_it_was_matched_with_is_told_in_the_order_of_the_matches() -> None:
    peers = [PeerId(bytes([n]) * 32) for n in (0, 7, 3, 5, 1, 6, 2, 4)]
    table = Table(max_others=len(peers))
    for peer in peers:
        table.claim(StreamId(str(peer)), peer, None, 0.0)
    own, *others = peers
    for other in others:
        table.advertise(StreamId(str(own)), other, b"x")
        table.advertise(StreamId(str(other)), own, b"x")
    assert table.forget(StreamId(str(own))) == tuple(Delivery(StreamId(str(other)), Left(own)) for other in others)


class Model(RuleBasedStateMachine):
    """Peers come, want, signal, leave and go at random. Invariants: nobody is matched who was not wanted; both sides
    of a match agree; nothing is delivered to a stream that is over; the table holds no more than who is here."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(max_others=2)
        self.current: dict[PeerId, StreamId] = {}
        self.peer_of: dict[StreamId, PeerId] = {}
        self.wants: dict[StreamId, dict[PeerId, bytes]] = {}
        self.matches: dict[StreamId, set[PeerId]] = {}
        self.opened = 0

    peers = st.sampled_from(PEERS)

    @rule(peer=peers)
    def come(self, peer: PeerId) -> None:
        self.opened += 1
        stream = StreamId(str(self.opened))
        older = self.current.get(peer)
        delivered = self.table.claim(stream, peer, None, 0.0)
        if older is None:
            assert delivered == ()
        else:
            assert delivered[0] == Delivery(older, Displaced())
            assert set(delivered[1:]) == self.parted(older)
        self.current[peer] = stream
        self.peer_of[stream] = peer
        self.wants[stream] = {}
        self.matches[stream] = set()

    @rule(stream=st.integers(1, 30), wanted=peers, offer=st.binary(min_size=1, max_size=2))
    def want(self, stream: int, wanted: PeerId, offer: bytes) -> None:
        own = StreamId(str(stream))
        peer = self.peer_of.get(own)
        if peer == wanted:
            return
        try:
            delivered = self.table.advertise(own, wanted, offer)
        except TooManyOthers:
            assert len(self.table) > 0
            return
        if peer is None or self.current.get(peer) != own:
            assert delivered == ()
            return
        self.wants[own][wanted] = offer
        other = self.current.get(wanted)
        if other is None or peer not in self.wants[other]:
            assert delivered == ()
            return
        events = {delivery.stream: delivery.event for delivery in delivered}
        assert set(events) == {own, other}
        ours, theirs = events[own], events[other]
        assert isinstance(ours, Matched)
        assert isinstance(theirs, Matched)
        assert (ours.peer, theirs.peer) == (wanted, peer)
        assert ours.role is theirs.role.other
        self.matches[own].add(wanted)
        self.matches[other].add(peer)
        assert (ours.offer, theirs.offer) == (self.wants[other].pop(peer), self.wants[own].pop(wanted))

    @rule(stream=st.integers(1, 30), to=peers)
    def signal(self, stream: int, to: PeerId) -> None:
        own = StreamId(str(stream))
        try:
            delivered = self.table.signal(own, to, b"x")
        except NotMatched:
            assert self.current[self.peer_of[own]] == own
            return
        for delivery in delivered:
            assert delivery == Delivery(self.current[to], Signalled(self.peer_of[own], b"x"))

    @rule(stream=st.integers(1, 30), wanted=peers)
    def withdraw(self, stream: int, wanted: PeerId) -> None:
        own = StreamId(str(stream))
        self.table.withdraw(own, wanted)
        if own in self.wants and self.current.get(self.peer_of[own]) == own:
            self.wants[own].pop(wanted, None)

    @rule(stream=st.integers(1, 30), other=peers)
    def leave(self, stream: int, other: PeerId) -> None:
        own = StreamId(str(stream))
        delivered = self.table.leave(own, other)
        if own not in self.wants or self.current.get(self.peer_of[own]) != own:
            assert delivered == ()
            return
        self.wants[own].pop(other, None)
        assert set(delivered) == self.parted(own, other)
        self.matches[own].discard(other)

    @rule(stream=st.integers(1, 30))
    def go(self, stream: int) -> None:
        own = StreamId(str(stream))
        delivered = self.table.forget(own)
        peer = self.peer_of.get(own)
        if peer is None or self.current.get(peer) != own:
            assert delivered == ()
            return
        assert set(delivered) == self.parted(own)
        del self.current[peer]

    def parted(self, own: StreamId, *others: PeerId) -> set[Delivery]:
        """Who is to be told when a stream ends its match with `others`, or with all: those who have not ended it."""
        peer = self.peer_of[own]
        streams = [self.current[other] for other in others or PEERS if other in self.matches[own] & self.current.keys()]
        return {Delivery(stream, Left(peer)) for stream in streams if peer in self.matches[stream]}

    @invariant()
    def the_table_holds_who_is_here(self) -> None:
        assert len(self.table) == len(self.current)


TestRules = Model.TestCase
