"""The way to Redis: one connection on which the operations of all streams go out together, and one that reads events.

What is asked while answers are on their way is sent as one batch when they have come. So the cost of a round trip, in
time of this process and in system calls, is shared by all that came meanwhile, and the order of operations is kept.
"""

import asyncio
import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from p2p_core.errors import UsageError
from redis.asyncio.connection import AbstractConnection, ConnectionPool, SSLConnection
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    InvalidResponse,
    NoPermissionError,
    NoScriptError,
    RedisError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeout

from p2p_server.stores.base import StoreUnavailable
from p2p_server.stores.redis_events import Entry, read_entry
from p2p_server.stores.redis_scripts import PREFIX, Script, Scripts

__all__ = ["Argument", "Link"]

Argument = bytes | str | int

_Question = tuple[bytes, asyncio.Future[Any]]  # a command, packed, and where its answer goes

_BATCH = 256  # operations; a batch has to be answered within the timeout
_ENTRIES = 256  # that are read at once
_BLOCK = 1.0  # s that a read waits in Redis; what comes meanwhile wakes it
_OLDEST = (6, 2)  # has XADD NOMKSTREAM and XTRIM MINID
_NUMBER = re.compile(r"[0-9]{1,9}")  # of a version

_ADVICE = (
    "Look at --store: redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS; "
    "in a password / is written %2F, ? %3F, # %23, @ %40, % %25."
)
_CLOSED = "Connection closed by server."  # redis-py's words
_NO_DATABASE = ("DB index", "SELECT is not allowed")  # in what Redis says of a database that there is not
_TRAILER = re.compile(r"[. ]*script: [0-9a-f]{40}, on @user_script.*", re.DOTALL)  # where in a script, since Redis 7


