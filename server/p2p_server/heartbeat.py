"""Is a peer still there, and how far away? A machine without I/O: docs/protocol/mediator.md, "Heartbeat"."""

__all__ = ["Heartbeat", "HeartbeatLost"]

_SAMPLES = 4  # round trips remembered; the least of them is nearest to the wire, the others waited in some queue


class HeartbeatLost(Exception):
    """No Pong came for as long as the mediator waits."""


class Heartbeat:
    """Pings due, Pongs received, and the round trip measured between them. Times are in seconds."""

    def __init__(self, now: float, interval: float, patience: float, estimate: float) -> None:
        """Start at `now`, with the first Ping due at once; `estimate` is the round trip until the first Pong."""
        self._interval = interval
        self._patience = patience
        self._heard = now
        self._due = now
        self._sent: dict[int, float] = {}
        self._next_id = 1
        self._samples: tuple[float, ...] = ()
        self._estimate = estimate

    @property
    def round_trip(self) -> float:
        """The least of the last few round trips."""
        return min(self._samples, default=self._estimate)

    def deadline(self) -> float:
        """When `on_deadline` wants to be called."""
        return min(self._due, self._heard + self._patience)

    def on_deadline(self, now: float) -> int | None:
        """Return the id of the Ping to send now, if one is due. Raises `HeartbeatLost`."""
        if now >= self._heard + self._patience:
            raise HeartbeatLost
        if now < self._due:
            return None
        ping, self._next_id = self._next_id, self._next_id + 1
        self._sent[ping] = now
        self._due = now + self._interval
        return ping

    def on_pong(self, ping: int, now: float) -> None:
        """Take the answer to `ping`. One that answers nothing, or answers again, changes nothing."""
        sent = self._sent.pop(ping, None)
        if sent is None:
            return
        self._sent = {other: when for other, when in self._sent.items() if other > ping}
        self._heard = now
        self._samples = (*self._samples, now - sent)[-_SAMPLES:]
