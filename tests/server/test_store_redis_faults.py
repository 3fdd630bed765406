"""What happens to peers when an instance, Redis, or the way between them fails; and what is left behind: nothing.

Time is made to pass by what is written in Redis, or by how long an instance is told to wait, never by waiting for it.
"""

import asyncio
import functools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis as client
from p2p_core.errors import UsageError
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_server import tls
from p2p_server.stores.base import (
    Event,
    Left,
    Lost,
    NotMatched,
    RelayTicket,
    Signalled,
    StoreUnavailable,
    StreamId,
    TooManyOthers,
)
from p2p_server.stores.memory import MemoryStore
from p2p_server.stores.redis import RedisStore
from p2p_server.stores.redis_events import Entry
from p2p_server.stores.redis_link import Link
from p2p_server.stores.redis_membership import Times

from tests import redis_server
from tests.redis_server import RedisServer
from tests.server.client import PATIENCE, sha256, until
from tests.server.store_contract import MAX_OTHERS, A, Arrivals, B, C, Stream, World

QUICK = Times(beat=0.05, first_retry=0.02, last_retry=0.1)
P = b"{punchwire}:"


@pytest.fixture(scope="module")
def shared() -> Iterator[RedisServer]:
    redis_server.needed()
    with RedisServer() as server:
        yield server


@pytest.fixture
def own() -> Iterator[RedisServer]:
    """One that may be killed."""
    redis_server.needed()
    with RedisServer() as server:
        yield server


class Instances:
    """Stores on one Redis, and a look into it."""

    def __init__(self, server: RedisServer) -> None:
        self.server = server
        self.redis = client.Redis.from_url(server.url)
        self.stores: list[RedisStore] = []
        self.world = World([])

    async def add(self, times: Times = QUICK, gate: "Gate | None" = None, **more: object) -> RedisStore:
        arrivals = Arrivals()
        store = RedisStore(self.server.url, arrivals.deliver, MAX_OTHERS, times=times, **more)
        if gate is not None:
            link = store._membership._link
            link.read = functools.partial(gate.read, link)
        await store.start()
        self.stores.append(store)
        self.world.stores.append((store, arrivals))
        return store

    async def close(self) -> None:
        for store in self.stores:
            await store.close()
        self.redis.close()

    def wants(self, peer: PeerId, other: PeerId) -> bool:
        return bool(self.redis.hexists(P + b"peer:" + peer, b"w" + other))

    async def settled(self) -> None:
        """Wait until every instance has taken all its events, and done what follows from them."""
        await until(lambda: not any(store._tasks for store in self.stores) and all(map(self._is_read, self.stores)))

    def _is_read(self, store: RedisStore) -> bool:
        identity = store._membership._identity
        assert identity is not None
        info = self.redis.xinfo_stream(P + b"events:" + identity.name.encode())
        return bool(info["last-generated-id"] == identity.read)

    async def crash(self, store: RedisStore) -> None:
        """Let it die as by SIGKILL, more than `dead_after` ago."""
        running = store._membership._running
        assert running is not None
        store._membership._is_leaving = True
        running.cancel()
        await asyncio.wait((running,))
        self.stores.remove(store)
        self.age(store)

    def age(self, store: RedisStore) -> None:
        name = store._membership.name
        beat = self.redis.zscore(P + b"instances", name)
        assert beat is not None
        self.redis.zadd(P + b"instances", {name: beat - QUICK.dead_after * 1000 - 5000})


@pytest.fixture
async def instances(shared: RedisServer) -> AsyncIterator[Instances]:
    made = Instances(shared)
    yield made
    await made.close()
    assert not [key for key in client.Redis.from_url(shared.url).scan_iter() if not key.endswith(b"order")]


@pytest.fixture
async def mortal(own: RedisServer) -> AsyncIterator[Instances]:
    """On a Redis that may be killed."""
    made = Instances(own)
    yield made
    await made.close()


