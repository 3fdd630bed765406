"""The one clock everything in a running mediator reads, so that tests can make up the time."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "LoopClock", "Timer"]


class Timer(Protocol):
    """Something that will be called, unless it is cancelled."""

    def cancel(self) -> None:
        """Forget it; harmless when it has been called already."""


class Clock(Protocol):
    """A clock that never goes back, and a calendar."""

    def now(self) -> float:
        """Return the time in seconds, since no particular moment."""

    def unix_time(self) -> float:
        """Return the time in seconds since 1970, which the computer's owner may set at any moment."""

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` when `now()` has reached `when`."""


class LoopClock:
    """The running event loop's clock."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    def unix_time(self) -> float:
        """Return the computer's time."""
        return time.time()

    def call_at(self, when: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` from the loop."""
        return self._loop.call_at(when, callback)
