"""This process as one of the instances that share a Redis: beating, reading its events, and back after each loss.

The others count on an instance as long as it beats. One that could not for `Times.dead_after` has lost all its streams:
the others have forgotten them, or are about to. It then joins as another.
"""

import asyncio
import logging
import math
import os
import random
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NoReturn

from p2p_core.errors import UsageError
from p2p_core.identity import PeerId

from p2p_server.logs import fields
from p2p_server.stores.base import StoreUnavailable, StreamId
from p2p_server.stores.redis_events import Entry
from p2p_server.stores.redis_link import Argument, Link
from p2p_server.stores.redis_scripts import PREFIX, Script, Scripts

__all__ = ["Membership", "Owner", "Times"]

_REFRESHED = 500  # streams by one script, which takes Redis about 1 ms
_SWEPT = 100  # streams of a dead instance likewise
_REASONS = 8  # that are told of one absence; more would be one reason that has a number in it
_KNOWN_WITHIN = 0.5  # s; an answer that took longer does not tell the time

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Times:
    """All in seconds."""

    fresh: float = 2.0  # a match has to be told, and a proposal acknowledged, within this
    beat: float = 2.0
    dead_after: float = 10.0  # without a beat: a few may be late when Redis is busy or the way to it is bad
    kept: float = 120.0  # what nobody refreshes is gone after this
    answer: float = 2.0  # Redis has this long; it needs a few ms
    first_retry: float = 0.1
    last_retry: float = 5.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose streams they are: what it is told, and asked for."""

    take: Callable[[Entry, bool], None]  # an event, and whether it comes too late for a match to be told
    lose_all: Callable[[], None]  # Redis, or the other instances, do not know any of the streams any more
    catch_up: Callable[[], Coroutine[Any, Any, None]]  # Redis is there: do what is still owed
    some_streams: Callable[[float], Sequence[tuple[PeerId, StreamId]]]  # that part of them: each comes once in a round


@dataclass(slots=True)
class _Identity:
    """What this process is to the others until it loses its streams."""

    name: str
    run: str  # of Redis
    read: bytes  # the id of the last event that was taken


class Membership:
    """Joins when it is started, and again with another name whenever its streams were lost."""

    def __init__(self, url: str, times: Times, scripts: Scripts, owner: Owner) -> None:
        """Raises `UsageError` for what is no URL of a Redis."""
        self._times = times
        self._scripts = scripts
        self._owner = owner
        self._link = Link(url, scripts, times.answer)
        self._identity: _Identity | None = None
        self._is_up = False
        self._told: set[str] = set()  # why Redis is gone
        self._retry = times.first_retry
        self._beaten = 0.0  # loop time
        self._clock_ahead = -math.inf  # s; of Redis, before the loop's
        self._lose_then: asyncio.TimerHandle | None = None
        self._running: asyncio.Task[None] | None = None
        self._is_leaving = False

    @property
    def is_up(self) -> bool:
        """Whether Redis can be asked, as far as is known."""
        return self._is_up

    @property
    def name(self) -> str:
        """What the others know this instance by. Raises `StoreUnavailable` while it is not one of them."""
        if self._identity is None:
            raise StoreUnavailable("this instance is not known in Redis")
        return self._identity.name

    async def ask(self, script: Script, *arguments: Argument) -> Any:
        """Have Redis run a script. Raises `StoreUnavailable`."""
        if not self._is_up:
            raise StoreUnavailable("Redis is away")
        return await self._link.ask(script, *arguments)

    async def start(self) -> None:
        """Join, or keep trying to in the background. Raises `UsageError` if that will never work."""
        tried: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running = asyncio.create_task(self._run(tried))
        await tried

    async def leave(self) -> None:
        """Leave for good: the others need not wait until this instance counts as dead."""
        self._is_leaving = True
        if self._is_up:
            with suppress(StoreUnavailable, TimeoutError):
                async with asyncio.timeout(self._times.answer):
                    await self._sweep(self.name, is_own=True)
        if self._lose_then is not None:
            self._lose_then.cancel()
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait((self._running,))

    async def _run(self, tried: asyncio.Future[None]) -> None:
        """Hold on to Redis. `tried` is told when it has been tried once."""
        while True:
            try:
                await self._hold(tried)
            except UsageError as error:
                if not tried.done():
                    tried.set_exception(error)
                    return
                self._went(error)
            except StoreUnavailable as error:
                self._went(error)
            except Exception as error:
                _log.exception("a fault of this program", extra=fields(event="store-fault"))
                self._went(error)
            _tell(tried)
            if self._is_leaving:  # it was cancelled just when the connection was lost
                return
            await asyncio.sleep(self._retry * random.uniform(0.5, 1))  # noqa: S311 – so that not all come at once
            self._retry = min(2 * self._retry, self._times.last_retry)

    async def _hold(self, tried: asyncio.Future[None]) -> NoReturn:
        """Connect, and keep everything going until that fails. Raises `UsageError` and `StoreUnavailable`."""
        why = ""
        run = await self._link.open()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._link.serve())
                await self._join(run)
                _tell(tried)
                group.create_task(self._read())
                group.create_task(self._beat())
        except* StoreUnavailable as lost:
            why = str(_first(lost))
        finally:
            await self._link.close()
        raise StoreUnavailable(why)

    async def _join(self, run: str) -> None:
        """Go on as the instance that this was, if Redis knows it still, or as a new one."""
        if self._identity is not None and (self._identity.run != run or not await self._beat_once(self._identity)):
            self._lose()
        if self._identity is None:
            name = os.urandom(8).hex()
            asked = asyncio.get_running_loop().time()
            first: bytes = await self._link.ask(self._scripts.begin, name)
            self._note_time(asked, int(first.partition(b"-")[0]))
            self._identity = _Identity(name, run, first)
        self._came()
        await self._owner.catch_up()

    def _came(self) -> None:
        self._is_up = True
        self._retry = self._times.first_retry
        if self._lose_then is not None:
            self._lose_then.cancel()
        if self._told:
            _log.warning("Redis is back", extra=fields(event="store-back"))
            self._told.clear()

    def _went(self, why: Exception) -> None:
        if self._is_up:
            self._is_up = False
            when = self._beaten + self._times.dead_after
            self._lose_then = asyncio.get_running_loop().call_at(when, self._lose)
        if str(why) not in self._told and len(self._told) < _REASONS:
            _log.warning("Redis cannot be used, will go on trying", extra=fields(event="store-lost", why=why))
            self._told.add(str(why))

    def _lose(self) -> None:
        self._identity = None
        self._is_up = False
        self._owner.lose_all()

    async def _read(self) -> NoReturn:
        identity = self._identity
        assert identity is not None
        key = PREFIX + b"events:" + identity.name.encode()
        while True:
            for entry in await self._link.read(key, identity.read):
                identity.read = entry.id
                self._owner.take(entry, self._age(entry) > self._times.fresh)

    async def _beat(self) -> None:
        identity = self._identity
        assert identity is not None
        while not self._is_leaving:
            await asyncio.sleep(self._times.beat)
            if not await self._beat_once(identity) and not self._is_leaving:
                self._lose()
                raise StoreUnavailable("this instance was given up, or Redis lost its data")
            await self._owner.catch_up()

    async def _beat_once(self, identity: _Identity) -> bool:
        """Show that this instance and its streams are there, and clear up after dead ones."""
        streams = self._owner.some_streams(self._times.beat / (self._times.kept / 4))
        dead: list[bytes] = []
        for start in range(0, max(len(streams), 1), _REFRESHED):
            names = [name for stream in streams[start : start + _REFRESHED] for name in stream]
            asked = asyncio.get_running_loop().time()
            answer = await self._link.ask(self._scripts.beat, identity.name, identity.read, *names)
            if answer is None:
                return False
            now, dead = answer
            self._note_time(asked, now)
        for name in dead:
            await self._sweep(name, is_own=False)
        return True

    async def _sweep(self, name: str | bytes, *, is_own: bool) -> None:
        while await self._link.ask(self._scripts.sweep, name, int(is_own), _SWEPT):
            pass

    def _note_time(self, asked: float, redis_ms: int) -> None:
        self._beaten = asked
        now = asyncio.get_running_loop().time()
        if now - asked <= _KNOWN_WITHIN or self._clock_ahead == -math.inf:
            self._clock_ahead = redis_ms / 1000 - now

    def _age(self, entry: Entry) -> float:
        """Return how long ago it was written, in seconds; never too long."""
        return asyncio.get_running_loop().time() + self._clock_ahead - entry.at / 1000


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _tell(tried: asyncio.Future[None]) -> None:
    if not tried.done():
        tried.set_result(None)
