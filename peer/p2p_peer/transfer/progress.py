"""How far a transfer is, told often enough for a bar and seldom enough to cost nothing; and when it stands still."""

import asyncio
from collections.abc import Callable

from p2p_core.manifest import Manifest
from p2p_core.ranges import Ranges, each

from p2p_peer.events import Phase, TransferProgress, TransferStalled

__all__ = ["LOOK_EVERY", "STALLED_AFTER", "Progress"]

INTERVAL = 0.1  # s between two reports
LOOK_EVERY = 0.5  # s; what nobody tells is looked at: how far a block is on a slow link, and what is being hashed
STALLED_AFTER = 10.0  # s without a byte; told again as often


class Progress:
    """Counts the bytes of one transfer."""

    def __init__(
        self,
        transfer: int,
        manifest: Manifest,
        *,
        outgoing: bool,
        report: Callable[[TransferProgress | TransferStalled], None],
        look: Callable[[], None],
    ) -> None:
        """Begin with waiting for acceptance. `look` is called now and then while blocks should move."""
        self.moved = 0  # bytes over the wire
        self._there = 0  # bytes that were there already
        self._part = 0  # bytes of the blocks that move now
        self._transfer, self._manifest, self._outgoing, self._report = transfer, manifest, outgoing, report
        self._total, self._label = _bytes_of(manifest, ()), manifest.label()
        self._loop, self._look = asyncio.get_running_loop(), look
        self._phase = Phase.WAITING
        self._began = self._told_at = self._moved_at = self._stall_told_at = self._loop.time()
        self._told = 0  # bytes
        self._timer: asyncio.TimerHandle | None = None
        self._tell()

    @property
    def seconds(self) -> float:
        """Since the transfer was accepted."""
        return self._loop.time() - self._began

    @property
    def bytes(self) -> int:
        """How many are there, in whole blocks."""
        return self._there + self.moved

    def accepted(self, wanted: Ranges, there: int = 0) -> None:
        """The entries `wanted`, () for all, are taken, of which `there` bytes are there already: blocks may move."""
        self._there = there
        self._total = _bytes_of(self._manifest, wanted)
        self._began = self._loop.time()
        self.enter(Phase.MOVING)

    def enter(self, phase: Phase) -> None:
        """Do something else from now on."""
        if phase is not self._phase:
            self._phase = phase
            self._moved_at = self._loop.time()
            self._tell()
            self._watch()

    def had(self, count: int) -> None:
        """Of all bytes, `count` were there already, by what is known now."""
        if count != self._there:
            self._there = count
            self._tell_now_and_then()

    def part(self, count: int) -> None:
        """Of the blocks that move now, `count` bytes have."""
        if count != self._part:
            self._part = count
            self._moved_at = self._loop.time()
            self._tell_now_and_then()

    def move(self, count: int, counted: int = 0) -> None:
        """`count` more bytes moved, in whole blocks; `counted` of them had been taken to be there already."""
        self.moved += count
        self._there -= counted
        self._part = 0
        self._moved_at = self._loop.time()
        self._tell_now_and_then()

    def over(self) -> None:
        """Tell nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tell_now_and_then(self) -> None:
        count = self._bytes()
        if self._loop.time() - self._told_at >= INTERVAL or (count == self._total and count != self._told):
            self._tell()

    def _bytes(self) -> int:
        reached = self._there + self.moved + self._part  # what was there may be sent again, when it has changed
        return reached if self._total is None else min(reached, self._total)

    def _tell(self) -> None:
        self._told_at, self._told = self._loop.time(), self._bytes()
        moved = self.moved + self._part
        self._report(
            TransferProgress(
                self._transfer, self._outgoing, self._label, self._phase, self._told, self._total, moved, self.seconds
            )
        )

    def _watch(self) -> None:
        if self._phase not in (Phase.MOVING, Phase.HASHING):
            self.over()
        elif self._timer is None:
            self._timer = self._loop.call_later(LOOK_EVERY, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._look()
        now = self._loop.time()
        if self._phase is Phase.MOVING and now >= max(self._moved_at, self._stall_told_at) + STALLED_AFTER:
            self._stall_told_at = now
            self._report(TransferStalled(self._transfer, self._label, now - self._moved_at))
        self._watch()


def _bytes_of(manifest: Manifest, wanted: Ranges) -> int | None:
    """Return how many bytes the entries `wanted`, () for all, have; None if a stream is among them."""
    if manifest.stream is not None and (not wanted or sum(wanted[-1]) == len(manifest)):
        return None
    return sum(map(manifest.size, each(wanted))) if wanted else manifest.total_bytes
