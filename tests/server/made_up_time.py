"""Instances on one real Redis, whose time passes only when a test says so: the loop's, Redis's, and that of its keys.

The scripts are the real ones but for where they have the time from: `TIME`, and the ids of events. An instance may be
frozen, read its events late, or die; Redis may lose its connections, all it has, or what it was told last.
"""

import asyncio
import functools
import math
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import redis as client
from p2p_server.stores.base import Deliver, StoreUnavailable, Tickets
from p2p_server.stores.redis import RedisStore
from p2p_server.stores.redis_events import Entry, read_entry
from p2p_server.stores.redis_link import Link
from p2p_server.stores.redis_membership import Times
from p2p_server.stores.redis_scripts import Script
from redis.exceptions import RedisError

from tests.redis_server import RedisServer
from tests.server.client import PATIENCE

__all__ = ["Instance", "MadeUpLoop", "Service"]

TIMES = Times()
_NOW = "made-up time"  # a key without the prefix: ms
_BEGIN = 1_700_000_000_000  # ms
_STEP = 1.0  # s at most between two looks at what has become due

# Time passes for the keys, too: those that nobody refreshed in time are gone.
_PASS = """
redis.call('INCRBY', KEYS[1], ARGV[1])
for _, key in ipairs(redis.call('KEYS', '{punchwire}:*')) do
  local left = redis.call('PTTL', key)
  if left > 0 and left <= tonumber(ARGV[1]) then redis.call('DEL', key)
  elseif left > 0 then redis.call('PEXPIRE', key, left - ARGV[1]) end
end
"""


class MadeUpLoop(asyncio.SelectorEventLoop):
    """Its clock stands still; what it waits for from other programs comes as ever."""

    now = 1000.0

    def time(self) -> float:
        return self.now


def _with_made_up_time(script: Script) -> Script:
    source = script.source.decode()
    for real, made_up in (
        ("local time = redis.call('TIME')\n", ""),
        ("time[1] * 1000 + math.floor(time[2] / 1000)", f"tonumber(redis.call('GET', '{_NOW}'))"),
        ("'NOMKSTREAM', '*',", "'NOMKSTREAM', string.format('%d-*', NOW),"),
    ):
        assert source.count(real) == 1
        source = source.replace(real, made_up)
    source = source.replace("events(instance), '*',", "events(instance), string.format('%d-*', NOW),")
    assert "'*'" not in source
    return replace(script, source=source.encode(), sha1=client.Redis().register_script(source).sha)


@dataclass(eq=False)
class Instance:
    """One mediator's store, and what keeps it from going on."""

    store: RedisStore
    is_dead: bool = False
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    may_run: asyncio.Event = field(default_factory=asyncio.Event)
    frozen_at: float = math.inf
    look: asyncio.Event = field(default_factory=asyncio.Event)
    looks: int = 0  # at its events, that were there to be seen
    asking: int = 0  # questions that Redis has not answered
    is_trying: bool = False  # to be one of the instances, or it is one
    changes: int = 0

    @property
    def is_frozen(self) -> bool:
        return not self.may_run.is_set()

    def thaw(self) -> None:
        self.may_run.set()
        self.frozen_at = math.inf

    @property
    def is_up(self) -> bool:
        return not self.is_dead and self.store.is_available

    @property
    def is_waiting(self) -> bool:
        """Whether nothing happens until time passes or somebody does something, but for events to be read."""
        return self.is_dead or self.is_frozen or not (self.asking or self.store._tasks or self.is_trying != self.is_up)


