"""What every store does, whatever holds it. A module of tests makes a store pass through this:

    class TestMemoryStore(StoreContract):
        @pytest.fixture
        async def world(self): yield World([...])

A world is one store or several that share their peers; each has an inbox of its own. Tests open their streams on
the first and on the last, so that with several stores every rule is seen to hold across them.
"""

import asyncio
import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.wire.candidate import Address
from p2p_server.stores.base import (
    Displaced,
    Event,
    Left,
    Matched,
    NotMatched,
    Signalled,
    Store,
    StreamId,
    TooManyOthers,
)

from tests.server.client import PATIENCE, sha256

MAX_OTHERS = 3

A, B, C, D, E = (PeerId(letter * 32) for letter in (b"a", b"b", b"c", b"d", b"e"))


class Arrivals:
    """Events by stream, in the order they came."""

    def __init__(self) -> None:
        self._queues: dict[StreamId, asyncio.Queue[Event]] = defaultdict(asyncio.Queue)

    def deliver(self, stream: StreamId, event: Event) -> None:
        self._queues[stream].put_nowait(event)

    async def next(self, stream: StreamId) -> Event:
        return await asyncio.wait_for(self._queues[stream].get(), PATIENCE)


@dataclass
class World:
    """Stores that share their peers, and what each delivered."""

    stores: list[tuple[Store, Arrivals]]
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def here(self, peer: PeerId, **where: object) -> "Stream":
        return await self._open(0, peer, **where)

    async def there(self, peer: PeerId, **where: object) -> "Stream":
        return await self._open(-1, peer, **where)

    async def _open(
        self, index: int, peer: PeerId, observed: Address | None = None, round_trip: float = 0.0
    ) -> "Stream":
        store, arrivals = self.stores[index]
        stream = Stream(store, arrivals, StreamId(f"stream {next(self.numbers)}"), peer)
        await store.claim(stream.id, peer, observed, round_trip)
        return stream


@dataclass
class Stream:
    store: Store
    arrivals: Arrivals
    id: StreamId
    peer: PeerId

    async def advertise(self, wanted: PeerId, offer: bytes = b"offer") -> None:
        await self.store.advertise(self.id, wanted, offer)

    async def signal(self, to: PeerId, body: bytes) -> None:
        await self.store.signal(self.id, to, body)

    async def withdraw(self, wanted: PeerId) -> None:
        await self.store.withdraw(self.id, wanted)

    async def leave(self, other: PeerId) -> None:
        await self.store.leave(self.id, other)

    async def forget(self) -> None:
        await self.store.forget(self.id)

    async def next(self) -> Event:
        return await self.arrivals.next(self.id)

    async def matched(self) -> Matched:
        event = await self.next()
        assert isinstance(event, Matched)
        return event


async def pair(world: World) -> tuple[Stream, Stream]:
    a, b = await world.here(A), await world.there(B)
    await a.advertise(B)
    await b.advertise(A)
    await a.matched()
    await b.matched()
    return a, b


