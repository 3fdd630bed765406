#!/usr/bin/env python3
"""Does bulk on the relay hold up introductions? Pairs are matched while relays without limits are filled, and without.

    benchmarks/relay_stall.py [--relays N] [--pairs N] [--rate PAIRS] [--json]

Real processes on loopback: a `p2p-server`, one process for each relay, and this one, whose peers are matched. What is
measured is the time from the second Advertise to both Matches. benchmarks/README.md says what the figures mean.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from p2p_core.identity import PeerId, load_key_pair
from p2p_peer.mediator import MediatorClient
from p2p_peer.mediator_identity import recognise
from p2p_peer.trust import TrustStore

from benchmarks import relay_flood
from benchmarks.contestants import UNLIMITED_RELAY
from benchmarks.figures import as_table, end_in_order, machine, positive
from tests.programs import Keys, Mediator, ProgramFailed, Programs, end

OFFER = bytes(2048)  # an ordinary one
PATIENCE = 30.0  # s for a relay to begin or to end


@dataclass(frozen=True, slots=True)
class Times:
    """How long matches took, in seconds."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Self:
        """Of at least one."""
        ordered = sorted(seconds)
        return cls(ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)], ordered[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    options = _parse(arguments)
    end_in_order()
    rows: dict[int, tuple[Times, float]] = {}
    with Programs() as programs:
        folder = Path(programs.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-stall-")))
        keys = [Keys.make(folder / f"keys{n}") for n in range(2 * options.relays + 2)]
        mediator = programs.mediator(folder / "mediator", keys, *UNLIMITED_RELAY)
        try:
            for relays in (0, options.relays):
                rows[relays] = _measure(mediator, keys, relays, options.pairs, options.rate)
        except (ProgramFailed, OSError) as failure:
            print(f"the benchmark failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(json.dumps(_as_data(rows, options), indent=2) if options.json else _as_text(rows, options))
    return 0


def _measure(mediator: Mediator, keys: Sequence[Keys], relays: int, pairs: int, rate: int) -> tuple[Times, float]:
    """Return how long `pairs` matches took while `relays` relays were full, and their bytes/s together."""
    with ExitStack() as stack:
        floods = []
        for number in range(1, relays + 1):
            own = keys[2 * number : 2 * number + 2]
            where = [mediator.host, mediator.port, own[0].folder / "state"]
            argv = [sys.executable, relay_flood.__file__, *where, *(one.pair for one in own)]
            flood = subprocess.Popen(list(map(str, argv)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(end, flood)
            floods.append(flood)
        for flood in floods:
            assert flood.stdout is not None
            if not flood.stdout.readline():
                raise ProgramFailed("a relay did not begin")
        began = time.monotonic()
        times = Times.of(asyncio.run(_matched(mediator, keys[:2], pairs, rate)))
        seconds = time.monotonic() - began
        return times, sum(int(flood.communicate(timeout=PATIENCE)[0]) for flood in floods) / seconds


async def _matched(mediator: Mediator, own: Sequence[Keys], pairs: int, rate: int) -> list[float]:
    """Match two peers again and again, at an even pace; return how long each took."""
    store = TrustStore(own[0].folder / "state")
    identity = await recognise(mediator.host, mediator.port, store=store, expected=None, confirm=None)
    keys = [load_key_pair(one.pair.read_bytes()) for one in own]
    ids = [PeerId.of(one.public_key()) for one in keys]
    first, second = [await MediatorClient.connect(identity, one) for one in keys]
    took = []
    due = time.monotonic()
    for _ in range(pairs):
        await first.advertise(ids[1], OFFER)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        due = max(due + 1 / rate, time.monotonic())
        began = time.monotonic()
        await second.advertise(ids[0], OFFER)
        await asyncio.gather(first.introduction(), second.introduction())
        took.append(time.monotonic() - began)
    await first.close()
    await second.close()
    return took


def _as_text(rows: dict[int, tuple[Times, float]], options: argparse.Namespace) -> str:
    on = machine()
    heading = (
        f"{options.pairs} matches, {options.rate} a second, from the second Advertise to both Matches; "
        f"{on['processors']} processors, {on['system']}, Python {on['python']}"
    )
    lines = [
        (str(relays), *(f"{1000 * value:.1f}" for value in asdict(times).values()), f"{relayed / 1e6:.0f}")
        for relays, (times, relayed) in rows.items()
    ]
    return f"{heading}\n\n{as_table(('full relays', 'p50 ms', 'p99 ms', 'max ms', 'MB/s relayed'), lines)}"


def _as_data(rows: dict[int, tuple[Times, float]], options: argparse.Namespace) -> dict[str, object]:
    return {
        "pairs": options.pairs,
        "pairs_per_second": options.rate,
        "machine": machine(),
        "runs": [
            {"relays": relays, "seconds": asdict(times), "bytes_per_second": relayed}
            for relays, (times, relayed) in rows.items()
        ],
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how long matches take while relays are full.")
    parser.add_argument("--relays", metavar="N", type=positive, default=4, help="full relays (4)")
    parser.add_argument("--pairs", metavar="N", type=positive, default=400, help="matches in each run (400)")
    parser.add_argument("--rate", metavar="PAIRS", type=positive, default=20, help="matches a second (20)")
    parser.add_argument("--json", action="store_true", help="print data")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
