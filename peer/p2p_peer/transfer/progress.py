"""How far a transfer is, told often enough for a bar and seldom enough to cost nothing."""

import time
from collections.abc import Callable

from p2p_peer.events import FileProgress

__all__ = ["Progress"]

_INTERVAL = 0.1  # s between two reports


class Progress:
    """Counts the bytes of one transfer."""

    def __init__(self, transfer: int, name: str, total: int, report: Callable[[FileProgress], None]) -> None:
        self._transfer, self._name, self._total, self._report = transfer, name, total, report
        self._bytes = 0
        self._reported = 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since the transfer was accepted."""
        return time.monotonic() - self._started

    def reached(self, count: int) -> None:
        """`count` bytes are done, of all. What is done a second time is not told."""
        if count <= self._bytes:
            return
        self._bytes = count
        now = time.monotonic()
        if now - self._reported >= _INTERVAL or self._bytes == self._total:
            self._reported = now
            self._report(FileProgress(self._transfer, self._name, self._bytes, self._total, now - self._started))