class StoreContract:
    """Inherit, and give the fixture `world`."""

    async def test_a_match_tells_both_everything(self, world: World) -> None:
        near, far = Address.of("192.0.2.1", 1000), Address.of("2001:db8::1", 2000)
        a = await world.here(A, observed=near, round_trip=0.050)
        b = await world.there(B, observed=far, round_trip=0.250)
        await a.advertise(B, b"of a")
        await b.advertise(A, b"of b")
        assert await a.next() == Matched(
            peer=B,
            role=Role.INITIATOR,
            offer=b"of b",
            own_offer_hash=sha256(b"of a"),
            observed=far,
            start_after=pytest.approx(0.100),
            one_way=pytest.approx(0.025),
        )
        assert await b.next() == Matched(
            peer=A,
            role=Role.RESPONDER,
            offer=b"of a",
            own_offer_hash=sha256(b"of b"),
            observed=near,
            start_after=0.0,
            one_way=pytest.approx(0.125),
        )

    async def test_an_address_may_be_unknown(self, world: World) -> None:
        a, b = await world.here(A), await world.there(B)
        await a.advertise(B)
        await b.advertise(A)
        assert (await a.matched()).observed is None

    async def test_the_newest_round_trip_counts(self, world: World) -> None:
        a, b = await world.here(A, round_trip=1.0), await world.there(B, round_trip=1.0)
        await a.advertise(B)
        await a.store.measured(a.id, 0.2)
        await b.store.measured(b.id, 0.4)
        await b.advertise(A)
        matched = await a.matched()
        assert (matched.start_after, matched.one_way) == (pytest.approx(0.1), pytest.approx(0.1))

    async def test_a_refreshed_offer_is_the_one_that_is_matched_and_its_place_is_kept(self, world: World) -> None:
        a, b = await world.here(A), await world.there(B)
        await a.advertise(B, b"old")
        await a.advertise(B, b"new")
        await b.advertise(A)
        own = await a.matched()
        assert (own.role, own.own_offer_hash) == (Role.INITIATOR, sha256(b"new"))
        assert (await b.matched()).offer == b"new"

    async def test_wanting_is_not_enough_when_it_is_not_mutual(self, world: World) -> None:
        a, b, c = await world.here(A), await world.there(B), await world.here(C)
        await a.advertise(B)
        await b.advertise(C)
        await c.advertise(A)
        await b.advertise(A)  # the only mutual pair
        assert (await a.matched()).peer == B
        assert (await b.matched()).peer == A

    async def test_several_at_once(self, world: World) -> None:
        a, b, c = await world.here(A), await world.there(B), await world.here(C)
        await a.advertise(B, b"for b")
        await a.advertise(C, b"for c")
        await c.advertise(A)
        await b.advertise(A)
        assert [(await a.matched()).peer, (await a.matched()).peer] == [C, B]
        assert (await b.matched()).offer == b"for b"
        assert (await c.matched()).offer == b"for c"

    async def test_a_match_uses_both_advertisements_up(self, world: World) -> None:
        a, b = await pair(world)
        await b.advertise(A, b"once more")
        await a.advertise(B)
        assert (await a.matched()).role is Role.RESPONDER
        assert (await b.matched()).role is Role.INITIATOR

    async def test_who_comes_later_finds_the_one_that_waits(self, world: World) -> None:
        a = await world.here(A)
        await a.advertise(B)
        b = await world.there(B)
        await b.advertise(A)
        assert (await a.matched()).role is Role.INITIATOR
        await b.matched()

    async def test_leaving_withdraws(self, world: World) -> None:
        a, b = await world.here(A), await world.there(B)
        await a.advertise(B, b"withdrawn")
        await a.leave(B)
        await b.advertise(A)
        await a.advertise(B, b"anew")
        assert (await b.matched()).role is Role.INITIATOR

    async def test_what_is_withdrawn_is_not_matched(self, world: World) -> None:
        a, b = await world.here(A), await world.there(B)
        await a.advertise(B, b"withdrawn")
        await a.withdraw(B)
        await b.advertise(A)
        await a.advertise(B, b"anew")
        matched = await b.matched()
        assert (matched.role, matched.offer) == (Role.INITIATOR, b"anew")

    async def test_withdrawing_ends_no_match(self, world: World) -> None:
        a, b = await pair(world)
        await a.advertise(B, b"withdrawn")
        await a.withdraw(B)
        await a.withdraw(B)
        await b.signal(A, b"still matched")
        await a.signal(B, b"still matched")
        assert await a.next() == Signalled(B, b"still matched")
        assert await b.next() == Signalled(A, b"still matched")
        await b.advertise(A)
        await a.advertise(B, b"anew")
        assert (await b.matched()).offer == b"anew"

    async def test_withdrawing_nothing_is_harmless(self, world: World) -> None:
        a = await world.here(A)
        await a.withdraw(B)
        await a.forget()
        await a.withdraw(B)

    async def test_leaving_nobody_is_harmless(self, world: World) -> None:
        a = await world.here(A)
        await a.leave(B)

    async def test_a_forgotten_stream_has_withdrawn(self, world: World) -> None:
        a, b = await world.here(A), await world.there(B)
        await a.advertise(B)
        await a.forget()
        await a.forget()
        await b.advertise(A)
        a = await world.here(A)
        await a.advertise(B)
        assert (await b.matched()).role is Role.INITIATOR

    async def test_a_newer_stream_displaces_the_older(self, world: World) -> None:
        older, b = await world.here(A), await world.there(B)
        await older.advertise(B, b"older")
        newer = await world.there(A)
        assert await older.next() == Displaced()
        await newer.advertise(B, b"newer")
        await b.advertise(A)
        assert (await b.matched()).offer == b"newer"
        await newer.matched()

    async def test_what_a_displaced_stream_still_says_counts_for_nothing(self, world: World) -> None:
        older = await world.here(A)
        newer, b = await world.there(A), await world.there(B)
        await newer.advertise(B, b"newer")
        await older.advertise(B, b"older")
        await older.store.measured(older.id, 9.0)
        await older.leave(B)
        await older.signal(B, b"x")
        await older.forget()
        await b.advertise(A)
        matched = await b.matched()
        assert (matched.offer, matched.start_after) == (b"newer", 0.0)

    async def test_signals_reach_the_match_in_order(self, world: World) -> None:
        a, b = await pair(world)
        for body in (b"1", b"2", b"3"):
            await a.signal(B, body)
        await b.signal(A, b"back")
        assert [await b.next() for _ in range(3)] == [Signalled(A, body) for body in (b"1", b"2", b"3")]
        assert await a.next() == Signalled(B, b"back")

    async def test_a_signal_to_anybody_else_is_a_fault(self, world: World) -> None:
        a, _ = await pair(world)
        c = await world.there(C)
        await a.advertise(C)
        with pytest.raises(NotMatched):
            await a.signal(C, b"x")  # wanted, not matched
        with pytest.raises(NotMatched):
            await a.signal(D, b"x")  # not even here
        with pytest.raises(NotMatched):
            await c.signal(A, b"x")
        await a.leave(B)
        with pytest.raises(NotMatched):
            await a.signal(B, b"x")  # left

    @pytest.mark.parametrize("how", ["leave", "forget", "displace"])
    async def test_a_signal_to_a_match_that_is_gone_is_dropped(self, world: World, how: str) -> None:
        a, b = await pair(world)
        if how == "leave":
            await b.leave(A)
        elif how == "forget":
            await b.forget()
        else:
            await world.here(B)
        assert await a.next() == Left(B)
        await a.signal(B, b"dropped")
        b = await world.there(B)
        await b.advertise(A)
        await a.advertise(B)
        await b.matched()  # nothing before it

    async def test_whoever_leaves_last_leaves_nobody(self, world: World) -> None:
        a, b = await pair(world)
        await a.leave(B)
        await b.leave(A)
        await b.leave(A)
        assert await b.next() == Left(A)
        await a.advertise(B)
        await b.advertise(A)
        await a.matched()  # nothing before it
        await b.matched()

    async def test_a_stream_wants_or_is_matched_with_only_so_many(self, world: World) -> None:
        a, _ = await pair(world)
        await a.advertise(C)
        await a.advertise(D)
        await a.advertise(D, b"refreshed")
        await a.advertise(B, b"a match counts once, wanted again or not")
        with pytest.raises(TooManyOthers):
            await a.advertise(E)
        await a.leave(B)
        await a.advertise(E)

    async def test_nothing_is_delivered_after_closing(self, world: World) -> None:
        a = await world.here(A)
        store, arrivals = world.stores[0]
        await store.close()
        assert arrivals._queues.get(a.id) is None or arrivals._queues[a.id].empty()
