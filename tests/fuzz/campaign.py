"""A fuzzing campaign: each group for a while in a process of its own, two at a time, and what came of it.

Each group's corpus, the inputs that reach something which no other one does, is kept in `.fuzz/corpus/GROUP`.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.targets import GROUPS

__all__ = ["Outcome", "campaign"]

ROOT = Path(__file__).parents[2]
KEPT = ROOT / ".fuzz"
AT_ONCE = 2  # processes
MEMORY = 1024  # MiB that one may have, of which 100 are the programs' own
PATIENCE = 30  # s that one input may take, on a machine that does other things as well
LONGEST = 8192  # bytes of an input; what was valid and longer stays longer
_STATUS = re.compile(r"^#(\d+)\t\w+ +cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_DONE = re.compile(r"^Done (\d+) runs in (\d+) second", re.MULTILINE)
_PACKAGES = ("proto", "core", "server", "peer")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one group."""

    group: str
    seconds: float
    runs: int
    coverage: int  # edges of the bytecode that were reached
    corpus: int  # inputs that are kept
    is_whole: bool  # it came to its end, and did not break off
    findings: tuple[Path, ...]  # inputs that a parser did not take as it should
    log: Path


def campaign(groups: Sequence[str], seconds: int) -> Iterator[Outcome]:
    """Fuzz `groups` for so many seconds each; yield what came of each in their order."""
    program = _write_program()  # before there are threads: one that starts a process would keep it open for writing
    with ThreadPoolExecutor(AT_ONCE) as workers:
        yield from workers.map(lambda group: _Group(group, program).fuzz(seconds), groups)


class _Group:
    def __init__(self, name: str, program: Path) -> None:
        self._name, self._program = name, program
        self._corpus, self._new = KEPT / "corpus" / name, KEPT / "new" / name
        self._crashes, self._log = KEPT / "crashes" / name, KEPT / "logs" / f"{name}.log"
        for folder in (self._corpus, self._crashes, self._log.parent):
            folder.mkdir(parents=True, exist_ok=True)

    def fuzz(self, seconds: int) -> Outcome:
        self._write_seeds()
        begun = time.monotonic()
        before = set(self._crashes.iterdir())
        log = self._run(
            f"-max_total_time={seconds}",
            f"-artifact_prefix={self._crashes}/",
            str(self._corpus),
            PUNCHWIRE_FUZZ_CRASHES=str(self._crashes),
        )
        self._log.write_text(log)
        took = time.monotonic() - begun
        self._minimise()
        new = sorted(set(self._crashes.iterdir()) - before)
        found = tuple(self._finding(crash) for crash in new if not crash.name.startswith("slow-unit"))
        status, done = _STATUS.findall(log), _DONE.search(log)
        last = status[-1] if status else ("0", "0", "0", "0")
        return Outcome(
            self._name,
            float(done[2]) if done else took,
            int(done[1] if done else last[0]),
            int(last[1]),
            len(list(self._corpus.iterdir())),
            done is not None,
            found,
            self._log,
        )

    def _write_seeds(self) -> None:
        for number, target in enumerate(GROUPS[self._name]):
            for place, seed in enumerate(target.seeds()):
                (self._corpus / f"seed-{target.name}-{place}").write_bytes(bytes([number]) + seed)

    def _run(self, *arguments: str, **more: str) -> str:
        environment = (
            os.environ
            | more
            | {
                "PYTHONPATH": os.pathsep.join(str(ROOT / package) for package in _PACKAGES),
                "PUNCHWIRE_FUZZ_GROUP": self._name,
                "PUNCHWIRE_FUZZ_PROGRAM": str(self._program),
            }
        )
        limits = (f"-rss_limit_mb={MEMORY}", f"-timeout={PATIENCE}", f"-max_len={LONGEST}", "-print_final_stats=1")
        done = subprocess.run(
            [self._program, *limits, *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        return done.stdout.decode(errors="replace")

    def _minimise(self) -> None:
        """Keep of the corpus what reaches something that nothing smaller reaches."""
        shutil.rmtree(self._new, ignore_errors=True)
        self._new.mkdir(parents=True)
        self._run("-merge=1", f"-artifact_prefix={self._new}/crash-", str(self._new), str(self._corpus))
        kept = [path for path in self._new.iterdir() if not path.name.startswith("crash-")]
        if kept:
            shutil.rmtree(self._corpus)
            self._new.rename(self._corpus)

    def _finding(self, crash: Path) -> Path:
        """Put what was found where `--repeat` takes it: below its target's name, without the byte that chose that."""
        data = crash.read_bytes()
        targets = GROUPS[self._name]
        folder = KEPT / "findings" / targets[data[0] % len(targets) if data else 0].name
        folder.mkdir(parents=True, exist_ok=True)
        found = folder / crash.name
        found.write_bytes(data[1:])
        return found


def _write_program() -> Path:
    """Return a program that fuzzes: libFuzzer wants one that it can start again with no more than arguments."""
    program = KEPT / "guided"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.fuzz.guided "$@"\n')
    program.chmod(0o755)
    return program