class Service:
    """All instances, their Redis, and the time."""

    def __init__(self, server: RedisServer, max_others: int) -> None:
        self._server = server
        self._max_others = max_others
        self.redis = client.Redis.from_url(server.url)
        self.loop = MadeUpLoop()
        self.instances: list[Instance] = []
        self._ms = _BEGIN
        self._saved: list[tuple[bytes, bytes, int]] = []  # keys, what they had, and until when (ms)
        self._begin()

    def _begin(self) -> None:
        self.redis.flushall()
        self.redis.set(_NOW, self._ms)

    def run(self, what: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            return await what

        return self.loop.run_until_complete(bounded())

    def add(self, tickets: Tickets, deliver: Deliver) -> Instance:
        instance = self.run(self._add(tickets, deliver))
        assert isinstance(instance, Instance)
        self.settle()
        return instance

    async def _add(self, tickets: Tickets, deliver: Deliver) -> Instance:
        store = RedisStore(self._server.url, deliver, self._max_others, tickets, times=TIMES)
        for name, script in vars(store._scripts).items():
            setattr(store._scripts, name, _with_made_up_time(script))
        instance = Instance(store)
        instance.may_read.set()
        instance.may_run.set()
        membership = store._membership
        membership._link.ask = functools.partial(_ask, instance, membership._link.ask)  # type: ignore[method-assign]
        membership._link.read = functools.partial(_read, instance, membership._link)  # type: ignore[method-assign]
        membership._hold = functools.partial(_hold, instance, membership._hold)  # type: ignore[method-assign]
        membership._beat_once = functools.partial(  # type: ignore[method-assign]
            _when_running, instance, membership._beat_once
        )
        await store.start()
        self.instances.append(instance)
        return instance

    # Faults.

    def die(self, instance: Instance) -> None:
        """As by SIGKILL."""
        self.run(self._die(instance))

    async def _die(self, instance: Instance) -> None:
        instance.is_dead = True
        membership = instance.store._membership
        tasks = [*instance.store._tasks, *([membership._running] if membership._running else [])]
        membership._is_leaving = True
        if membership._lose_then is not None:
            membership._lose_then.cancel()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def freeze(self, instance: Instance) -> None:
        """As by SIGSTOP."""
        instance.may_run.clear()
        instance.frozen_at = min(instance.frozen_at, self.loop.now)

    def close_one(self, instance: Instance) -> None:
        """As it does when it is stopped."""
        self.run(instance.store.close())
        instance.is_dead = True
        self.settle()

    def empty_redis(self) -> None:
        self._begin()
        self.settle()

    def break_connections(self) -> None:
        self.redis.client_kill_filter(_type="normal", skipme=True)
        self.settle()

    def lose_redis(self) -> None:
        self._server.kill()
        self.settle()

    def bring_redis_back(self, *, saved: bool) -> None:
        """With nothing in it, or with what it had when time passed last."""
        self._server.start()
        self._begin()
        for key, value, until in self._saved if saved else ():
            if until > self._ms:
                self.redis.restore(key, until - self._ms, value)

    def _save(self) -> None:
        keys = list(self.redis.scan_iter("{punchwire}:*"))
        values = [(key, self.redis.dump(key), self.redis.pttl(key)) for key in keys]
        self._saved = [(key, value, self._ms + left) for key, value, left in values if value is not None]

    # Time.

    def pass_time(self, seconds: float) -> None:
        is_anybody_there = not all(instance.is_dead for instance in self.instances)
        while seconds > 0:
            step = min(seconds, _STEP) if is_anybody_there else seconds
            seconds -= step
            self.loop.now += step
            self._ms += round(step * 1000)
            with suppress(RedisError):  # it may be away
                self.redis.eval(_PASS, 1, _NOW, round(step * 1000))
            self.settle()
        with suppress(RedisError):
            self._save()

    def settle(self) -> None:
        """Until every instance has read what there is to read, if it may, and done what follows from it."""
        self.run(self._settle())

    async def _settle(self) -> None:
        give_up = time.monotonic() + PATIENCE * 6
        changes = None
        while changes != (changes := sum(instance.changes for instance in self.instances)):
            for instance in self.instances:
                looks = instance.looks
                instance.look.set()
                while not instance.is_waiting or (
                    instance.is_up and not instance.is_frozen and instance.may_read.is_set() and instance.looks == looks
                ):
                    assert time.monotonic() < give_up, "it never comes to rest"
                    await asyncio.sleep(0)
            for _ in range(5):
                await asyncio.sleep(0)

    def close(self) -> None:
        for instance in self.instances:
            if not instance.is_dead:
                self.die(instance)
        self.redis.close()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


async def _when_running(instance: Instance, what: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    await instance.may_run.wait()
    return await what(*arguments)


async def _ask(instance: Instance, ask: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    instance.asking += 1
    instance.changes += 1
    try:
        return await ask(*arguments)
    finally:
        instance.asking -= 1


async def _hold(instance: Instance, hold: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    await instance.may_run.wait()
    instance.is_trying = True
    instance.changes += 1
    try:
        return await hold(*arguments)
    finally:
        instance.is_trying = False


async def _read(instance: Instance, link: Link, key: bytes, after: bytes) -> list[Entry]:
    """As `Link.read`, but that it does not wait in Redis: whoever adds to the events says so here."""
    while True:
        await instance.look.wait()
        while instance.is_frozen or not instance.may_read.is_set():
            await instance.may_run.wait()
            await instance.may_read.wait()
        instance.look.clear()
        entries = await _read_now(link, key, after)
        instance.looks += 1
        if entries:
            instance.changes += 1
            return entries


async def _read_now(link: Link, key: bytes, after: bytes) -> list[Entry]:
    try:
        await link._reading.send_command("XREAD", "COUNT", 256, "STREAMS", key, after)
        streams = await link._reading.read_response(disable_decoding=True)
    except (RedisError, OSError) as error:
        raise StoreUnavailable(str(error)) from None
    return [read_entry(*entry) for entry in streams[0][1]] if streams else []
