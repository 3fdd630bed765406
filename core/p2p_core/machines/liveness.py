"""Is the other side still there? Asks when it is quiet, and keeps NAT mappings alive on the way."""

from p2p_core.wire.frames import Ping, Pong

__all__ = ["DEAD_AFTER", "PING_AFTER", "Liveness"]

PING_AFTER = 5.0  # s of silence; well under the 15 s at which the shortest NAT mappings are kept alive
DEAD_AFTER = 15.0  # s of silence: two pings went unanswered


class Liveness:
    """Watches one channel."""

    def __init__(self, now: float) -> None:
        self._heard = now
        self._asked: float | None = None
        self._id = 0
        self.round_trip: float | None = None  # s, of the last answered ping

    def heard(self, now: float) -> None:
        """Take note that the other side is there: bytes came, or it took bytes it had not taken before."""
        self._heard = now

    def deadline(self) -> float:
        """When `on_deadline` is to be called."""
        if self._asked is None or self._asked < self._heard:
            return self._heard + PING_AFTER
        return min(self._asked + PING_AFTER, self._heard + DEAD_AFTER)

    def on_deadline(self, now: float) -> Ping | None:
        """Return a ping when it is time for one."""
        if now < self.deadline():
            return None
        self._asked = now
        self._id += 1
        return Ping(self._id)

    def is_dead(self, now: float) -> bool:
        """Say whether the silence has lasted too long."""
        return now >= self._heard + DEAD_AFTER

    def answered(self, pong: Pong, now: float) -> None:
        """Take an answer; one to an older ping only counts as a sign of life."""
        if pong.id == self._id and self._asked is not None:
            self.round_trip = now - self._asked
