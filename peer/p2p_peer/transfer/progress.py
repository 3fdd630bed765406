"""How far a transfer is, told often enough for a bar and seldom enough to cost nothing; and when it stands still."""

import asyncio
from collections.abc import Callable

from p2p_peer.events import Phase, TransferProgress, TransferStalled

__all__ = ["STALLED_AFTER", "Progress"]

INTERVAL = 0.1  # s between two reports
STALLED_AFTER = 10.0  # s without a byte; told again as often


class Progress:
    """Counts the bytes of one transfer."""

    def __init__(
        self,
        transfer: int,
        label: str,
        total: int | None,
        *,
        outgoing: bool,
        report: Callable[[TransferProgress | TransferStalled], None],
        rest: Callable[[], int],
    ) -> None:
        """Begin with waiting for acceptance; `total` is in bytes, None for a stream.

        `rest` is how many bytes are still to move of the block that moves now: on a slow link one takes long.
        """
        self.moved = 0  # bytes over the wire
        self.there = 0  # bytes that were there already
        self.total = total
        self._transfer, self._label, self._outgoing, self._report = transfer, label, outgoing, report
        self._rest, self._rest_before = rest, 0
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.WAITING
        self._began = self._told_at = self._moved_at = self._loop.time()
        self._stall: asyncio.TimerHandle | None = None
        self._tell()

    @property
    def seconds(self) -> float:
        """Since the transfer was accepted."""
        return self._loop.time() - self._began

    def accepted(self, total: int | None) -> None:
        """The transfer begins; `total` bytes of it are wanted."""
        self.total = total
        self._began = self._loop.time()
        self.enter(Phase.MOVING)

    def enter(self, phase: Phase) -> None:
        """Do something else from now on."""
        if phase is not self._phase:
            self._phase = phase
            self._tell()
            self._watch()

    def had(self, count: int) -> None:
        """Of all bytes, `count` were there already, by what is known now."""
        if count != self.there:
            self.there = count
            self._tell_now_and_then()

    def move(self, count: int) -> None:
        """`count` more bytes went over the wire, or came over it."""
        self.moved += count
        self._moved_at = self._loop.time()
        self._tell_now_and_then()

    def over(self) -> None:
        """Tell nothing more."""
        if self._stall is not None:
            self._stall.cancel()

    def _tell_now_and_then(self) -> None:
        if self._loop.time() - self._told_at >= INTERVAL or self._bytes() == self.total:
            self._tell()

    def _bytes(self) -> int:
        reached = self.there + self.moved  # what was there may be sent again, when it has changed
        return reached if self.total is None else min(reached, self.total)

    def _tell(self) -> None:
        self._told_at = self._loop.time()
        self._report(
            TransferProgress(
                self._transfer,
                self._outgoing,
                self._label,
                self._phase,
                self._bytes(),
                self.total,
                self.moved,
                self.seconds,
            )
        )

    def _watch(self) -> None:
        """Have it noticed when nothing moves that should."""
        self.over()
        if self._phase is Phase.MOVING:
            self._moved_at = self._loop.time()
            self._stall = self._loop.call_at(self._moved_at + STALLED_AFTER, self._look)

    def _look(self) -> None:
        now, rest = self._loop.time(), self._rest()
        if rest != self._rest_before:
            self._rest_before, self._moved_at = rest, now
        due = self._moved_at + STALLED_AFTER
        if now >= due:
            self._report(TransferStalled(self._transfer, self._label, now - self._moved_at))
            due = now + STALLED_AFTER
        self._stall = self._loop.call_at(due, self._look)
