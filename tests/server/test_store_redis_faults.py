"""What happens to peers when an instance, Redis, or the way between them fails; and what is left behind: nothing."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import pytest
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_server.stores.base import (
    Displaced,
    Left,
    Lost,
    StoreUnavailable,
)

from tests.server.client import until
from tests.server.logged import events
from tests.server.redis_instances import QUICK, Gate, Instances, P, meet, pair
from tests.server.store_contract import A, B, C


class TestInstances:
    async def test_the_peers_of_one_that_died_have_left(self, instances: Instances) -> None:
        await instances.add()
        second = await instances.add()
        a, b = await pair(instances)
        await instances.crash(second)
        assert await a.next() == Left(B)
        await a.signal(B, b"dropped")
        with suppress(StoreUnavailable):
            await b.forget()

    async def test_nobody_is_matched_with_the_peers_of_one_that_died(self, instances: Instances) -> None:
        first = await instances.add()
        second = await instances.add(replace(QUICK, beat=60.0))
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await until(lambda: first._membership._beaten)
        await instances.crash(second)
        await a.advertise(B)
        await until(lambda: not instances.redis.exists(P + b"peer:" + B))
        assert instances.wants(A, B)
        third = await instances.add()
        assert third.is_available
        b = await instances.world.there(B)
        await b.advertise(A)
        assert (await a.matched()).role is Role.INITIATOR

    async def test_one_that_was_given_up_loses_its_streams_and_begins_anew(self, instances: Instances) -> None:
        first = await instances.add(replace(QUICK, beat=60.0))  # until it is made to beat
        second = await instances.add()
        a, b = await pair(instances)
        instances.age(first)
        assert await b.next() == Left(A)
        with pytest.raises(StoreUnavailable):
            await instances.world.here(C)
        identity = first._membership._identity
        assert identity is not None
        assert not await first._membership._beat_once(identity)
        instances.redis.client_kill_filter(_type="normal", skipme=True)
        assert await a.next() == Lost()
        await until(lambda: first.is_available and second.is_available)
        a = await instances.world.here(A)
        await b.advertise(A)
        await a.advertise(B)
        assert (await a.matched()).role is Role.RESPONDER

    async def test_one_that_closes_leaves_at_once(self, instances: Instances) -> None:
        await instances.add()
        second = await instances.add()
        a, _ = await pair(instances)
        await second.close()
        assert await a.next() == Left(B)

    async def test_a_dead_one_with_many_streams_is_swept_whole(self, instances: Instances) -> None:
        second = await instances.add()
        peers = [PeerId(bytes([number]) * 32) for number in range(250)]
        await asyncio.gather(*(instances.world.here(peer) for peer in peers))
        await instances.add()
        await instances.crash(second)
        await until(lambda: not list(instances.redis.scan_iter(match=P + b"peer:*")))

    async def test_a_stream_that_only_redis_knows_is_forgotten_when_it_is_met(self, instances: Instances) -> None:
        """Redis was told to forget it, on another connection, before it was told of it."""
        first = await instances.add()
        await instances.add()
        ghost, b = await instances.world.here(A), await instances.world.there(B)
        await ghost.advertise(B)
        first._own.clear()
        await b.advertise(A)
        await until(lambda: not instances.redis.exists(P + b"peer:" + A))
        await instances.settled()
        assert instances.wants(B, A)

    @pytest.mark.parametrize(
        "values",
        [
            {"kind": "matched"},
            {"kind": "matched", "of": A, "peer": B, "role": "r", "rtt": 0, "own": "", "offer": "", "observed": ""},
            {"kind": "signal", "body": B},
        ],
    )
    async def test_what_cannot_be_read_costs_its_stream_only(
        self, instances: Instances, values: dict[str | bytes, bytes | float | str], caplog: pytest.LogCaptureFixture
    ) -> None:
        store = await instances.add()
        a, b, c = [await instances.world.here(peer) for peer in (A, B, C)]
        key = P + b"events:" + store._membership.name.encode()
        instances.redis.xadd(key, {"stream": a.id, **values})
        instances.redis.xadd(key, values)
        assert await a.next() == Lost()
        await meet(b, c)
        assert store.is_available
        await until(lambda: not instances.redis.exists(P + b"peer:" + A))
        told = events(caplog, "store-unreadable")
        assert [record.levelname for record in caplog.records] == ["ERROR"] * len(told) == ["ERROR"] * 2
        assert "BBBB" not in caplog.text + str(told)

    async def test_what_a_newer_version_tells_is_passed_over(self, instances: Instances) -> None:
        store = await instances.add()
        a, b = await instances.world.here(A), await instances.world.here(B)
        key = P + b"events:" + store._membership.name.encode()
        instances.redis.xadd(key, {"kind": "news", "stream": a.id, "more": "x"})
        await meet(a, b)


class TestRedisGone:
    async def test_a_connection_that_breaks_loses_nothing(self, instances: Instances) -> None:
        stores = [await instances.add(), await instances.add()]
        a, b = await instances.world.here(A), await instances.world.there(B)
        await a.advertise(B)
        instances.redis.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: not any(store.is_available for store in stores))
        await until(lambda: all(store.is_available for store in stores))
        await b.advertise(A)
        assert (await a.matched()).role is Role.INITIATOR
        assert (await b.matched()).role is Role.RESPONDER

    async def test_what_is_to_be_forgotten_meanwhile_is_when_it_is_back(self, instances: Instances) -> None:
        store = await instances.add()
        a = await instances.world.here(A)
        instances.redis.client_kill_filter(_type="normal", skipme=True)
        await until(lambda: not store.is_available)
        await a.forget()
        assert store._owed
        await until(lambda: not instances.redis.exists(P + b"peer:" + A))

    async def test_operations_fail_at_once_while_it_is_away_and_all_works_again_with_new_streams(
        self, mortal_instances: Instances, caplog: pytest.LogCaptureFixture
    ) -> None:
        stores = [await mortal_instances.add(), await mortal_instances.add()]
        a, b = await pair(mortal_instances)
        mortal_instances.server.kill()
        with pytest.raises(StoreUnavailable):
            await a.advertise(B)
        await until(lambda: not any(store.is_available for store in stores))
        for failing in (a.leave(B), a.signal(B, b"x"), a.withdraw(B), mortal_instances.world.here(C)):
            with pytest.raises(StoreUnavailable):
                await failing
        await a.store.measured(a.id, 1.0)
        mortal_instances.server.start()
        assert await a.next() == Lost()  # it began empty
        assert await b.next() == Lost()
        await until(lambda: all(store.is_available for store in stores))
        await pair(mortal_instances)
        told = [record.__dict__.get("event") for record in caplog.records]
        assert told.count("store-back") == 2
        assert set(told) == {"store-back", "store-lost"}

    async def test_away_for_long_all_streams_are_lost(self, mortal_instances: Instances) -> None:
        store = await mortal_instances.add(replace(QUICK, dead_after=1.0))
        a = await mortal_instances.world.here(A)
        mortal_instances.server.kill()
        assert await a.next() == Lost()
        assert not store.is_available
        mortal_instances.server.start()
        await until(lambda: store.is_available)
        await mortal_instances.world.here(A)

    async def test_frozen_it_is_given_up_after_the_timeout_and_nothing_is_lost(
        self, mortal_instances: Instances
    ) -> None:
        store = await mortal_instances.add(replace(QUICK, answer=1.0))
        a = await mortal_instances.world.here(A)
        await a.advertise(B)
        mortal_instances.server.freeze()
        try:
            with pytest.raises(StoreUnavailable):
                await mortal_instances.world.here(C)
            await until(lambda: not store.is_available)
        finally:
            mortal_instances.server.thaw()
        await until(lambda: store.is_available)
        b = await mortal_instances.world.here(B)
        await b.advertise(A)
        assert (await a.matched()).role is Role.INITIATOR

    async def test_emptied_all_streams_are_lost(self, instances: Instances) -> None:
        stores = [await instances.add(), await instances.add()]
        a, b = await pair(instances)
        instances.redis.flushall()
        assert await a.next() == Lost()
        assert await b.next() == Lost()
        await until(lambda: all(store.is_available for store in stores))
        await pair(instances)

    async def test_a_stream_that_it_lost_alone_is_lost(self, instances: Instances) -> None:
        await instances.add(replace(QUICK, kept=0.2 * 4))
        a = await instances.world.here(A)
        instances.redis.delete(P + b"peer:" + A)
        assert await a.next() == Lost()

    @pytest.mark.parametrize("doing", ["advertise", "withdraw", "leave", "signal", "measured"])
    async def test_one_that_it_lost_alone_is_lost_with_what_its_peer_does_next(
        self, instances: Instances, doing: str
    ) -> None:
        store = await instances.add(replace(QUICK, beat=60.0))
        a = await instances.world.here(A)
        instances.redis.delete(P + b"peer:" + A)
        more = {"advertise": (B, b"offer"), "signal": (B, b"x"), "measured": (1.0,)}.get(doing, (B,))
        await getattr(store, doing)(a.id, *more)
        assert await a.next() == Lost()
        a = await instances.world.here(A)
        await meet(a, await instances.world.here(B))

    async def test_one_that_was_displaced_is_not_lost_besides(self, instances: Instances) -> None:
        gate = Gate()
        await instances.add(gate=gate)
        await instances.add()
        older = await instances.world.here(A)
        await instances.world.there(A)
        await gate.holds()
        await older.advertise(B)
        gate.open()
        assert await older.next() == Displaced()
        await instances.settled()
        assert older.arrivals._queues[older.id].empty()

    async def test_scripts_that_it_does_not_know_any_more_are_loaded_again(self, instances: Instances) -> None:
        await instances.add()
        await instances.add()
        a, b = await instances.world.here(A), await instances.world.there(B)
        for _ in range(2):
            instances.redis.script_flush()
            await meet(a, b)

    async def test_an_operation_that_it_refuses_fails_alone(self, mortal_instances: Instances) -> None:
        store = await mortal_instances.add(replace(QUICK, beat=60.0))
        a = await mortal_instances.world.here(A)
        mortal_instances.redis.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await a.advertise(B)
        mortal_instances.redis.config_set("maxmemory", "0")
        assert store.is_available
        await a.advertise(B)


class TestWhatIsKept:
    async def test_every_key_expires(self, instances: Instances) -> None:
        await instances.add()
        await instances.add()
        a, b = await pair(instances)
        await a.advertise(B)
        await a.advertise(C)
        await b.signal(A, b"x")
        keys = list(instances.redis.scan_iter())
        assert len(keys) == len((A, B)) + 2 * len(("events", "peers")) + len(("instances", "order"))
        kept = QUICK.kept * 1000
        assert [key for key in keys if not 0 < instances.redis.pttl(key) <= kept] == []

    async def test_it_is_refreshed_while_the_instance_is_there(self, instances: Instances) -> None:
        await instances.add(replace(QUICK, kept=60.0, beat=0.02))
        await instances.world.here(A)
        keys = list(instances.redis.scan_iter())
        for key in keys:
            instances.redis.pexpire(key, 30_000)
        await until(lambda: all(instances.redis.pttl(key) > 30_000 for key in keys if not key.endswith(b"order")))

    async def test_a_round_takes_no_longer_when_most_streams_have_ended(self, instances: Instances) -> None:
        beats = 10  # in a round
        store = await instances.add(replace(QUICK, beat=60.0, kept=60.0 * beats * 4))
        streams = [await instances.world.here(PeerId(bytes([number]) * 32)) for number in range(100)]
        identity = store._membership._identity
        assert identity is not None
        assert await store._membership._beat_once(identity)
        assert len(store._round) == len(streams) * (beats - 1) / beats
        for stream in streams[:-3]:
            await stream.forget()
        kept = [P + b"peer:" + stream.peer for stream in streams[-3:]]
        for key in kept:
            instances.redis.pexpire(key, 30_000)
        for _ in range(beats - 1):
            assert await store._membership._beat_once(identity)
        assert [key for key in kept if instances.redis.pttl(key) <= 30_000] == []

    async def test_events_that_were_read_are_dropped(self, instances: Instances) -> None:
        store = await instances.add()
        await pair(instances)
        key = P + b"events:" + store._membership.name.encode()
        await until(lambda: instances.redis.xlen(key) <= 1)

    @pytest.mark.parametrize(
        ("known", "same", "new"),
        [
            (0.01, (0.0051, 0.0149), 0.0151),  # 5 ms, on a short way
            (0.1, (0.081, 0.119), 0.121),  # a fifth of it, on a long one
            (0.1, (), 0.079),
        ],
    )
    async def test_a_measured_round_trip_that_is_much_the_same_costs_nothing(
        self, known: float, same: tuple[float, ...], new: float, instances: Instances
    ) -> None:
        await instances.add()
        a = await instances.world.here(A, round_trip=known)
        for round_trip in same:
            await a.store.measured(a.id, round_trip)
            assert instances.redis.hget(P + b"peer:" + A, "rtt") == f"{known:.6f}".encode()
        await a.store.measured(a.id, new)
        assert instances.redis.hget(P + b"peer:" + A, "rtt") == f"{new:.6f}".encode()
