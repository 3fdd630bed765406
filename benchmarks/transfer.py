#!/usr/bin/env python3
"""How fast are files sent? Punchwire on each of its paths, a plain socket, scp, rsync, tar and magic-wormhole in turn.

    benchmarks/transfer.py [--cases CASE,…] [--contestants WHO,…] [--rounds N] [--size MIB] [--files N]
                           [--folder DIR] [--json]

Real processes on loopback, each with both of its ends; every copy is compared with the source. What is measured is the
time, the processor time of both ends, and their memory. magic-wormhole is installed into an environment of its own.
Exits with 0 only if all copies were right. benchmarks/README.md says what the figures mean.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import sources, temporary_sshd, wormhole
from benchmarks.contestants import Contestant, CopyFailed, Job, PlainSocket, Punchwire, Rsync, Scp, TarOverSsh
from benchmarks.figures import end_in_order, positive, some_of
from benchmarks.measured import NAMES, Copied, Cost, Measured, as_data, as_text
from benchmarks.meter import Meter
from benchmarks.sources import MIB, Source
from tests.programs import ProgramFailed, Programs

MEMORY = Path("/dev/shm")  # a file system in memory: no disk sets the pace
ROOM = 4  # times the largest source: it, a copy, and something to spare
OVER_SSH = ("scp", "scp-default", "rsync", "tar")


@dataclass(frozen=True, slots=True)
class Case:
    """Something to send."""

    title: str
    make: Callable[[Path, int, int], Source]  # in a folder, with a size in bytes and a number of files
    in_place: bool = False


CASES = {
    "in-place": Case("one file, over one that is there", lambda *how: sources.large_file(*how[:2]), in_place=True),
    "fresh": Case("one file, into a fresh one", lambda *how: sources.large_file(*how[:2])),
    "small": Case("small files in folders", lambda folder, _, files: sources.small_files(folder, files)),
    "mixed": Case("a mixed folder", lambda folder, size, files: sources.mixed_folder(folder, size, files // 10)),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables; return the exit code."""
    options = _parse(arguments)
    size = options.size * MIB
    end_in_order()
    with Programs() as programs:
        try:
            where = (options.folder or roomy_folder(size)).resolve()
            folder = Path(programs.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-transfer-", dir=where)))
            contestants = gather(options.contestants, folder, programs)
            measured = {
                name: race(CASES[name], contestants, folder, size=size, files=options.files, rounds=options.rounds)
                for name in options.cases
            }
        except (CopyFailed, ProgramFailed, temporary_sshd.SshFailed, OSError) as failure:
            print(f"the benchmark failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    if options.json:
        print(json.dumps({"folder": str(where), "rounds": options.rounds} | as_data(measured), indent=2))
    else:
        print(as_text(measured, folder=str(where), rounds=options.rounds))
    return 0


def gather(wanted: Sequence[str], folder: Path, programs: Programs) -> dict[str, Contestant]:
    """Start what the wanted contestants need. Who cannot be had is left out, and that is said."""
    there: dict[str, Contestant] = {"socket": PlainSocket()}
    missing: dict[str, str] = {}
    if {"tcp", "quic", "relay"} & set(wanted):
        there |= Punchwire.on_each_path(folder / "punchwire", programs)
    if set(OVER_SSH) & set(wanted):
        if lacking := temporary_sshd.missing_programs():
            missing |= dict.fromkeys(OVER_SSH, f"{', '.join(lacking)}: {temporary_sshd.MISSING}")
        else:
            sshd = programs.enter_context(temporary_sshd.TemporarySshd(folder / "ssh"))
            there |= {"scp": Scp(sshd), "scp-default": Scp(sshd, cipher=None), "rsync": Rsync(sshd)}
            there["tar"] = TarOverSsh(sshd)
        if shutil.which("rsync") is None:
            missing["rsync"] = "rsync: Debian and Ubuntu have it in rsync"
    if "wormhole" in wanted:
        if why := wormhole.install():
            missing["wormhole"] = f"magic-wormhole: {why}"
        else:
            there["wormhole"] = wormhole.MagicWormhole.start(folder / "wormhole", programs)
    for name in wanted:
        if name in missing:
            print(f"{NAMES[name]} is left out, as this is not installed: {missing[name]}", file=sys.stderr)
    return {name: there[name] for name in wanted if name not in missing}


def race(
    case: Case, contestants: Mapping[str, Contestant], folder: Path, *, size: int, files: int, rounds: int
) -> Measured:
    """Let each copy in turn, `rounds` times, after one round that does not count."""
    sending, inbox = folder / "sending", folder / "inbox"
    sending.mkdir()
    source = case.make(sending, size, files)
    empty = sources.large_file(folder, 0)
    able = {
        name: contestant for name, contestant in contestants.items() if source.is_tree or not contestant.for_trees_only
    }
    measured = Measured(case.title, source, case.in_place)
    for number in range(rounds + 1):
        for name, contestant in able.items():
            inbox.mkdir()
            copied = _measure(contestant, Job(source, inbox, case.in_place), Job(empty, inbox), folder / "scratch")
            if difference := source.difference(inbox / source.path.name, contestant.keeps):
                raise CopyFailed(f"the copy made by {NAMES.get(name, name)} is not what was sent: {difference}")
            shutil.rmtree(inbox)
            if number:
                measured.copied.setdefault(name, []).append(copied)
    shutil.rmtree(sending)
    return measured


def _measure(contestant: Contestant, job: Job, nothing: Job, scratch: Path) -> Copied:
    """Copy `nothing`, and then what is to be copied."""
    _, setup = _timed(contestant, nothing)
    nothing.target.unlink()
    # A virtual machine gives free memory back to its host after a while. Whoever writes next pays for that, with more
    # time than the copy takes. So everybody finds as much of it that was in use just before.
    if job.in_place:
        sources.write_over(job.target, job.source.bytes)
    sources.write_over(scratch, job.source.bytes)
    scratch.unlink()
    there_before = job.target.stat().st_ino if job.in_place else None
    told, cost = _timed(contestant, job)
    in_place = job.target.exists() and job.target.stat().st_ino == there_before
    return Copied(cost, setup, told, in_place)


def _timed(contestant: Contestant, job: Job) -> tuple[float, Cost]:
    """Copy; return how long the contestant says that it took, and what it cost."""
    with Meter(contestant.server) as meter:
        began = time.monotonic()
        told = contestant.copy(job)
        wall = time.monotonic() - began
        contestant.settle()
    return told, Cost(wall, meter.cpu, meter.server_cpu, meter.memory)


def roomy_folder(size: int) -> Path:
    """Return a folder in memory if the files fit, else the system's for temporary files."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and _room_in_memory() >= ROOM * size:
        return MEMORY
    return Path(tempfile.gettempdir())


def _room_in_memory() -> int:
    file_system = os.statvfs(MEMORY)
    return min(file_system.f_bavail * file_system.f_frsize, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare how fast files are sent, and what it takes.")
    parser.add_argument("--cases", metavar="CASE,…", type=some_of(CASES), default=tuple(CASES), help=_all(CASES))
    parser.add_argument("--contestants", metavar="WHO,…", type=some_of(NAMES), default=tuple(NAMES), help=_all(NAMES))
    parser.add_argument("--rounds", metavar="N", type=positive, default=5, help="rounds that count (5)")
    parser.add_argument("--size", metavar="MIB", type=positive, default=1024, help="size of the file in MiB (1024)")
    parser.add_argument("--files", metavar="N", type=positive, default=20_000, help="how many small files (20000)")
    parser.add_argument("--folder", metavar="DIR", type=Path, help=f"where the files are ({MEMORY} if they fit)")
    parser.add_argument("--json", action="store_true", help="print data")
    return parser.parse_args(arguments)


def _all(names: Mapping[str, object]) -> str:
    return f"some of {','.join(names)} (all)"


if __name__ == "__main__":
    sys.exit(main())