class Gate:
    """Holds back the next events of an instance, until it is opened."""

    def __init__(self, age: float = 0.0) -> None:
        """`age`: s that they seem to be older than they are."""
        self.held = asyncio.Event()
        self._age = age
        self._open = asyncio.Event()

    async def read(self, link: Link, key: bytes, after: bytes) -> list[Entry]:
        entries = await Link.read(link, key, after)
        if not entries or self.held.is_set():
            return entries
        self.held.set()
        await self._open.wait()
        return [replace(entry, at=entry.at - round(self._age * 1000)) for entry in entries]

    async def holds(self) -> None:
        await asyncio.wait_for(self.held.wait(), PATIENCE)

    def open(self) -> None:
        self._open.set()


async def pair(instances: Instances) -> tuple[Stream, Stream]:
    a, b = await instances.world.here(A), await instances.world.there(B)
    await meet(a, b)
    return a, b


async def meet(a: Stream, b: Stream) -> None:
    await a.advertise(b.peer)
    await b.advertise(a.peer)
    assert (await a.matched()).role is Role.INITIATOR
    assert (await b.matched()).role is Role.RESPONDER


class TestProposals:
    async def test_nobody_is_told_before_the_other_instance_has_acknowledged(self, instances: Instances) -> None:
        await instances.add()
        gate = Gate()
        await instances.add(gate=gate)
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B)
        await gate.holds()
        assert instances.wants(A, B)
        assert instances.wants(B, A)
        gate.open()
        assert (await b.matched()).role is Role.INITIATOR
        assert (await a.matched()).role is Role.RESPONDER

    async def test_what_is_withdrawn_meanwhile_is_not_matched(self, instances: Instances) -> None:
        await instances.add()
        gate = Gate()
        await instances.add(gate=gate)
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B, b"withdrawn")
        await gate.holds()
        await a.withdraw(B)
        gate.open()
        await instances.settled()
        await a.advertise(B, b"anew")
        assert (await b.matched()).offer == b"anew"

    async def test_one_that_was_acknowledged_too_late_is_made_anew_by_the_other_side(
        self, instances: Instances, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await instances.add()
        slow = await instances.add(replace(QUICK, fresh=-1.0))  # every proposal it reads is too old
        monkeypatch.setattr(slow._membership, "_times", QUICK)  # but its peers are told of their matches
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B)
        assert (await b.matched()).role is Role.INITIATOR
        assert (await a.matched()).role is Role.RESPONDER

    async def test_one_that_could_not_be_acknowledged_is_when_redis_is_back(
        self, instances: Instances, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await instances.add()
        second = await instances.add()
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        ask = second._membership.ask
        asked = asyncio.Event()

        async def fail(script: object, *arguments: object) -> None:
            asked.set()
            raise StoreUnavailable

        monkeypatch.setattr(second._membership, "ask", fail)
        await a.advertise(B)
        await asyncio.wait_for(asked.wait(), PATIENCE)
        monkeypatch.setattr(second._membership, "ask", ask)
        await a.matched()
        await b.matched()

    async def test_the_instance_that_makes_the_match_gives_both_their_tickets(self, instances: Instances) -> None:
        first, second = Desk(b"first"), Desk(b"second")
        await instances.add(tickets=first)
        await instances.add(tickets=second)
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B)
        tickets = (await b.matched()).relay, (await a.matched()).relay
        await until(lambda: second.admitted)
        assert second.admitted == [(B, A, tickets)]
        assert first.admitted == []


class Desk:
    def __init__(self, name: bytes) -> None:
        self._name = name
        self._drawn = 0
        self.admitted: list[tuple[PeerId, PeerId, tuple[RelayTicket, RelayTicket]]] = []

    def draw(self) -> tuple[RelayTicket, RelayTicket]:
        self._drawn += 1
        name = self._name + bytes([0, self._drawn])
        return RelayTicket(name + b"1", "relay.example", 54700), RelayTicket(name + b"2", "relay.example", 54700)

    def admit(self, peer: PeerId, other: PeerId, tickets: tuple[RelayTicket, RelayTicket]) -> None:
        self.admitted.append((peer, other, tickets))


