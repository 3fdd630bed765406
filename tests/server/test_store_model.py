"""Matching under anything that may happen: a match is acted on by both, or withdrawn from both.

Peers come, want, want no more, signal, leave and go, on one store in memory or on instances that share a Redis. Those
may be frozen, read their events late, or die; Redis may lose its connections, or everything, or what it was told last.
Then, once all is known:

- a match of which one side was told, and that is not over for it, was told to the other with the other role, and is not
  over for that side either;
- nobody was matched who did not ask for it, with an offer that was replaced or withdrawn, or on a stream that was over;
- nobody was matched with one whose instance was not there;
- who advertised first is the initiator; tickets are of one draw, and good for just these two;
- two who want each other are matched;
- no peer has two streams, and a stream that is over has been told so;
- every key expires, and nothing is left once everybody has gone.

docs/decisions/redis-store.md.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from p2p_core.identity import PeerId
from p2p_server.stores.base import (
    Event,
    Matched,
    NotMatched,
    RelayTicket,
    Store,
    StoreUnavailable,
    StreamId,
    TooManyOthers,
)
from p2p_server.stores.memory import MemoryStore

from tests import redis_server
from tests.model_settings import model_settings
from tests.redis_server import RedisServer
from tests.server.client import sha256
from tests.server.made_up_time import TIMES, Instance, Service
from tests.server.matching_world import Desk, Place, Stream, World

MAX_OTHERS = 2
PEERS = [PeerId(letter * 32) for letter in (b"a", b"b", b"c", b"d")]
PREFIX = b"{punchwire}:"

NUMBERS = st.integers(0, 2**16)
BOOLEANS = st.booleans()
PEER = st.sampled_from(PEERS)
FAULTS = st.sampled_from(
    [
        "nothing",
        "an instance dies",
        "an instance closes",
        "connections",
        "Redis",
        "all that Redis has",
        "its last words",
        "what one should read",
    ]
)
DOING = st.tuples(st.sampled_from(["advertise"] * 6 + ["withdraw", "withdraw", "leave", "signal", "go"]), NUMBERS, PEER)
DOINGS = st.lists(DOING, min_size=1, max_size=6)
LATE = st.sampled_from(["the first is frozen", "the second reads late", "the first reads late, the second is frozen"])
MEANWHILE = st.sampled_from(["nothing", "nothing", "advertise", "withdraw", "leave", "signal"])
TIMES_THAT_PASS = st.sampled_from([0.5, 1.9, 2.1, 4.0, 9.0, 11.0])  # s; around what is late, and what is dead


class StoreModel(RuleBasedStateMachine):
    """What peers do. A store in memory has no more to it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.desks: list[Desk] = []
        self.by_id: dict[StreamId, Stream] = {}
        self.faults: list[AssertionError] = []

    # What differs.

    def places(self) -> list[Place]:
        """Where a peer may open a stream."""
        raise NotImplementedError

    def store_of(self, place: Place) -> Store:
        raise NotImplementedError

    def run(self, doing: Any) -> Any:
        raise NotImplementedError

    def waiting_offer(self, stream: Stream, wanted: PeerId) -> bytes | None:
        """The offer that the store has of a stream's peer for `wanted`, and with which it may be matched."""
        raise NotImplementedError

    def settle(self) -> None:
        """Let everything that can happen by now happen."""

    # What peers do.

    @initialize(numbers=st.lists(NUMBERS, min_size=len(PEERS), max_size=len(PEERS)))
    def all_come(self, numbers: list[int]) -> None:
        for peer, number in zip(PEERS, numbers, strict=True):
            self.come(peer, number)

    @rule(peer=PEER, number=NUMBERS)
    def come(self, peer: PeerId, number: int) -> None:
        places = self.places()
        if places:
            self.run(self._come(peer, places[number % len(places)]))
            self.settle()

    async def _come(self, peer: PeerId, place: Place) -> None:
        stream = Stream(StreamId(f"stream {self.world.number()}"), peer, place)
        self.world.streams.append(stream)
        self.by_id[stream.id] = stream
        try:
            await self.store_of(place).claim(stream.id, peer, None, 0.0)
        except StoreUnavailable:
            await self._go(stream)

    def usable(self) -> list[Stream]:
        places = self.places()
        return [stream for stream in self.world.here() if any(stream.place is place for place in places)]

    @rule(doings=DOINGS)
    def some_do_something(self, doings: list[tuple[str, int, PeerId]]) -> None:
        for doing, number, other in doings:
            streams = self.usable()
            if streams and streams[number % len(streams)].peer != other:
                self.run(self._do(streams[number % len(streams)], doing, other))
                self.settle()

    @rule(one=NUMBERS, other=NUMBERS)
    def two_want_each_other(self, one: int, other: int) -> None:
        streams = self.usable()
        if (
            len(streams) > 1
            and (first := streams[one % len(streams)]).peer != (second := streams[other % len(streams)]).peer
        ):
            self.run(self._do(first, "advertise", second.peer))
            self.settle()
            if not second.is_over:
                self.run(self._do(second, "advertise", first.peer))
                self.settle()

    @rule(doings=DOINGS)
    def many_at_once(self, doings: list[tuple[str, int, PeerId]]) -> None:
        streams = self.usable()
        if not streams:
            return
        chosen = {streams[number % len(streams)]: (doing, other) for doing, number, other in doings}

        async def all_of_them() -> None:
            await asyncio.gather(
                *(
                    self._do(stream, doing, other, is_alone=False)
                    for stream, (doing, other) in chosen.items()
                    if stream.peer != other
                )
            )

        self.run(all_of_them())
        self.settle()

    async def _do(self, stream: Stream, doing: str, other: PeerId, *, is_alone: bool = True) -> None:
        if stream.is_over:
            return
        store = self.store_of(stream.place)
        try:
            if not is_alone:
                stream.unsure.add(other)
            match doing:
                case "advertise":
                    await self._advertise(store, stream, other, is_alone)
                case "withdraw":
                    if is_alone:
                        self._no_more(stream, other)
                    await store.withdraw(stream.id, other)
                case "leave":
                    if is_alone:
                        self._no_more(stream, other)
                    stream.leave(other)
                    await store.leave(stream.id, other)
                case "signal":
                    await store.signal(stream.id, other, b"body")
                case "go":
                    await self._go(stream)
        except NotMatched:
            assert not is_alone or other not in stream.introduced
        except TooManyOthers:
            pass
        except StoreUnavailable:
            await self._go(stream)

    async def _advertise(self, store: Store, stream: Stream, other: PeerId, is_alone: bool) -> None:
        offer = b"offer %d" % self.world.number()
        before = self.waiting_offer(stream, other) if is_alone else None
        number: int | None = self.world.number() if is_alone else None
        if before is not None:
            number = self.world.offered[sha256(before)][2]  # wanting once more keeps the place
        if is_alone:
            self._no_more(stream, other)
        stream.offers[sha256(offer)] = other
        self.world.offered[sha256(offer)] = stream.peer, other, number
        self.world.made[sha256(offer)] = stream
        try:
            await store.advertise(stream.id, other, offer)
        except TooManyOthers:
            stream.offers.pop(sha256(offer))
            raise

    def _no_more(self, stream: Stream, other: PeerId) -> None:
        """An offer that is in no match yet is never to be in one; one that is does not wait again after it."""
        if (before := self.waiting_offer(stream, other)) is not None:
            del stream.offers[sha256(before)]
        stream.withdrawn |= {offer for offer, wanted in stream.offers.items() if wanted == other}

    async def _go(self, stream: Stream) -> None:
        stream.is_over = True
        await self.store_of(stream.place).forget(stream.id)

    def delivered(self, stream: StreamId, event: Event) -> None:
        """Called by the store, which takes what is raised here for a fault of its own."""
        try:
            self.by_id[stream].took(event)
            if isinstance(event, Matched):
                self.world.told(event, self.now())
                self.check_matched(event)
        except AssertionError as error:
            self.faults.append(error)

    def check_matched(self, event: Matched) -> None:
        """Check what only some stores can do wrong."""

    @invariant()
    def everything_that_came_was_right(self) -> None:
        for fault in self.faults:
            raise fault

    def now(self) -> float:
        return 0.0

    # What holds.

    def nobody_waits_in_vain(self) -> None:
        here = self.world.here()
        for stream in here:
            for other in here:
                assert not (self.waiting_offer(stream, other.peer) and self.waiting_offer(other, stream.peer))

    def check(self) -> None:
        self.everything_that_came_was_right()
        self.world.check()
        having: dict[RelayTicket, PeerId] = {}
        for stream in self.world.streams:
            for event in stream.matches.values():
                assert event.relay is not None
                assert event.relay not in having
                having[event.relay] = stream.peer
        for desk in self.desks:
            for tickets, peers in desk.admitted.items():
                assert all(having.get(ticket, peer) == peer for ticket, peer in zip(tickets, peers, strict=True))


