#!/usr/bin/env python3
"""How soon are two peers behind NATs connected? Punchwire and aioice in turn, on the same pair of networks.

    benchmarks/connect.py [--rounds N] [--delay MS] [--json] [PAIR …]

Real processes in the lab of network namespaces (tests/lab), as root or in a user namespace. Punchwire: from both peers
having advertised to the channel on which both keys are proved. aioice: from both having the other's candidates to an
agreed pair of addresses, which is less: it neither introduces nor encrypts. benchmarks/README.md says more.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import ice_peer
from benchmarks.figures import Spread, as_table, end_in_order, machine, positive
from tests.lab import matrix, rootless
from tests.lab.matrix import Pair
from tests.lab.meetings import MeetingPlace, Outcome
from tests.lab.nat import Lab
from tests.lab.netns import LabError
from tests.programs import PATIENCE, Keys, ProgramFailed, Programs, end

PAIRS = (
    "port-restricted+port-restricted",
    "full-cone+symmetric",
    "port-restricted+symmetric",  # birthday probing
    "symmetric+symmetric",  # relay
)
PUNCHWIRE, AIOICE = "Punchwire", "aioice"
ICE_TIME = 3 * PATIENCE  # s; ICE takes its time to give up


@dataclass(slots=True)
class Contestant:
    """One way to connect, and what became of it each time."""

    name: str
    meet: Callable[[], Outcome]
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def seconds(self) -> list[float]:
        """Of the times that it connected."""
        return [outcome.seconds for outcome in self.outcomes if not outcome.failure]

    @property
    def paths(self) -> str:
        """The paths it took."""
        return "/".join(sorted({outcome.path for outcome in self.outcomes if outcome.path}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    options = parse(arguments)
    try:
        rootless.enter()
        end_in_order()
        with tempfile.TemporaryDirectory(prefix="punchwire-connect-") as name:
            folder = Path(name)
            keys = Keys.make(folder / "alice"), Keys.make(folder / "bob")
            measured = {pair.name: race(pair, keys, folder / pair.name, options) for pair in options.pairs}
    except (LabError, ProgramFailed) as failure:
        print(f"the benchmark failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(json.dumps(_as_data(measured, options), indent=2) if options.json else as_text(measured, options))
    return 0 if all(ours.seconds for ours, _ in measured.values()) else 1


def race(pair: Pair, keys: Sequence[Keys], folder: Path, options: argparse.Namespace) -> list[Contestant]:
    """Let each connect in turn, `rounds` times, after one round that does not count."""
    with MeetingPlace.of(pair, keys, folder, delay=options.delay) as place, Programs() as programs:
        ice = IceMeetings(place.lab, place.mediator.stun_port, programs)
        contestants = [Contestant(PUNCHWIRE, place.meet), Contestant(AIOICE, ice.meet)]
        for number in range(options.rounds + 1):
            for contestant in contestants:
                outcome = contestant.meet()
                if number:
                    contestant.outcomes.append(outcome)
    return contestants


class IceMeetings:
    """Two processes with aioice, and a server of their own; the STUN server is Punchwire's."""

    def __init__(self, lab: Lab, stun_port: int, programs: Programs) -> None:
        self._lab = lab
        server = self._start("med", "serve", lab.mediator_address)
        programs.callback(end, server)
        assert server.stdout is not None
        self._where = (lab.mediator_address, server.stdout.readline().strip(), str(stun_port))

    def meet(self) -> Outcome:
        """Let them connect once."""
        processes = [self._start(*each, *self._where) for each in (("a", "initiator"), ("b", "responder"))]
        try:
            said = [process.communicate(timeout=ICE_TIME) for process in processes]
        except subprocess.TimeoutExpired:
            return Outcome(failure=f"not done within {ICE_TIME:g} s")
        finally:
            for process in processes:
                end(process)
        if any(process.returncode for process in processes):
            return Outcome(failure=next(errors.strip() for _, errors in said if errors))
        return Outcome("udp", max(float(seconds) for seconds, _ in said))

    def _start(self, host: str, *arguments: str) -> subprocess.Popen[str]:
        argv = [sys.executable, ice_peer.__file__, *arguments]
        return self._lab.popen(host, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def as_text(measured: dict[str, list[Contestant]], options: argparse.Namespace) -> str:
    """Lay out what was measured of each pair."""
    on = machine()
    heading = ("pair", "who", "connected", "path", "milliseconds, median (min–max)")
    rows = [
        (name, contestant.name, f"{len(contestant.seconds)}/{options.rounds}", contestant.paths or "-", _ms(contestant))
        for name, contestants in measured.items()
        for contestant in contestants
    ]
    return (
        f"{options.delay:g} ms on each link, one way; {options.rounds} rounds in turn; "
        f"{on['processors']} processors, {on['system']}, Python {on['python']}\n\n{as_table(heading, rows)}"
    )


def _ms(contestant: Contestant) -> str:
    return Spread.of(contestant.seconds).text(0, 1e-3) if contestant.seconds else "-"


def _as_data(measured: dict[str, list[Contestant]], options: argparse.Namespace) -> dict[str, Any]:
    return {
        "machine": machine(),
        "rounds": options.rounds,
        "delay": options.delay,
        "pairs": {
            name: {
                contestant.name: {
                    "seconds": contestant.seconds,
                    "paths": [outcome.path for outcome in contestant.outcomes],
                    "failures": [outcome.failure for outcome in contestant.outcomes if outcome.failure],
                }
                for contestant in contestants
            }
            for name, contestants in measured.items()
        },
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; `pairs` of the result are those of the matrix."""
    parser = argparse.ArgumentParser(prog="connect.py", description="Compare how soon Punchwire and aioice connect.")
    parser.add_argument("pairs", metavar="PAIR", nargs="*", help=f"as of `make lab` ({' '.join(PAIRS)})")
    parser.add_argument("--rounds", metavar="N", type=positive, default=10, help="that count (10)")
    parser.add_argument("--delay", metavar="MS", type=float, default=matrix.DELAY, help="of each link, one way (20)")
    parser.add_argument("--json", action="store_true", help="print data instead of a table")
    options = parser.parse_args(arguments)
    try:
        options.pairs = [pair for name in options.pairs or PAIRS for pair in matrix.find(name)]
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    sys.exit(main())
