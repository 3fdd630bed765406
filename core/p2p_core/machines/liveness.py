"""Is the other side still there? Both sides ask all the time, which keeps NAT mappings alive as well.

A side that only sends hears nothing but answers, and its question may wait long behind file data on a slow link. So
each side asks by the clock, not when it is quiet: a side that only receives then gives a sign of life unasked.
"""

from p2p_core.wire.frames import Ping, Pong

__all__ = ["ANSWER_TIME", "DEAD_AFTER", "PING_EVERY", "Liveness"]

PING_EVERY = 5.0  # s; well under the 15 s at which the shortest NAT mappings are kept alive
DEAD_AFTER = 15.0  # s of silence: the other side said nothing where it should have asked three times
ANSWER_TIME = 300.0  # s without an answer and without a block: a disk may hold the other side up, but not for ever


class Liveness:
    """Watches one channel."""

    def __init__(self, now: float, ask_at: float | None = None) -> None:
        """Begin to listen, and to ask at once, or at `ask_at`."""
        self._heard = self._moved = self._asked = now
        self._ask_at = now if ask_at is None else ask_at  # at once: it shows the round trip
        self._id = self._answered = 0
        self.round_trip: float | None = None  # s, of the last answered ping

    def heard(self, now: float) -> None:
        """Take note that the other side is there: bytes came, or it took bytes it had not taken before."""
        self._heard = now

    def moved(self, now: float) -> None:
        """Take note that a block came or went out: answers may be waiting behind others."""
        self._moved = now

    def begin_asking(self, now: float) -> None:
        """Ask from now on."""
        self._ask_at = now

    def deadline(self) -> float:
        """When `on_deadline` is to be called."""
        return min(self._ask_at, self._heard + DEAD_AFTER, self._moved + ANSWER_TIME)

    def on_deadline(self, now: float) -> Ping | None:
        """Return a ping when it is time for one."""
        if now < self._ask_at:
            return None
        self._asked, self._ask_at = now, now + PING_EVERY
        self._id += 1
        return Ping(self._id)

    def is_dead(self, now: float) -> bool:
        """Say whether the silence has lasted too long."""
        return now >= self._heard + DEAD_AFTER

    def is_deaf(self, now: float) -> bool:
        """Say whether the other side has left our questions unanswered for too long, whatever else it says."""
        return now >= self._moved + ANSWER_TIME

    def answered(self, pong: Pong, now: float) -> bool:
        """Take an answer; return whether it is a new one. Only one to the last ping gives the round trip."""
        if not self._answered < pong.id <= self._id:
            return False
        self._answered, self._moved = pong.id, now
        if pong.id == self._id:
            self.round_trip = now - self._asked
        return True
