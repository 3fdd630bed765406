"""What a copy costs: processor time of all processes of both ends, and the memory of the largest of them.

Processor time is what the system has added up for children that have ended, and for theirs: nothing is missed. Memory
is looked at while they run, in Linux' /proc: a process' own high-water mark, which the figures of the ended ones are
not (they begin with what the starting process had).
"""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.processes import children, cpu_seconds

__all__ = ["Meter"]

INTERVAL = 0.1  # s between two looks, which take a thousandth of that; what grew after the last one is not seen


class Meter:
    """Measures while it is entered. All children that are there before, and `server`, are no part of either end."""

    def __init__(self, server: int | None = None) -> None:
        """Measure the processor time of the process `server` by itself."""
        self._server = server
        self._peaks: dict[int, int] = {}  # bytes, by process
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._look_again_and_again, daemon=True)

    def __enter__(self) -> Self:
        self._others = set(children(os.getpid()))
        self._before = _ended_children(), self._server_time()
        self._watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._watch.join()
        before, server_before = self._before
        self.cpu = _ended_children() - before  # s, user and system
        self.server_cpu = self._server_time() - server_before  # s
        self.memory = max(self._peaks.values(), default=0)  # bytes; 0 where there is no /proc, or nothing ran for long

    def _server_time(self) -> float:
        return 0.0 if self._server is None else cpu_seconds(self._server)

    def _look_again_and_again(self) -> None:
        while not self._over.wait(INTERVAL):
            for process in self._descendants():
                # The last look counts: between its fork and its exec, a process has the memory of the one before.
                if peak := _peak(process):
                    self._peaks[process] = peak

    def _descendants(self) -> Iterator[int]:
        open_ends = [child for child in children(os.getpid()) if child not in self._others]
        while open_ends:
            process = open_ends.pop()
            yield process
            open_ends += children(process)


def _ended_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _peak(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
