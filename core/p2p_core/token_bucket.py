"""How many bytes, and how soon: a token bucket. Pure; times are in seconds, on whatever clock the caller reads."""

__all__ = ["TokenBucket"]


class TokenBucket:
    """Fills by `rate` a second up to `capacity`; who takes more than there is owes the rest."""

    def __init__(self, rate: float, capacity: float, now: float) -> None:
        """Begin full. A rate of 0 is no limit."""
        self._rate = rate
        self._capacity = capacity
        self._level = capacity
        self._at = now

    def take(self, count: int, now: float) -> None:
        """Take `count`, whether it is there or not."""
        if self._rate:
            self._level = self._level_at(now) - count
            self._at = now

    def has(self, share: float, now: float) -> bool:
        """Whether `share` of the capacity, from 0 to 1, is there."""
        return not self._rate or self._level_at(now) >= share * self._capacity

    def has_at(self, share: float, now: float) -> float:
        """When `share` of the capacity is there, if nothing more is taken: `now`, or later."""
        return self._at_level(share * self._capacity, now)

    def free_at(self, now: float) -> float:
        """When nothing is owed any more: `now`, or later."""
        return self._at_level(0.0, now)

    def full_at(self, now: float) -> float:
        """When it is as if nothing had been taken: `now`, or later."""
        return self._at_level(self._capacity, now)

    def _level_at(self, now: float) -> float:
        return min(self._level + (now - self._at) * self._rate, self._capacity)

    def _at_level(self, level: float, now: float) -> float:
        missing = level - self._level_at(now)
        return now + missing / self._rate if self._rate and missing > 0 else now