class TestLateMatches:
    """A match that its instance reads too late: the other side was told, this one never is."""

    async def test_ends_and_this_side_waits_again_with_its_place(self, instances: Instances) -> None:
        a, b = await self._late(instances)
        assert await b.next() == Left(A)
        assert instances.wants(A, B)
        await b.advertise(A)
        again = await a.matched()
        assert (again.role, again.own_offer_hash) == (Role.INITIATOR, sha256(b"of a"))
        assert (await b.matched()).offer == b"of a"

    async def test_nothing_that_was_sent_in_it_arrives(self, instances: Instances) -> None:
        a, b = await self._late(instances, lambda _a, b: b.signal(A, b"in a match that a has not"))
        assert await b.next() == Left(A)
        await b.advertise(A)
        await a.matched()  # nothing before it
        await b.matched()
        await b.signal(A, b"in one that it has")
        assert await a.next() == Signalled(B, b"in one that it has")

    async def test_a_newer_offer_stays(self, instances: Instances) -> None:
        _, b = await self._late(instances, lambda a, _b: a.advertise(B, b"newer"))
        assert await b.next() == Left(A)
        await b.advertise(A)
        assert (await b.matched()).offer == b"newer"

    async def test_what_was_withdrawn_meanwhile_is_not_brought_back(self, instances: Instances) -> None:
        _, b = await self._late(instances, lambda a, _b: a.withdraw(B))
        assert await b.next() == Left(A)
        assert not instances.wants(A, B)

    async def test_if_the_other_has_come_back_already_it_is_made_anew(self, instances: Instances) -> None:
        a, b = await self._late(instances, lambda _a, b: b.advertise(A, b"anew"))
        assert await b.next() == Left(A)
        assert (await a.matched()).offer == b"anew"
        assert (await b.matched()).offer == b"of a"

    async def test_two_on_one_instance_are_matched_anew_at_once(self, instances: Instances) -> None:
        gate = Gate(age=10)
        await instances.add(gate=gate)
        a, b = await instances.world.here(A), await instances.world.here(B)
        await a.advertise(B)
        await b.advertise(A)
        await gate.holds()
        gate.open()
        assert (await a.matched()).role is Role.INITIATOR
        assert (await b.matched()).role is Role.RESPONDER
        await instances.settled()
        assert a.arrivals._queues[a.id].empty()
        assert b.arrivals._queues[b.id].empty()

    async def _late(
        self,
        instances: Instances,
        meanwhile: Callable[[Stream, Stream], Awaitable[None]] | None = None,
    ) -> tuple[Stream, Stream]:
        """Match the two, do something, and then let the instance of `a` read of the match, 10 s late."""
        gate = Gate(age=10)
        await instances.add(gate=gate)
        await instances.add()
        a, b = await instances.world.here(A), await instances.world.there(B)
        await b.advertise(A)
        await a.advertise(B, b"of a")
        await b.matched()
        await gate.holds()
        if meanwhile is not None:
            await meanwhile(a, b)
        gate.open()
        return a, b


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
        self, mortal: Instances, caplog: pytest.LogCaptureFixture
    ) -> None:
        stores = [await mortal.add(), await mortal.add()]
        a, b = await pair(mortal)
        mortal.server.kill()
        with pytest.raises(StoreUnavailable):
            await a.advertise(B)
        await until(lambda: not any(store.is_available for store in stores))
        for failing in (a.leave(B), a.signal(B, b"x"), a.withdraw(B), mortal.world.here(C)):
            with pytest.raises(StoreUnavailable):
                await failing
        await a.store.measured(a.id, 1.0)
        mortal.server.start()
        assert await a.next() == Lost()  # it began empty
        assert await b.next() == Lost()
        await until(lambda: all(store.is_available for store in stores))
        await pair(mortal)
        events = [record.__dict__.get("event") for record in caplog.records]
        assert sorted(events) == ["store-back"] * 2 + ["store-lost"] * 2

    async def test_away_for_long_all_streams_are_lost(self, mortal: Instances) -> None:
        store = await mortal.add(replace(QUICK, dead_after=1.0))
        a = await mortal.world.here(A)
        mortal.server.kill()
        assert await a.next() == Lost()
        assert not store.is_available
        mortal.server.start()
        await until(lambda: store.is_available)
        await mortal.world.here(A)

    async def test_frozen_it_is_given_up_after_the_timeout_and_nothing_is_lost(self, mortal: Instances) -> None:
        store = await mortal.add(replace(QUICK, answer=1.0))
        a = await mortal.world.here(A)
        await a.advertise(B)
        mortal.server.freeze()
        try:
            with pytest.raises(StoreUnavailable):
                await mortal.world.here(C)
            await until(lambda: not store.is_available)
        finally:
            mortal.server.thaw()
        await until(lambda: store.is_available)
        b = await mortal.world.here(B)
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

    async def test_scripts_that_it_does_not_know_any_more_are_loaded_again(self, instances: Instances) -> None:
        await instances.add()
        await instances.add()
        a, b = await instances.world.here(A), await instances.world.there(B)
        for _ in range(2):
            instances.redis.script_flush()
            await meet(a, b)

    async def test_an_operation_that_it_refuses_fails_alone(self, mortal: Instances) -> None:
        store = await mortal.add(replace(QUICK, beat=60.0))
        a = await mortal.world.here(A)
        mortal.redis.config_set("maxmemory", "1")
        with pytest.raises(StoreUnavailable):
            await a.advertise(B)
        mortal.redis.config_set("maxmemory", "0")
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

    async def test_events_that_were_read_are_dropped(self, instances: Instances) -> None:
        store = await instances.add()
        await pair(instances)
        key = P + b"events:" + store._membership.name.encode()
        await until(lambda: instances.redis.xlen(key) <= 1)

    async def test_a_measured_round_trip_that_is_much_the_same_costs_nothing(self, instances: Instances) -> None:
        await instances.add()
        a = await instances.world.here(A, round_trip=0.1)
        await a.store.measured(a.id, 0.104)
        assert instances.redis.hget(P + b"peer:" + A, "rtt") == b"0.100000"
        await a.store.measured(a.id, 0.106)
        assert instances.redis.hget(P + b"peer:" + A, "rtt") == b"0.106000"


