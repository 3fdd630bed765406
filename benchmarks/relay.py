#!/usr/bin/env python3
"""How fast is a file sent through the mediator's relay, with its limits off? Beside the same file sent directly.

    benchmarks/relay.py [--size MIB] [--rounds N] [--folder DIR] [--json]

Real processes on loopback: a `p2p-server` and two `p2p-peer`, that relay and punch in turn. Each copy is a fresh file
and is compared with the source. benchmarks/README.md says what the figures mean.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import transfer
from benchmarks.figures import Spread, as_table, end_in_order, machine, positive
from benchmarks.transfer import Contestant, CopyFailed, PunchwireCopies, race
from tests.programs import ProgramFailed, Programs

NO_LIMITS = ("--relay-rate", "0", "--relay-bytes", "0")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    options = _parse(arguments)
    size = options.size * transfer.MIB
    end_in_order()
    with Programs() as programs:
        try:
            where = options.folder or transfer.roomy_folder(size)
            folder = Path(programs.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-relay-", dir=where)))
            relayed = PunchwireCopies(folder / "relay", programs, "--relay-only", mediator_flags=NO_LIMITS)
            direct = PunchwireCopies(folder / "direct", programs, "--direct-only")
            contestants = [Contestant("relay", relayed.send), Contestant("direct", direct.send)]
            race(contestants, folder, size, options.rounds)
        except (CopyFailed, ProgramFailed, OSError) as failure:
            print(f"the benchmark failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(
        json.dumps(_as_data(contestants, size, where), indent=2) if options.json else _as_text(contestants, size, where)
    )
    return 0


def _rate(contestant: Contestant, size: int) -> Spread:
    return Spread.of(size / sent.seconds for sent in contestant.sent)


def _as_text(contestants: Sequence[Contestant], size: int, where: Path) -> str:
    on, rounds = machine(), len(contestants[0].sent)
    heading = (
        f"{size // transfer.MIB} MiB on loopback, files in {where}; {rounds} rounds in turn, median (min–max); "
        f"{on['processors']} processors, {on['system']}, Python {on['python']}"
    )
    rows = [
        (it.name, Spread.of(sent.seconds for sent in it.sent).text(3), _rate(it, size).text(0, 1e6))
        for it in contestants
    ]
    return f"{heading}\n\n{as_table(('path', 'seconds', 'MB/s'), rows)}"


def _as_data(contestants: Sequence[Contestant], size: int, where: Path) -> dict[str, object]:
    return {
        "size": size,
        "folder": str(where),
        "machine": machine(),
        "seconds": {it.name: [sent.seconds for sent in it.sent] for it in contestants},
        "bytes_per_second": {it.name: asdict(_rate(it, size)) for it in contestants},
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the rate of one file through the mediator's relay.")
    parser.add_argument("--size", metavar="MIB", type=positive, default=256, help="size of the file in MiB (256)")
    parser.add_argument("--rounds", metavar="N", type=positive, default=5, help="rounds that count (5)")
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help=f"where the files are ({transfer.MEMORY} if they fit)"
    )
    parser.add_argument("--json", action="store_true", help="print data")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