class MemoryModel(StoreModel):
    """One mediator that is alone."""

    class _Here:
        is_dead = False

    def __init__(self) -> None:
        super().__init__()
        self.desks = [Desk(0)]
        self.store = MemoryStore(self.delivered, MAX_OTHERS, self.desks[0])
        self.place = self._Here()

    def places(self) -> list[Place]:
        return [self.place]

    def store_of(self, place: Place) -> Store:
        return self.store

    def run(self, doing: Any) -> Any:
        return asyncio.run(doing)

    def waiting_offer(self, stream: Stream, wanted: PeerId) -> bytes | None:
        return self.store._table._by_stream[stream.id].wanted.get(wanted)

    @invariant()
    def it_holds(self) -> None:
        self.check()
        self.nobody_waits_in_vain()
        here = self.world.here()
        for stream in here:
            for other in PEERS:
                stream.check_waiting(other, self.waiting_offer(stream, other))
        assert len(self.store._table) == len(here)


TestMemory = MemoryModel.TestCase
TestMemory.settings = model_settings(max_examples=100, steps=50)


class RedisModel(StoreModel):
    """Instances that share a Redis, and what may happen to them."""

    def __init__(self, server: RedisServer) -> None:
        super().__init__()
        self.service = Service(server, MAX_OTHERS)
        self.is_redis_here = True
        for _ in range(3):
            self.one_more()

    def one_more(self) -> None:
        self.desks.append(Desk(len(self.desks)))
        self.service.add(self.desks[-1], self.delivered)

    def alive(self) -> list[Instance]:
        return [instance for instance in self.service.instances if not instance.is_dead]

    def places(self) -> list[Place]:
        return [instance for instance in self.alive() if not instance.is_frozen]

    def store_of(self, place: Place) -> Store:
        assert isinstance(place, Instance)
        return place.store

    def run(self, doing: Any) -> Any:
        return self.service.run(doing)

    def settle(self) -> None:
        self.service.settle()

    def now(self) -> float:
        return self.service.loop.now

    def check_matched(self, event: Matched) -> None:
        """The other side's instance was there when it asked for the match, or acknowledged it."""
        other = self.world.made[sha256(event.offer)].place
        assert isinstance(other, Instance)
        assert self.now() - other.frozen_at <= 2 * TIMES.fresh, "matched with one that is not there"

    def waiting_offer(self, stream: Stream, wanted: PeerId) -> bytes | None:
        if not self.is_redis_here:
            return None
        key = PREFIX + b"peer:" + stream.peer
        if self.service.redis.hget(key, "stream") != stream.id.encode():
            return None
        value = self.service.redis.hget(key, b"w" + wanted)
        assert value is None or isinstance(value, bytes)
        return None if value is None else value.partition(b"|")[2]

    # What happens to instances, and to Redis.

    def one(self, number: int) -> Instance | None:
        alive = self.alive()
        return alive[number % len(alive)] if alive else None

    @rule(number=NUMBERS)
    def one_reads_late(self, number: int) -> None:
        if (instance := self.one(number)) is not None:
            instance.may_read.clear()

    def two_apart(self, number: int) -> tuple[Stream, Stream] | None:
        """Return streams of two peers at two instances; if there are none, two come, unless Redis is away."""
        for _ in range(2):
            streams = self.usable()
            pairs = [(one, other) for one in streams for other in streams if one.peer != other.peer]
            apart = [(one, other) for one, other in pairs if one.place is not other.place]
            if apart:
                return apart[number % len(apart)]
            self.all_read_and_run()
            while self.is_redis_here and len(self.places()) < 2:
                self.one_more()
            for place, peer in enumerate((number, number + 1)):
                self.come(PEERS[peer % len(PEERS)], place)
        return None

    @rule(
        number=NUMBERS,
        meanwhile=st.tuples(MEANWHILE, MEANWHILE),
        seconds=TIMES_THAT_PASS,
        late=LATE,
        again=BOOLEANS,
    )
    def one_of_two_is_late(
        self, number: int, meanwhile: tuple[str, str], seconds: float, late: str, again: bool
    ) -> None:
        """One of two instances does not answer the other, or not before that is gone, or reads late of the match.

        `again` if they were matched before; `meanwhile` each does something about the other.
        """
        if (two := self.two_apart(number)) is None:
            return
        first, second = two
        assert isinstance(first.place, Instance)
        assert isinstance(second.place, Instance)
        both = (first, second.peer), (second, first.peer)
        for stream, peer in both if again else ():
            self.run(self._do(stream, "advertise", peer))
            self.settle()
        self.run(self._do(first, "advertise", second.peer))
        self.settle()
        match late:
            case "the first is frozen":
                self.service.freeze(first.place)
            case "the second reads late":
                second.place.may_read.clear()
            case _:
                first.place.may_read.clear()
        before = second.matched.get(first.peer)
        if not second.is_over:
            self.run(self._do(second, "advertise", first.peer))
        self.settle()
        if late != "the second reads late":
            assert second.matched.get(first.peer) in (before, None), "matched with one that does not answer"
        for doing, (stream, peer) in zip(meanwhile, both, strict=True):
            if stream in self.usable():
                self.run(self._do(stream, doing, peer))
                self.settle()
        if late == "the first reads late, the second is frozen":
            self.service.freeze(second.place)
        self.service.pass_time(seconds)
        first.place.may_read.set()
        self.settle()
        self.all_read_and_run()
        if seconds > TIMES.beat:
            self.check_two(first, second)
        for stream, peer in both:
            if not stream.is_over:
                self.run(self._do(stream, "signal", peer))
        self.settle()

    def check_two(self, first: Stream, second: Stream) -> None:
        """Check what is known of two that are here, if what is gone was found to be."""
        if first in self.usable() and second in self.usable() and self.all_is_known():
            assert first.open_matches.get(second.peer) == second.open_matches.get(first.peer), "over for one side only"
            for stream, other in (first, second), (second, first):
                stream.check_waiting(other.peer, self.waiting_offer(stream, other.peer))

    @rule(number=NUMBERS)
    def one_is_frozen(self, number: int) -> None:
        if (instance := self.one(number)) is not None:
            self.service.freeze(instance)

    @rule()
    def all_read_and_run(self) -> None:
        for instance in self.alive():
            instance.thaw()
            instance.may_read.set()
        self.settle()
        if self.all_is_known():
            self.nobody_waits_in_vain()

    def all_is_known(self) -> bool:
        return self.is_redis_here and all(instance.is_up and not instance.store._owed for instance in self.alive())

    @rule(what=FAULTS, number=NUMBERS)
    def something_breaks(self, what: str, number: int) -> None:
        """If Redis is away, it comes back, and may have what it had saved."""
        if not self.is_redis_here:
            self.service.bring_redis_back(saved=number % 3 > 0)
            self.is_redis_here = True
            return
        instance = self.one(number)
        match what:
            case "an instance dies" if instance is not None:
                self.service.die(instance)
                self.end_streams_at(instance)
            case "an instance closes" if instance is not None and not instance.is_frozen:
                self.service.close_one(instance)
                self.end_streams_at(instance)
            case "connections":
                self.service.break_connections()
            case "Redis":
                self.service.lose_redis()
                self.is_redis_here = False
            case "all that Redis has":
                self.service.empty_redis()
            case "what one should read" if instance is not None and instance.is_up:
                self.service.redis.delete(PREFIX + b"events:" + instance.store._membership.name.encode())
            case "its last words":
                self.redis_starts_again(number)

    def redis_starts_again(self, number: int) -> None:
        """With what it had a moment before, so it does not know that two were matched, of which one leaves."""
        if (two := self.two_apart(number)) is None:
            return
        first, second = two
        self.service.pass_time(0.1)
        for stream, peer in (first, second.peer), (second, first.peer):
            self.run(self._do(stream, "advertise", peer))
            self.settle()
        self.service.lose_redis()
        self.service.bring_redis_back(saved=True)
        self.service.pass_time(TIMES.beat)
        self.run(self._do(first, "leave", second.peer))
        self.all_read_and_run()
        self.check_two(first, second)

    def end_streams_at(self, instance: Instance) -> None:
        for stream in self.world.streams:
            if stream.place is instance:
                stream.is_over = True

    @rule()
    def one_joins(self) -> None:
        if len(self.alive()) < 3:
            self.one_more()

    @rule(seconds=TIMES_THAT_PASS)
    def time_passes(self, seconds: float) -> None:
        self.service.pass_time(seconds)

    # What holds.

    @invariant()
    def every_key_expires(self) -> None:
        if self.is_redis_here:
            redis, kept = self.service.redis, TIMES.kept * 1000
            assert [key for key in redis.scan_iter(PREFIX + b"*") if not 0 < redis.pttl(key) <= kept] == []

    def everybody_comes_to_know(self) -> None:
        """Nothing goes wrong for a while: long enough for what is dead to be found and swept."""
        if not self.is_redis_here:
            self.something_breaks("nothing", 0)
        self.all_read_and_run()
        self.service.pass_time(TIMES.dead_after + 2 * TIMES.beat + TIMES.last_retry)
        self.check()
        assert all(instance.is_up for instance in self.alive())
        self.nobody_waits_in_vain()
        here = {stream.peer for stream in self.world.here()}
        for stream in self.world.here():
            for other in PEERS:
                stream.check_waiting(other, self.waiting_offer(stream, other))
        if self.alive():
            prefix = PREFIX + b"peer:"
            assert {key.removeprefix(prefix) for key in self.service.redis.scan_iter(prefix + b"*")} == {*here}

    def teardown(self) -> None:
        try:
            self.everybody_comes_to_know()
            for stream in self.world.here():
                self.run(self._go(stream))
            self.settle()
            if self.alive():
                assert not list(self.service.redis.scan_iter(PREFIX + b"peer:*"))
            for instance in self.alive():
                self.service.die(instance)
            self.service.pass_time(TIMES.kept)
            assert not list(self.service.redis.scan_iter(PREFIX + b"*"))
        finally:
            self.service.close()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    redis_server.needed()
    with RedisServer() as running:
        yield running


def test_redis(server: RedisServer) -> None:
    model: Any = partial(RedisModel, server)
    run_state_machine_as_test(model, settings=model_settings(max_examples=40, steps=25))
