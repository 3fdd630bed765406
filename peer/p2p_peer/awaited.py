"""What users of a session may await, or not: it comes to something, or the session's end ends it."""

import asyncio
from itertools import takewhile
from typing import Any, Generic, TypeVar

from p2p_core.errors import PunchwireError

__all__ = ["Awaited"]

_T = TypeVar("_T")


class Awaited(Generic[_T]):
    """Futures by rising numbers; what happens to a number that has none, or whose future is done, makes no difference.

    Nobody is warned of an error that is not awaited: the session's events tell of it too.
    """

    def __init__(self) -> None:
        self._futures: dict[int, asyncio.Future[_T]] = {}

    def expect(self, number: int) -> "asyncio.Future[_T]":
        """Return the future of something that has been begun."""
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        future.add_done_callback(_fetch_exception)
        self._futures[number] = future
        return future

    def came(self, number: int, value: _T) -> None:
        """It is done."""
        future = self._futures.pop(number, None)
        if future is not None and not future.done():
            future.set_result(value)

    def all_came(self, last: int, value: _T) -> None:
        """Everything up to `last` is done."""
        for number in list(takewhile(lambda number: number <= last, self._futures)):
            self.came(number, value)

    def failed(self, number: int, error: PunchwireError) -> None:
        """It has come to nothing."""
        future = self._futures.pop(number, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def all_failed(self, error: PunchwireError) -> None:
        """All the rest has come to nothing."""
        for number in tuple(self._futures):
            self.failed(number, error)


def _fetch_exception(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()
