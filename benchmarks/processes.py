"""What processes take, by Linux' /proc: processor time, memory, open files. Elsewhere all of it is 0.

And on which processors they run: the measured one should not share its processor with those that measure it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["children", "cpu_seconds", "open_files", "pinned", "processors", "proportional", "resident", "tree"]


def children(process: int) -> list[int]:
    """Return the children of all its threads."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def tree(process: int) -> Iterator[int]:
    """Yield the process and all below it."""
    yield process
    for child in children(process):
        yield from tree(child)


def cpu_seconds(process: int) -> float:
    """Return the processor time so far, user and system, of a process and its threads."""
    with suppress(OSError):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def resident(process: int) -> int:
    """Return the bytes of memory it has now, shared libraries included."""
    return _kilobytes(Path(f"/proc/{process}/status"), "VmRSS:")


def proportional(process: int) -> int:
    """Return the same with only its share of what it shares with others (PSS)."""
    return _kilobytes(Path(f"/proc/{process}/smaps_rollup"), "Pss:")


def open_files(process: int) -> int:
    """Return how many files and sockets it has open."""
    with suppress(OSError):
        return len(os.listdir(f"/proc/{process}/fd"))
    return 0


def processors() -> tuple[int, int] | None:
    """Return one processor for what is measured and one for what measures it; None if there is only one."""
    if not hasattr(os, "sched_getaffinity") or len(there := sorted(os.sched_getaffinity(0))) < 2:
        return None
    return there[0], there[-1]


@contextmanager
def pinned(processor: int | None) -> Iterator[None]:
    """Let what is started now run on this processor only, with all its threads; None: on any."""
    if processor is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {processor})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _kilobytes(file: Path, name: str) -> int:
    with suppress(OSError):
        for line in file.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return 0
