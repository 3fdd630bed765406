"""Is the other side still there? Both sides ask all the time, which keeps NAT mappings alive as well.

A side that only sends hears nothing but answers, and its question may wait long behind file data on a slow link. So
each side asks by the clock, not when it is quiet: a side that only receives then gives a sign of life unasked.
"""

from p2p_core.wire.frames import Ping, Pong

__all__ = ["DEAD_AFTER", "PING_EVERY", "Liveness"]

PING_EVERY = 5.0  # s; well under the 15 s at which the shortest NAT mappings are kept alive
DEAD_AFTER = 15.0  # s of silence: the other side said nothing where it should have asked three times


class Liveness:
    """Watches one channel."""

    def __init__(self, now: float) -> None:
        self._heard = self._asked = now
        self._id = 0
        self.round_trip: float | None = None  # s, of the last answered ping

    def heard(self, now: float) -> None:
        """Take note that the other side is there: bytes came, or it took bytes it had not taken before."""
        self._heard = now

    def deadline(self) -> float:
        """When `on_deadline` is to be called."""
        return min(self._asked + PING_EVERY, self._heard + DEAD_AFTER)

    def on_deadline(self, now: float) -> Ping | None:
        """Return a ping when it is time for one."""
        if now < self._asked + PING_EVERY:
            return None
        self._asked = now
        self._id += 1
        return Ping(self._id)

    def is_dead(self, now: float) -> bool:
        """Say whether the silence has lasted too long."""
        return now >= self._heard + DEAD_AFTER

    def answered(self, pong: Pong, now: float) -> None:
        """Take an answer; one to an older ping only counts as a sign of life."""
        if pong.id == self._id > 0:
            self.round_trip = now - self._asked
