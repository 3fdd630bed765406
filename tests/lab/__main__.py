"""Every kind of network with every other one, by real peers in the lab: which path, how often, how soon.

    make lab [ARGS='--tries N --loss PERCENT … PAIR …']

A pair is right when every try took the expected path; with loss, when nine of ten did, or another direct one where it
is direct: a lost SYN costs TCP a second. It is in time when the median is within its limit, which stands for links of
20 ms without loss. Exits with 0 only if all pairs are right.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.figures import as_table, end_in_order, positive
from tests.lab import matrix, rootless
from tests.lab.matrix import Pair
from tests.lab.meetings import MeetingPlace, Outcome
from tests.lab.netns import LabError
from tests.programs import DIRECT, Keys, ProgramFailed

LABS = 2  # at once; a third one on two processors begins to show in the medians
ENOUGH_WITH_LOSS = 0.9  # of the tries


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one pair."""

    pair: Pair
    outcomes: tuple[Outcome, ...]

    def met(self, loss: float) -> list[Outcome]:
        """The tries that took the expected path, or one as good."""
        good = DIRECT if loss and self.pair.path in DIRECT else {self.pair.path}
        return [outcome for outcome in self.outcomes if outcome.path in good]

    @property
    def median(self) -> float | None:
        """In seconds, of the tries in which the peers met at all."""
        seconds = [outcome.seconds for outcome in self.outcomes if not outcome.failure]
        return statistics.median(seconds) if seconds else None

    @property
    def paths(self) -> str:
        """The paths that were taken, the most frequent first."""
        taken = [outcome.path or "none" for outcome in self.outcomes]
        return "/".join(sorted(set(taken), key=taken.count, reverse=True))

    @property
    def failure(self) -> str:
        """What went wrong first, as one of the peers said it."""
        return next((outcome.failure for outcome in self.outcomes if outcome.failure), "")

    def right(self, loss: float) -> bool:
        """Whether enough tries took the expected path."""
        return len(self.met(loss)) >= len(self.outcomes) * (ENOUGH_WITH_LOSS if loss else 1)

    def in_time(self, options: argparse.Namespace) -> bool | None:
        """Whether the median is within the limit; None where no limit is known."""
        if options.loss or options.delay != matrix.DELAY or self.median is None:
            return None
        return self.median <= self.pair.limit


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the matrix or some of it, and print it; return the exit code."""
    options = _parse(arguments)
    try:
        rootless.enter()
        end_in_order()
        rows = run(options)
    except (LabError, ProgramFailed) as failure:
        print(f"the lab failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(_as_data(rows, options), indent=2) if options.json else _as_text(rows, options))
    return 0 if all(row.right(options.loss) for row in rows) else 1


def run(options: argparse.Namespace) -> list[Row]:
    """Try all pairs, several at once; tell of each on standard error when it is done."""
    rows: dict[str, Row] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-matrix-")))
        keys = Keys.make(folder / "a"), Keys.make(folder / "b")
        pool = stack.enter_context(ThreadPoolExecutor(options.labs))
        stack.callback(pool.shutdown, cancel_futures=True)
        waiting = {pool.submit(_try, pair, folder / pair.name, keys, options) for pair in options.pairs}
        for done in as_completed(waiting):
            row = done.result()
            rows[row.pair.name] = row
            print(f"{len(rows)}/{len(options.pairs)}  {'  '.join(_cells(row, options))}", file=sys.stderr, flush=True)
    return [rows[pair.name] for pair in options.pairs]


def _try(pair: Pair, folder: Path, keys: Sequence[Keys], options: argparse.Namespace) -> Row:
    impairment = {"delay": options.delay, "loss": options.loss}
    with MeetingPlace.of(pair, keys, folder, **impairment) as place:
        return Row(pair, tuple(place.meet() for _ in range(options.tries)))


def _as_text(rows: Sequence[Row], options: argparse.Namespace) -> str:
    heading = ("pair", "expected", "paths", "success", "median ms", "limit ms", "")
    parts = [
        f"{options.tries} tries, {options.delay:g} ms and {options.loss:g} % loss on each link",
        as_table(heading, (_cells(row, options) for row in rows)),
    ]
    if square := _square(rows):
        parts.append(square)
    wrong, late = _wrong(rows, options), [row for row in rows if row.in_time(options) is False]
    parts.append(f"{len(rows)} pairs, {len(wrong)} not as expected, {len(late)} over their limit")
    parts += (f"{row.pair.name}: {row.failure}" for row in wrong if row.failure)
    return "\n\n".join(parts)


def _cells(row: Row, options: argparse.Namespace) -> list[str]:
    verdict = "right" if row.right(options.loss) else "WRONG"
    if row.in_time(options) is False:
        verdict += ", LATE"
    median = "-" if row.median is None else f"{1000 * row.median:.0f}"
    limit = "-" if row.in_time(options) is None else f"{1000 * row.pair.limit:.0f}"
    success = f"{len(row.met(options.loss))}/{len(row.outcomes)}"
    return [row.pair.name, row.pair.path, row.paths, success, median, limit, verdict]


def _square(rows: Iterable[Row]) -> str:
    """Kinds by kinds: median and path; empty when no pair is in it."""
    cells = {(row.pair.a, row.pair.b): row for row in rows if row.pair.topology == "two"}
    order = [kind for kind in matrix.ORDER if any(kind in pair for pair in cells)]
    lines = []
    for kind in order:
        line = [kind]
        for other in order:
            row = cells.get((other, kind))
            line.append("" if row is None else "-" if row.median is None else f"{row.paths} {1000 * row.median:.0f}")
        lines.append(line)
    return as_table(("", *order), lines) if cells else ""


def _wrong(rows: Iterable[Row], options: argparse.Namespace) -> list[Row]:
    return [row for row in rows if not row.right(options.loss)]


def _as_data(rows: Iterable[Row], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "tries": options.tries,
        "delay": options.delay,
        "loss": options.loss,
        "pairs": [
            {
                "name": row.pair.name,
                "expected": row.pair.path,
                "right": row.right(options.loss),
                "success": len(row.met(options.loss)),
                "median": row.median,
                "limit": row.pair.limit,
                "in_time": row.in_time(options),
                "tries": [asdict(outcome) for outcome in row.outcomes],
            }
            for row in rows
        ],
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make lab", description="Try pairs of networks in the lab.")
    pairs = "two kinds joined by +, or one kind or shared topology for all of its pairs (all there are)"
    parser.add_argument("pairs", metavar="PAIR", nargs="*", help=pairs)
    parser.add_argument("--tries", metavar="N", type=positive, default=10, help="for each pair (10)")
    parser.add_argument("--delay", metavar="MS", type=float, default=matrix.DELAY, help="of each link, one way (20)")
    parser.add_argument("--loss", metavar="PERCENT", type=float, default=0.0, help="of each link and direction (0)")
    parser.add_argument("--labs", metavar="N", type=positive, default=LABS, help=f"at once ({LABS})")
    parser.add_argument("--json", action="store_true", help="print data instead of tables")
    options = parser.parse_args(arguments)
    try:
        options.pairs = list(dict.fromkeys(pair for name in options.pairs for pair in matrix.find(name)))
    except ValueError as error:
        parser.error(str(error))
    options.pairs = options.pairs or list(matrix.PAIRS)
    return options


if __name__ == "__main__":
    sys.exit(main())
