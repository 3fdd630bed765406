"""A clock that stands still until a test moves it."""

import heapq
import itertools
from collections.abc import Callable


class ManualClock:
    """`p2p_server.clock.Clock`, made up."""

    def __init__(self) -> None:
        self._now = 1000.0
        self._timers: list[tuple[float, int, _Timer]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    def unix_time(self) -> float:
        return 1_700_000_000 + self._now

    def call_at(self, when: float, callback: Callable[[], object]) -> "_Timer":
        timer = _Timer(callback)
        heapq.heappush(self._timers, (when, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Move on, and call what becomes due on the way, each at its own time."""
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            if not timer.cancelled:
                self._now = max(self._now, when)
                timer.callback()
        self._now = end

    @property
    def pending(self) -> int:
        """How many timers are armed."""
        return sum(not timer.cancelled for _, _, timer in self._timers)

    def pending_at(self, when: float) -> int:
        """How many timers are armed for `when` or before."""
        return sum(not timer.cancelled for due, _, timer in self._timers if due <= when)


class _Timer:
    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True
