"""The summary of a campaign: each kind of fault, how often it happened, and what came of it."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

from tests.faults.scenario import Kind

__all__ = ["table"]

HEADER: Final = ("fault", "times", "runs", "went on", "started again", "wrong", "slowest, of its deadline")


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return it as lines; the last one is of all runs. A run with several kinds counts for each."""
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    times: dict[str, int] = defaultdict(int)
    for result in results:
        for kind in result["happened"]:
            times[kind] += 1
            if result not in runs[kind]:
                runs[kind].append(result)
    rows = [_row(kind.value, times[kind.value], runs[kind.value]) for kind in Kind if times[kind.value]]
    rows.append(_row("nothing", 0, [result for result in results if not result["happened"]]))
    rows.append(_row("all", sum(times.values()), results))
    widths = [max(len(row[column]) for row in (HEADER, *rows)) for column in range(len(HEADER))]
    return "\n".join(_line(row, widths) for row in (HEADER, *rows))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join((first.strip().ljust(widths[0]), *others))


def _row(name: str, times: int, runs: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    well = [run for run in runs if not run["wrong"]]
    mended = sum(bool(run.get("mended")) for run in well)
    slowest = max(_slowest(runs), default=0.0)
    counts = (times, len(runs), len(well) - mended, mended, len(runs) - len(well))
    return (name, *map(str, counts), f"{slowest:.0%}")


def _slowest(runs: Iterable[dict[str, Any]]) -> Iterable[float]:
    return (float(run["slowest"]) for run in runs)
