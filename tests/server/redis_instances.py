"""Instances that share a Redis, and a look into it. Time passes by what is written there, never by waiting for it."""

import asyncio
import functools
from dataclasses import replace

import redis as client
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_server.stores.redis import RedisStore
from p2p_server.stores.redis_events import Entry
from p2p_server.stores.redis_link import Link
from p2p_server.stores.redis_membership import Times

from tests.redis_server import RedisServer
from tests.server.client import PATIENCE, until
from tests.server.store_contract import MAX_OTHERS, A, Arrivals, B, Stream, World

QUICK = Times(beat=0.05, first_retry=0.02, last_retry=0.1)
P = b"{punchwire}:"


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

    def check_nothing_is_left(self) -> None:
        with client.Redis.from_url(self.server.url) as redis:
            assert [key for key in redis.scan_iter() if key != P + b"order"] == []

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
