"""The load that `benchmarks/mediator.py` puts on a service: swarms in processes of their own, and what came of them."""

import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Self

from benchmarks import mailbox_swarm, swarm, wormhole
from benchmarks.mediator_services import LOOPBACK, Service
from benchmarks.processes import pinned
from tests.programs import PATIENCE, ProgramFailed, end, start_here

__all__ = ["Load", "Matched"]

LEAST = 19  # niceness of a process that takes only what the others leave


@dataclass(frozen=True, slots=True)
class Matched:
    """Pairs that met."""

    pairs: int
    seconds: float
    times: tuple[float, ...]  # s, sorted, from the second advertisement to the match on both sides
    failed: dict[str, int]  # pairs that did not meet, by reason
    cpu: float  # s of the servers
    cpu_beside: dict[str, float]  # s of Redis and haproxy

    @property
    def per_second(self) -> float:
        """Pairs a second."""
        return self.pairs / self.seconds

    @property
    def per_cpu_second(self) -> float:
        """Pairs in a second of the servers' processor time."""
        return self.pairs / self.cpu if self.cpu else 0.0

    @property
    def busy(self) -> float:
        """The servers' share of one processor: near 1 they are the limit, and what drives them is not."""
        return self.cpu / self.seconds

    def centile(self, number: int) -> float:
        """Return the time that so many in a hundred took at most."""
        if len(self.times) < 2:
            return self.times[0] if self.times else 0.0
        return statistics.quantiles(self.times, n=100, method="inclusive")[number - 1]


@dataclass(frozen=True, slots=True)
class Load:
    """How swarms are started."""

    keys: Path  # of all swarms
    waiting_keys: int  # the first ones, which nobody who meets has
    meeting_keys: int  # of each process after them: a mediator lets a key come once a second
    beside: int | None  # processor to run on
    shared: int | None  # that of the server

    def saturate(self, service: Service, seconds: int, *flags: str) -> Matched:
        """Let as many pairs meet as the service can take. What is left of its processor drives it too."""
        duration = ("--pairs", "1000000", "--need", str(self.meeting_keys), "--seconds", str(seconds), *flags)
        places = [(self.beside, 0)] if self.shared is None else [(self.beside, 0), (self.shared, LEAST)]
        swarms = []
        for number, (processor, nice) in enumerate(places):
            first_key = str(self.waiting_keys + number * self.meeting_keys)
            swarms.append([*self._swarm(service, processor, nice), *duration, "--on-go", "--first-key", first_key])
        return self._match(service, swarms, together=True)

    def paced(self, service: Service, seconds: int, rate: int, *flags: str) -> Matched:
        """Let `rate` pairs a second meet."""
        pairs = ("--pairs", str(rate * seconds), "--rate", str(rate))
        keys = ("--first-key", str(self.waiting_keys), "--need", str(self.meeting_keys))
        return self._match(service, [[*self._swarm(service, self.beside), *pairs, *keys, *flags]])

    def mailbox(self, service: Service, pairs: int, together: int, *, encrypt: bool) -> Matched:
        """Let pairs meet at the mailbox server, with TLS if it has it."""
        python = str(wormhole.PROGRAMS / "python")
        argv = [python, mailbox_swarm.__file__, str(service.targets[0]), str(pairs), "--together", str(together)]
        argv += ["--tls"] * encrypt
        with pinned(self.beside):
            return self._match(service, [argv])

    @contextmanager
    def waiting(self, service: Service, count: int, first_key: int = 0) -> Iterator[None]:
        """Let so many peers wait meanwhile. Raises `ProgramFailed` if one of them was lost."""
        argv = [*self._swarm(service, self.beside), "--waiting", str(count), "--first-key", str(first_key)]
        with Held(argv) as held:
            if held.first["waiting"] != count:
                raise ProgramFailed(f"not all are waiting: {held.first}")
            yield
            last = held.finish()
            if last["lost"]:
                raise ProgramFailed(f"peers that waited were lost: {last}")

    @contextmanager
    def flooded(self, service: Service, count: int, rate: int, *flags: str) -> "Iterator[Held]":
        """Hold so many connections that prove nothing meanwhile, and open so many a second."""
        argv = [*self._swarm(service, self.beside), "--flood", str(count), "--rate", str(rate), *flags]
        with Held(argv) as held:
            yield held
            held.finish()

    def churn(self, service: Service, seconds: int) -> dict[str, Any]:
        """Let peers go away in every way, for so long."""
        argv = [*self._swarm(service, self.beside), "--churn", str(seconds), "--need", str(self.meeting_keys)]
        (result,) = run([argv], seconds + PATIENCE)
        return result

    def _swarm(self, service: Service, processor: int | None, nice: int = 0) -> list[str]:
        argv = [sys.executable, swarm.__file__, "--keys", str(self.keys), "--nice", str(nice)]
        argv += [] if processor is None else ["--core", str(processor)]
        for port in service.targets:
            argv += ["--target", f"{LOOPBACK}:{port}"]
        return argv

    def _match(self, service: Service, swarms: Sequence[Sequence[str]], *, together: bool = False) -> Matched:
        cpu, beside = service.cpu(), service.cpu_beside()
        results = run(swarms, 20 * PATIENCE, together=together)
        cpu_after, beside_after = service.cpu(), service.cpu_beside()
        failed: Counter[str] = Counter()
        for result in results:
            failed.update(result.get("failed", {}))
        return Matched(
            pairs=sum(result["pairs"] for result in results),
            seconds=max(result["seconds"] for result in results),
            times=tuple(sorted(time for result in results for time in result["match_seconds"])),
            failed=dict(failed),
            cpu=cpu_after - cpu,
            cpu_beside={name: beside_after[name] - before for name, before in beside.items()},
        )


class Held:
    """A swarm that is there until it is told to end."""

    def __init__(self, argv: Sequence[str]) -> None:
        """Start it."""
        self.first: dict[str, Any] = {}  # what it said when all were there
        self.last: dict[str, Any] = {}  # what it said at its end
        self._process = start_here(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        self.first = self._said()
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process)

    def finish(self) -> dict[str, Any]:
        """End it; return what it said."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self.last = self._said()
        return self.last

    def _said(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise ProgramFailed(f"a swarm ended with exit code {self._process.wait(PATIENCE)}")
        said: dict[str, Any] = json.loads(line)
        return said


def run(swarms: Sequence[Sequence[str]], patience: float, *, together: bool = False) -> list[dict[str, Any]]:
    """Run swarms; return what each said at its end. They begin `together`, if they were told to wait for that."""
    deadline = monotonic() + patience
    with ExitStack() as stack:
        processes = []
        for argv in swarms:
            process = start_here(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.callback(end, process)
            processes.append(process)
        for process in processes if together else ():
            assert process.stdout is not None
            process.stdout.readline()  # it is ready
        for process in processes if together else ():
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        results = []
        for process in processes:
            said, _ = process.communicate(timeout=max(1.0, deadline - monotonic()))
            if process.returncode:
                raise ProgramFailed(f"a swarm ended with exit code {process.returncode}")
            results.append(json.loads(said))
        return results
