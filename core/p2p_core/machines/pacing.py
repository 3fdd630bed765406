"""How much file data to write at once, so that a control frame need not wait long behind it.

Pure; times are in seconds, on whatever clock the caller reads.
"""

from p2p_core import limits
from p2p_core.token_bucket import TokenBucket
from p2p_core.wire.frames import BLOCKS_ROOM

__all__ = ["Pace", "RateLimit"]

# s that a control frame may wait for what has begun to be written, and as long again for what waits in the system: a
# person at a chat does not notice it. Less would be more work than gain: the event loop is busy for 10 ms at times.
_WAIT = 0.05
_FIRST = 64 * 1024  # bytes, until the rate is known
_LEAST = 16 * 1024  # bytes, though: a TLS record (RFC 8446 §5.1)
_MOST = limits.MAX_BLOCK_SIZE + BLOCKS_ROOM  # bytes: a whole frame; from 20 MB/s on nothing waits long
_ENOUGH_BYTES, _ENOUGH_TIME = 1024 * 1024, 4 * _WAIT  # to tell a rate by, whichever comes first

_LEAST_LIMITED = 256  # bytes in a part, below which it would be all header


class Pace:
    """How much may be under way, by how fast it goes.

    Only the time counts in which the stream takes nothing: what a system takes at once says nothing of the link, until
    it is more than it holds.
    """

    def __init__(self) -> None:
        self.size = _FIRST  # bytes to write at once, and to let wait in the system beside them
        self._bytes = 0  # taken since the rate was told
        self._seconds = 0.0  # for which the stream took none
        self._stopped_at: float | None = None

    def stopped(self, now: float) -> None:
        """The stream takes nothing at the moment."""
        if self._stopped_at is None:
            self._stopped_at = now

    def took(self, count: int, now: float) -> bool:
        """The stream has taken `count` bytes; return whether `size` is another one now."""
        if self._stopped_at is not None:
            self._seconds += now - self._stopped_at
            self._stopped_at = None
        self._bytes += count
        if self._bytes < _ENOUGH_BYTES and self._seconds < _ENOUGH_TIME:
            return False
        before = self.size
        most = self._bytes * _WAIT >= self._seconds * _MOST
        self.size = _MOST if most else max(int(self._bytes * _WAIT / self._seconds), _LEAST)
        self._bytes, self._seconds = 0, 0.0
        return self.size != before

    def paused(self) -> None:
        """There is nothing to write: what was taken before may be gone when there is."""
        self._bytes, self._seconds = 0, 0.0


class RateLimit:
    """Lets through `rate` bytes a second. A session has one for all its channels: a new one brings nothing extra."""

    def __init__(self, rate: int, now: float) -> None:
        self.part = max(int(rate * _WAIT), _LEAST_LIMITED)  # bytes to write at once
        self._bucket = TokenBucket(rate, rate * _WAIT, now)  # the time by which a timer may be late is made up for

    def free_at(self, now: float) -> float:
        """When the next part may go: `now`, or later."""
        return self._bucket.free_at(now)

    def take(self, count: int, now: float) -> None:
        """A part of `count` bytes goes."""
        self._bucket.take(count, now)