class TestStarting:
    @pytest.mark.parametrize(
        "url",
        ["redis://:sec:ret@host:port/0", "http://:secret@127.0.0.1", "redis://127.0.0.1/0?socket_timeout=secret", ""],
    )
    def test_what_is_no_url_of_a_redis_is_refused_without_its_password(self, url: str) -> None:
        with pytest.raises(UsageError) as refused:
            RedisStore(url, Arrivals().deliver, MAX_OTHERS)
        assert "secret" not in str(refused.value)

    async def test_a_wrong_password_is_refused(self, own: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
        with RedisServer("--requirepass", "right") as server:
            for url in (server.url, server.url.replace("//", "//:secret@")):
                store = RedisStore(url, Arrivals().deliver, MAX_OTHERS)
                with pytest.raises(UsageError) as refused:
                    await store.start()
                assert "secret" not in str(refused.value) + caplog.text
                await store.close()
            store = RedisStore(server.url.replace("//", "//:right@"), Arrivals().deliver, MAX_OTHERS)
            await store.start()
            assert store.is_available
            await store.close()

    async def test_a_database_that_there_is_not_is_refused(self, shared: RedisServer) -> None:
        await self._refused(shared.url.removesuffix("0") + "99")

    async def test_what_is_not_a_redis_is_refused(self) -> None:
        await self._answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def test_a_redis_that_is_too_old_is_refused(self) -> None:
        about = b"# Server\r\nredis_version:6.0.16\r\nrun_id:x\r\n"
        await self._answering(b"$%d\r\n%s\r\n" % (len(about), about) + b"$1\r\nx\r\n" * 20)

    async def test_one_that_is_not_there_yet_is_waited_for(
        self, own: RedisServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        own.kill()
        store = RedisStore(own.url.replace("//", "//:secret@"), Arrivals().deliver, MAX_OTHERS, times=QUICK)
        await store.start()
        assert not store.is_available
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        assert "secret" not in caplog.text + str([vars(record) for record in caplog.records])
        await store.close()

    async def test_over_tls_its_certificate_has_to_be_trusted(self, tmp_path: Path) -> None:
        tls.load_or_create(tmp_path, datetime.now(UTC))
        certificate, key = tmp_path / tls.CERTIFICATE_FILE, tmp_path / tls.KEY_FILE
        port = redis_server.free_port()
        options = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]
        with RedisServer("--tls-port", str(port), *map(str, options)):
            url = f"rediss://127.0.0.1:{port}"
            await self._refused(url)
            await self._refused(f"{url}?ssl_ca_certs={certificate}")  # of another host
            trusting = f"{url}?ssl_ca_certs={certificate}&ssl_check_hostname=false"
            store = RedisStore(trusting, Arrivals().deliver, MAX_OTHERS)
            await store.start()
            assert store.is_available
            await store.close()

    async def _answering(self, answer: bytes) -> None:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(answer)
            with suppress(ConnectionError):
                await reader.read()
                writer.close()
                await writer.wait_closed()

        server = await asyncio.start_server(say, "127.0.0.1", 0)
        await self._refused(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        server.close()
        await server.wait_closed()

    async def _refused(self, url: str) -> None:
        store = RedisStore(url, Arrivals().deliver, MAX_OTHERS)
        with pytest.raises(UsageError):
            await store.start()
        assert not store.is_available
        await store.close()


class TestManyPeers:
    @pytest.mark.parametrize("seed", range(3))
    async def test_each_pair_is_matched_once_and_consistently(self, instances: Instances, seed: int) -> None:
        chance = random.Random(seed)
        await instances.add()
        await instances.add()
        opens = (instances.world.here, instances.world.there)
        peers = [PeerId(number.to_bytes(32)) for number in range(400)]
        streams = await asyncio.gather(*(chance.choice(opens)(peer) for peer in peers))
        pairs = list(zip(streams[::2], streams[1::2], strict=True))
        wishes = [wish for a, b in pairs for wish in ((a, b), (b, a), chance.choice(((a, b), (b, a), (a, a))))]
        wishes = [(own, other) for own, other in wishes if own is not other]
        chance.shuffle(wishes)
        wanted: dict[Stream, None] = {}
        await asyncio.gather(
            *(own.advertise(other.peer, b"of " + own.peer) for own, other in wishes if own.id not in wanted)
        )
        await instances.settled()
        for a, b in pairs:
            to_a, to_b = await a.matched(), await b.matched()
            assert {to_a.role, to_b.role} == {Role.INITIATOR, Role.RESPONDER}
            assert (to_a.peer, to_a.offer, to_b.own_offer_hash) == (b.peer, b"of " + b.peer, sha256(b"of " + b.peer))
            assert (to_b.peer, to_b.offer, to_a.own_offer_hash) == (a.peer, b"of " + a.peer, sha256(b"of " + a.peer))
            assert a.arrivals._queues[a.id].empty()
            assert b.arrivals._queues[b.id].empty()

    @pytest.mark.parametrize("seed", range(5))
    async def test_it_does_what_the_store_in_memory_does(self, instances: Instances, seed: int) -> None:
        """Any operations, one after the other, on two instances and on one in memory: all streams see the same."""
        chance = random.Random(seed)
        peers = [PeerId(letter * 32) for letter in (b"a", b"b", b"c", b"d", b"e")]
        await instances.add()
        await instances.add()
        expected = Arrivals()
        model = MemoryStore(expected.deliver, MAX_OTHERS)
        streams: list[Stream] = []
        for _ in range(150):
            doing = chance.choice(["open", "forget", "withdraw", "leave", *["advertise"] * 5, *["signal"] * 2])
            other = chance.choice(peers)
            if doing == "open" or not streams:
                stream = await chance.choice((instances.world.here, instances.world.there))(other)
                await model.claim(stream.id, other, None, 0.0)
                streams.append(stream)
            else:
                stream = chance.choice(streams[-6:])
                if other == stream.peer:
                    continue
                more = {"advertise": (other, b"offer %d" % chance.random()), "signal": (other, b"body"), "forget": ()}
                arguments = more.get(doing, (other,))
                outcomes = [
                    await _outcome(getattr(store, doing)(stream.id, *arguments)) for store in (stream.store, model)
                ]
                assert outcomes[0] == outcomes[1], (doing, stream, other)
            await instances.settled()
            for stream in streams:
                assert _all(stream.arrivals, stream.id) == _all(expected, stream.id)


async def _outcome(doing: Awaitable[None]) -> type[Exception] | None:
    try:
        await doing
    except (NotMatched, TooManyOthers) as error:
        return type(error)
    return None


def _all(arrivals: Arrivals, stream: StreamId) -> list[Event]:
    queue = arrivals._queues[stream]
    return [queue.get_nowait() for _ in range(queue.qsize())]
