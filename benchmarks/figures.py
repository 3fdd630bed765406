"""What the benchmarks share: medians with their range, tables, the machine they ran on, and how they are called."""

import argparse
import os
import platform
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

__all__ = ["Spread", "as_table", "end_in_order", "machine", "positive", "some_of"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Of at least one value."""
        all_of_them = list(values)
        return cls(statistics.median(all_of_them), min(all_of_them), max(all_of_them))

    def text(self, digits: int, unit: float = 1.0) -> str:
        """As it stands in a table, in multiples of `unit`."""
        median, low, high = (f"{value / unit:.{digits}f}" for value in (self.median, self.min, self.max))
        return f"{median} ({low}–{high})"


def as_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table: the first column is flush left, the others are flush right."""
    lines = [list(heading), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heading))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines
    )


def machine() -> dict[str, str | int]:
    """What it was measured on: a class of machine, no name."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processors": os.cpu_count() or 1,
        "python": platform.python_version(),
    }


def end_in_order() -> None:
    """Make SIGTERM end the program as SIGINT does: whatever it started is ended too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def some_of(names: Sequence[str] | Mapping[str, object]) -> Callable[[str], tuple[str, ...]]:
    """Read an argument: some of the names, between commas; in their own order."""

    def read(text: str) -> tuple[str, ...]:
        chosen = text.split(",")
        for name in chosen:
            if name not in names:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(names)}")
        return tuple(name for name in names if name in chosen)

    return read


def positive(text: str) -> int:
    """Read an argument: a whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)