class Link:
    """Opened again and again after each loss, by its owner."""

    def __init__(self, url: str, scripts: Scripts, timeout: float) -> None:
        """Give Redis `timeout` seconds for each answer. Raises `UsageError` for what is no URL of a Redis."""
        self._scripts = scripts
        self._timeout = timeout
        try:
            # No retries: whether an operation was carried out before its connection broke is not known.
            pool = ConnectionPool.from_url(
                url, protocol=2, socket_timeout=None, socket_connect_timeout=timeout, driver_info=None
            )
            self._asking: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
            self._reading: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, OSError, RedisError):  # whose text may have the password
            raise UsageError("--store is not the URL of a Redis", advice=_ADVICE) from None
        self._is_open = self._was_open = False
        self._waiting: list[_Question] = []
        self._asked = asyncio.Event()

    async def open(self) -> str:
        """Connect, and return which run of Redis this is: it changes with every start of Redis.

        Raises `StoreUnavailable` if it cannot be reached now, and `UsageError` if it will never do.
        """
        try:
            async with asyncio.timeout(2 * self._timeout):
                await self._asking.connect()  # type: ignore[no-untyped-call]
                await self._reading.connect()  # type: ignore[no-untyped-call]
                run = _run_of(await self._command("INFO", "server"))
                await self._load()
        except (RedisError, OSError) as error:
            await self.close()
            if _is_refusal(error):
                raise UsageError(f"Redis does not let this mediator in: {_said(error)}", advice=_ADVICE) from None
            cause = error.__context__
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise UsageError(f"no TLS with Redis: {cause}", advice=_ADVICE) from None
            if isinstance(error, InvalidResponse) or isinstance(cause, ssl.SSLError):
                raise UsageError(self._no_redis(cause or error), advice=_ADVICE) from None
            raise StoreUnavailable(self._no_redis(error) if self._may_be_none(error) else _said(error)) from None
        except BaseException:
            await self.close()
            raise
        self._is_open = self._was_open = True
        return run

    async def serve(self) -> NoReturn:
        """Send what is asked. Raises `StoreUnavailable` when the connection is lost: it has to be opened again."""
        batch: list[_Question] = []
        try:
            while True:
                await self._asked.wait()
                batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
                if not self._waiting:
                    self._asked.clear()
                async with asyncio.timeout(self._timeout):
                    await self._exchange([(command, answer) for command, answer in batch if not answer.done()])
        except (RedisError, OSError) as error:
            raise StoreUnavailable(_said(error)) from None
        finally:
            self._fail_all(batch)

    async def ask(self, script: Script, *arguments: Argument) -> Any:
        """Have Redis run a script. Raises `StoreUnavailable`."""
        if not self._is_open:
            raise StoreUnavailable("not connected")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        command = b"".join(self._asking.pack_command("EVALSHA", script.sha1, 1, PREFIX, *arguments))
        self._waiting.append((command, answer))
        self._asked.set()
        return await answer

    async def read(self, key: bytes, after: bytes) -> list[Entry]:
        """Wait a while for entries of a stream. Raises `StoreUnavailable`."""
        try:
            async with asyncio.timeout(_BLOCK + self._timeout):
                await self._reading.send_command(
                    "XREAD", "COUNT", _ENTRIES, "BLOCK", round(_BLOCK * 1000), "STREAMS", key, after
                )
                streams = await self._reading.read_response(disable_decoding=True)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(_said(error)) from None
        return [read_entry(*entry) for entry in streams[0][1]] if streams else []

    async def close(self) -> None:
        """Drop both connections. Whoever waits for an answer gets `StoreUnavailable`."""
        self._fail_all(())
        for connection in (self._asking, self._reading):
            with suppress(RedisError, OSError):
                await connection.disconnect(nowait=True)

    def _may_be_none(self, error: Exception) -> bool:
        """Whether it may be no Redis at all, or one with TLS where there should be none, or the other way round."""
        is_mute = isinstance(error, TimeoutError | RedisTimeout) or str(error) == _CLOSED
        return not self._was_open and (is_mute or isinstance(error.__context__, ConnectionResetError))

    def _no_redis(self, why: BaseException) -> str:
        kind = "with TLS (rediss://)" if isinstance(self._asking, SSLConnection) else "without TLS (redis://)"
        return f"--store does not answer as a Redis {kind}: {_said(why)}"

    def _fail_all(self, batch: Sequence[_Question]) -> None:
        self._is_open = False
        for _, answer in (*batch, *self._waiting):
            _fail(answer, StoreUnavailable("the connection was lost"))
        self._waiting = []

    async def _exchange(self, batch: Sequence[_Question]) -> None:
        """Send commands and take their answers. What Redis has no script for was not done, and is sent once more."""
        await self._asking.send_packed_command([command for command, _ in batch])
        unknown = []
        for command, answer in batch:
            try:
                value = await self._asking.read_response(disable_decoding=True)
            except NoScriptError:
                unknown.append((command, answer))
            except ResponseError as error:
                _fail(answer, StoreUnavailable(_said(error)))
            else:
                if not answer.done():
                    answer.set_result(value)
        if unknown:
            await self._load()
            await self._exchange(unknown)

    async def _load(self) -> None:
        for script in self._scripts.all():
            await self._command("SCRIPT LOAD", script.source)

    async def _command(self, *words: Argument) -> Any:
        await self._asking.send_command(*words)
        return await self._asking.read_response(disable_decoding=True)


def _fail(answer: asyncio.Future[Any], error: Exception) -> None:
    if not answer.done():
        answer.set_exception(error)


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return _TRAILER.sub("", str(error)) or type(error).__name__


def _is_refusal(error: Exception) -> bool:
    """Whether Redis will never let this mediator in. All else may pass: that it is loading, busy, full or a replica."""
    if isinstance(error, AuthenticationError | AuthenticationWrongNumberOfArgsError | NoPermissionError):
        return True
    return isinstance(error, ResponseError) and any(part in str(error) for part in _NO_DATABASE)


def _run_of(about: bytes) -> str:
    """Take what INFO says. Raises `UsageError` for a Redis that is too old."""
    values = dict(line.split(":", 1) for line in about.decode(errors="replace").splitlines() if ":" in line)
    version = values.get("redis_version", "")
    if tuple(map(int, _NUMBER.findall(version)[:2])) < _OLDEST:
        raise UsageError(f"Redis {version} is too old", advice="Use Redis 6.2 or later, or Valkey.")
    return values.get("run_id", "")
