#!/usr/bin/env python3
"""How long does it take from the command to a connection? Step by step, on loopback.

    benchmarks/start.py [--rounds N] [--json]

Real processes, a real mediator, a punched connection. Each round measures twice, both peers started together and one
that comes while the other waits: with peers that say when each step is done, and with the plain command `p2p-peer`. The
mediator's key is known already, as at every start but the first. benchmarks/README.md says what the figures mean.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import stepping_peer
from benchmarks.figures import Spread, as_table, end_in_order, machine, positive
from tests.programs import Keys, Mediator, Peer, ProgramFailed, Programs, end

PATIENCE = 60.0  # s for a peer to end
STEPS = {  # as `stepping_peer.py` names them, and what is done then
    "interpreter": "Python runs",
    "imports": "all modules are imported",
    "keys": "both keys are read and checked",
    "MediatorReached": "the mediator's certificate is fetched and known",
    "Admitted": "our key is proved to the mediator",
    "CandidatesFound": "STUN has answered",
    "Advertised": "the offer is signed, sealed and sent",
    "Matched": "the other side's offer has come, and verifies",
    "PathFound": "punched: one connection is chosen",
    "Encrypted": "TLS is up",
    "Authenticated": "both keys are proved: connected",
}
WAITS = "Advertised"  # after this step a peer waits for the other one


@dataclass(frozen=True, slots=True)
class Start:
    """How one peer started, in seconds."""

    steps: dict[str, float]  # how long each took

    @property
    def whole(self) -> float:
        """From the command to the connection."""
        return sum(self.steps.values())


class SteppingPeer:
    """A running `stepping_peer.py`."""

    def __init__(self, mediator: Mediator, own: Keys, other: Keys) -> None:
        where = [mediator.host, str(mediator.port), own.pair, other.public, own.folder / "state"]
        self._started = time.monotonic()
        argv = [sys.executable, stepping_peer.__file__, *map(str, where)]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self._done: dict[str, float] = {}

    def read_until(self, step: str) -> None:
        """Return when `step` is done. Raises `ProgramFailed` when it never is."""
        assert self.process.stdout is not None
        while step not in self._done:
            line = self.process.stdout.readline()
            if not line:
                raise ProgramFailed(f"a peer ended before this was so: {STEPS[step]}")
            name, at = line.split()
            self._done[name] = float(at)

    def start(self) -> Start:
        """Wait until it has connected and ended; return how long that took."""
        self.read_until("Authenticated")
        if self.process.wait(PATIENCE) != 0:
            raise ProgramFailed(f"a peer ended with the exit code {self.process.returncode}")
        times = [self._started, *(self._done[step] for step in STEPS)]
        return Start({step: after - before for step, before, after in zip(STEPS, times, times[1:], strict=False)})


class Benchmark:
    """Two peers and a mediator."""

    def __init__(self, folder: Path, programs: Programs) -> None:
        self._keys = Keys.make(folder / "alice"), Keys.make(folder / "bob")
        self._mediator: Mediator = programs.mediator(folder / "mediator", self._keys)
        self.together: list[Start] = []
        self.second: list[Start] = []
        self.plain_together: list[float] = []
        self.plain_second: list[float] = []

    def round(self) -> None:
        """Measure each once."""
        with Programs() as programs:
            peers = [self._stepping(programs, number) for number in (0, 1)]
            self.together += [peer.start() for peer in peers]
        with Programs() as programs:
            first = self._stepping(programs, 0)
            first.read_until(WAITS)
            second = self._stepping(programs, 1)
            self.second.append(second.start())
            first.start()
        with Programs() as programs:
            self.plain_together += _connected([self._plain(programs, number) for number in (0, 1)])
        with Programs() as programs:
            waiting = self._plain(programs, 0)
            waiting.wait_for("waiting")
            coming = self._plain(programs, 1)
            self.plain_second.append(_connected([coming, waiting])[0])

    def forget(self) -> None:
        """A round that does not count: modules are compiled and in memory, the mediator is known from now on."""
        for measured in (self.together, self.second, self.plain_together, self.plain_second):
            measured.clear()

    def _stepping(self, programs: Programs, number: int) -> SteppingPeer:
        peer = SteppingPeer(self._mediator, self._keys[number], self._keys[1 - number])
        programs.callback(end, peer.process)
        return peer

    def _plain(self, programs: Programs, number: int) -> Peer:
        own, other = self._keys[number], self._keys[1 - number]
        peer: Peer = programs.peer(f"peer {number}", self._mediator, own, other, "--message", "hello")
        return peer


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    options = _parse(arguments)
    end_in_order()
    with Programs() as programs:
        folder = Path(programs.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-start-")))
        _keep_bytecode_in(folder / "bytecode")
        try:
            benchmark = Benchmark(folder, programs)
            benchmark.round()
            benchmark.forget()
            for _ in range(options.rounds):
                benchmark.round()
        except (ProgramFailed, subprocess.TimeoutExpired, OSError) as failure:
            print(f"the benchmark failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(json.dumps(_as_data(benchmark), indent=2) if options.json else _as_text(benchmark, options.rounds))
    return 0


def _connected(peers: Sequence[Peer]) -> list[float]:
    """Return the seconds from the start of each peer to its `connected`, once all have ended well."""
    codes = [peer.exit_code(PATIENCE) for peer in peers]
    if any(codes):
        raise ProgramFailed(f"p2p-peer ended with the exit codes {codes}")
    return [peer.times["connected"] for peer in peers]


def _keep_bytecode_in(folder: Path) -> None:
    """Let all processes keep compiled modules, as they do for most users, but in a folder of their own."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


def _as_text(benchmark: Benchmark, rounds: int) -> str:
    on = machine()
    columns = (benchmark.second, benchmark.together)
    rows = [
        [what, *(Spread.of(start.steps[step] for start in starts).text(1, 1e-3) for starts in columns)]
        for step, what in STEPS.items()
    ]
    rows.append(["the whole", *(Spread.of(start.whole for start in starts).text(1, 1e-3) for starts in columns)])
    plain = (benchmark.plain_second, benchmark.plain_together)
    rows.append(["p2p-peer --json, to its `connected`", *(Spread.of(seconds).text(1, 1e-3) for seconds in plain)])
    heading = [
        f"{rounds} rounds on loopback, milliseconds, median (min–max)",
        f"{on['processors']} processors, {on['system']}, Python {on['python']}",
    ]
    table = as_table(("until", "the other one waits", "both start together"), rows)
    return "\n".join([*heading, "", table])


def _as_data(benchmark: Benchmark) -> dict[str, object]:
    return {
        "machine": machine(),
        "second": [asdict(start) for start in benchmark.second],
        "together": [asdict(start) for start in benchmark.together],
        "plain_second": benchmark.plain_second,
        "plain_together": benchmark.plain_together,
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the start of p2p-peer, step by step.")
    parser.add_argument("--rounds", metavar="N", type=positive, default=20, help="rounds that count (20)")
    parser.add_argument("--json", action="store_true", help="print data, in seconds")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
