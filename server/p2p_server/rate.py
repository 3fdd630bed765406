"""How often, from one place."""

from p2p_server.clock import Clock

__all__ = ["Rate"]


class Rate:
    """Lets each source through `per_second` times a second, and `burst` times at once after a rest.

    The generic cell rate algorithm (ITU-T I.371): one moment is kept for each source, when it will have rested.
    """

    def __init__(self, per_second: float, burst: int, sources: int, clock: Clock) -> None:
        """Remember up to `sources` places, those heard last."""
        self._interval = 1 / per_second
        self._ahead = (burst - 0.5) / per_second  # half a one for rounding
        self._sources = sources
        self._clock = clock
        self._rested: dict[bytes, float] = {}  # in the order they were heard

    def allows(self, source: bytes) -> bool:
        """Count one more from `source`; return False, counting nothing, when it is too many."""
        now = self._clock.now()
        rested = max(self._rested.pop(source, now), now)
        allowed = rested - now <= self._ahead
        self._rested[source] = rested + self._interval if allowed else rested
        if len(self._rested) > self._sources:
            del self._rested[next(iter(self._rested))]
        return allowed

    def free_in(self, source: bytes) -> float:
        """Return how many seconds it takes until one more from `source` is let through."""
        now = self._clock.now()
        return max(0.0, self._rested.get(source, now) - now - self._ahead)

    @property
    def sources(self) -> int:
        """How many places are remembered."""
        return len(self._rested)
