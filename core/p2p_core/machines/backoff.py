"""When to ask a mediator again: later each time, no sooner than it said, and not all peers in the same moment."""

from collections.abc import Callable

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "Backoff"]

FIRST_PAUSE = 0.5  # s; where others serve as well, or a supervisor starts it again, that is enough
LONGEST_PAUSE = 30.0  # s; ten thousand peers that wait for a mediator are some 450 knocks a second when it comes back
SPREAD = 0.5  # of what the mediator has said is added at most: it tells many the same in one moment


class Backoff:
    """What was heard of a mediator, and what follows from it. Times are in seconds, of one clock."""

    def __init__(self, random: Callable[[], float]) -> None:
        """`random` returns numbers from 0 up to 1."""
        self._random = random
        self._pause = FIRST_PAUSE
        self._closed_until = 0.0
        self._admitted_at: float | None = None  # since it was asked last

    def admitted(self, now: float) -> None:
        """It has let us in."""
        self._admitted_at = now

    def told(self, now: float, seconds: float) -> None:
        """It wants to be left alone for `seconds`."""
        until = now + seconds * (1 + SPREAD * self._random())
        self._closed_until = max(self._closed_until, until)

    def closed_for(self, now: float) -> float:
        """Return how long it may not be asked, because it has said so; 0 if it may be."""
        return max(0.0, self._closed_until - now)

    def pause(self, now: float) -> float:
        """Return how long to wait before it is asked next; longer each time, until it has let us in for a while."""
        if self._admitted_at is not None and now - self._admitted_at >= LONGEST_PAUSE:
            self._pause = FIRST_PAUSE
        self._admitted_at = None
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return pause * (1 + self._random()) / 2
