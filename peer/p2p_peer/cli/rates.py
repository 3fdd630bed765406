"""How fast transfers are: over their last seconds, as what was an hour ago says nothing of when they will be done."""

from collections import deque

from p2p_peer.events import Phase, TransferProgress

__all__ = ["Rates"]

_WINDOW = 5.0  # s; a shorter one jumps, a longer one lags behind


class Rates:
    """Bytes a second that go over the wire, by transfer."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[tuple[float, int]]] = {}  # seconds and bytes, the oldest first

    def reached(self, progress: TransferProgress) -> float | None:
        """Take note of how far a transfer is, and return its rate; None while nothing moves, or none is known yet."""
        if progress.phase is not Phase.MOVING:
            self._seen.pop(progress.transfer, None)
            return None
        seen = self._seen.setdefault(progress.transfer, deque())
        seen.append((progress.seconds, progress.moved))
        while len(seen) > 1 and seen[1][0] <= progress.seconds - _WINDOW:
            seen.popleft()
        (began, before), (now, moved) = seen[0], seen[-1]
        return (moved - before) / (now - began) if now > began else None

    def over(self, transfer: int) -> None:
        """Forget a transfer."""
        self._seen.pop(transfer, None)
