"""What the other side owes us once it has answered a ping: docs/protocol/session.md, Duties.

Frames are taken in their order, so an answer shows that everything sent before the ping has been read, however slow
the link or a disk may be. A message that is not acknowledged by then never will be; a file that had ended is only
being stored, and that has a limit.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["RECEIPT_TIME", "Duties"]

RECEIPT_TIME = 900.0  # s to store a file that is there; a network's file system may write gigabytes only now


@dataclass(frozen=True, slots=True)
class _Mark:
    ping: int
    message: int  # the last one sent before it
    frames: int  # counted frames sent before it, in the session
    ended: set[int]  # transfers whose end was sent before it, and that are not over


class Duties:
    """Watches one channel."""

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()
        self._receipts: dict[int, float] = {}  # when they are due, by transfer

    def asked(self, ping: int, message: int, frames: int, ended: Iterable[int]) -> None:
        """Take note of a ping: the last message, how many counted frames and which ends of files went before it."""
        self._marks.append(_Mark(ping, message, frames, set(ended)))

    def answered(self, ping: int, now: float) -> tuple[int, int]:
        """Take note of an answer; return up to which message and how many frames the other side must have by now."""
        message = frames = 0
        while self._marks and self._marks[0].ping <= ping:
            mark = self._marks.popleft()
            message, frames = mark.message, mark.frames
            for transfer in mark.ended:
                self._receipts.setdefault(transfer, now + RECEIPT_TIME)
        return message, frames

    def over(self, transfer: int) -> None:
        """Nothing is owed for a transfer any more."""
        self._receipts.pop(transfer, None)
        for mark in self._marks:
            mark.ended.discard(transfer)

    def deadline(self) -> float | None:
        """When the first receipt is due."""
        return min(self._receipts.values(), default=None)

    def overdue(self, now: float) -> list[int]:
        """Return the transfers whose receipt should have come."""
        return [transfer for transfer, due in self._receipts.items() if now >= due]
