#!/usr/bin/env python3
"""How fast is a file sent? Punchwire, a plain TCP connection and scp in turn, and their ratios.

    benchmarks/transfer.py [--size MIB] [--rounds N] [--folder DIR] [--without-scp] [--json]

Real processes on loopback: two `p2p-peer` that meet through a mediator, one sending, one receiving; two small
programs with a plain socket; `scp` with AES-128-GCM through an sshd of its own. Each writes a fresh file and every copy
is compared with the source. Exits with 0 only if all were right. benchmarks/README.md says what the figures mean.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from blake3 import blake3

from benchmarks import plain_socket
from benchmarks.figures import Spread, as_table, end_in_order, machine, positive
from benchmarks.temporary_sshd import MISSING, SshFailed, TemporarySshd, missing_programs
from tests.programs import Keys, Mediator, ProgramFailed, Programs, end

MIB = 1024 * 1024
MEMORY = Path("/dev/shm")  # a file system in memory: no disk sets the pace
ROOM = 3  # times the file: the source, a copy, and something to spare
PATIENCE = 3600.0  # s for one transfer
MEETING_TIME = 60.0  # s for one peer to wait for the other
PUNCHWIRE, SOCKET, SCP = "Punchwire", "plain socket", "scp"


class CopyFailed(Exception):
    """A copy is not what the source is, or did not come to be."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One transfer."""

    seconds: float  # of the file alone
    wall: float  # of the whole command, from the start of the first process to the end of the last


@dataclass(slots=True)
class Contestant:
    """One way to send the file, and how long it took each time."""

    name: str
    send: Callable[[Path, Path], Sent]
    sent: list[Sent] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    options = _parse(arguments)
    size = options.size * MIB
    missing = [] if options.without_scp else missing_programs()
    if missing:
        print(f"not installed: {', '.join(missing)} ({MISSING}); --without-scp leaves scp out", file=sys.stderr)
        return 1
    end_in_order()
    with Programs() as programs:
        try:
            where = options.folder or roomy_folder(size)
            folder = Path(programs.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-transfer-", dir=where)))
            contestants = [
                Contestant(PUNCHWIRE, PunchwireCopies(folder, programs).send),
                Contestant(SOCKET, send_plainly),
            ]
            if not options.without_scp:
                sshd = programs.enter_context(TemporarySshd(folder / "ssh"))
                contestants.append(Contestant(SCP, ScpCopies(folder, sshd).send))
            race(contestants, folder, size, options.rounds)
        except (CopyFailed, ProgramFailed, SshFailed, OSError) as failure:
            print(f"the benchmark failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    if options.json:
        print(json.dumps(_as_data(contestants, size, where), indent=2))
    else:
        print(_as_text(contestants, size, where))
    return 0


def race(contestants: Sequence[Contestant], folder: Path, size: int, rounds: int) -> None:
    """Let each send the file in turn, `rounds` times, after one round that does not count."""
    source = folder / "source.bin"
    digest = _make(source, size)
    for number in range(rounds + 1):
        for contestant in contestants:
            copy = folder / "inbox" / source.name
            copy.parent.mkdir()
            _touch_memory(folder, size)
            sent = contestant.send(source, copy)
            if not copy.exists() or _digest(copy) != digest:
                raise CopyFailed(f"the copy made by {contestant.name} is not what was sent")
            copy.unlink()
            copy.parent.rmdir()
            if number:
                contestant.sent.append(sent)


class PunchwireCopies:
    """The real command, twice, and a mediator."""

    def __init__(self, folder: Path, programs: Programs, *flags: str, mediator_flags: Sequence[str] = ()) -> None:
        """Give `flags` to both peers."""
        self._alice, self._bob = Keys.make(folder / "alice"), Keys.make(folder / "bob")
        keys = [self._alice, self._bob]
        self._mediator: Mediator = programs.mediator(folder / "mediator", keys, *mediator_flags)
        self._flags = flags

    def send(self, source: Path, copy: Path) -> Sent:
        """Send `source`; the copy has its name, and `copy` is where that is."""
        with Programs() as programs:
            began = time.monotonic()
            flags = ("--wait", str(MEETING_TIME), *self._flags)  # else one would wait for ever for another that failed
            receive, send = ("--yes", "--receive", copy.parent), ("--send", source)
            bob = programs.peer("bob", self._mediator, self._bob, self._alice, *flags, *receive)
            alice = programs.peer("alice", self._mediator, self._alice, self._bob, *flags, *send)
            sent = alice.wait_for("file_sent", PATIENCE)
            codes = (alice.exit_code(), bob.exit_code())
            wall = time.monotonic() - began
            received = bob.wait_for("file_received")
        if codes != (0, 0):
            raise CopyFailed(f"p2p-peer ended with the exit codes {codes}")
        return Sent(max(sent["seconds"], received["seconds"]), wall)


def send_plainly(source: Path, copy: Path) -> Sent:
    """Copy `source` with `plain_socket.py`."""
    program = [sys.executable, plain_socket.__file__]
    began = time.monotonic()
    receiver = subprocess.Popen([*program, "receive", copy], stdout=subprocess.PIPE, text=True)
    try:
        assert receiver.stdout is not None
        port = receiver.stdout.readline().strip()
        sender = subprocess.run([*program, "send", source, port], stdout=subprocess.PIPE, text=True, check=False)
        if sender.returncode != 0 or receiver.wait(PATIENCE) != 0:
            raise CopyFailed("the plain connection broke")
        wall = time.monotonic() - began
    finally:
        end(receiver)
    return Sent(float(sender.stdout), wall)


class ScpCopies:
    """scp tells no times of its own. The file alone is the whole command less one that copies an empty file."""

    def __init__(self, folder: Path, sshd: TemporarySshd) -> None:
        self._sshd = sshd
        self._empty = folder / "empty.bin"
        self._empty.touch()

    def send(self, source: Path, copy: Path) -> Sent:
        """Copy an empty file, then `source`."""
        empty_copy = copy.with_name(self._empty.name)
        setup = self._timed(self._empty, empty_copy)
        empty_copy.unlink()
        wall = self._timed(source, copy)
        return Sent(wall - setup, wall)

    def _timed(self, source: Path, copy: Path) -> float:
        began = time.monotonic()
        self._sshd.copy(source, copy)
        return time.monotonic() - began


def _make(path: Path, size: int) -> str:
    """Write random bytes; return their BLAKE3. They are in memory now, and stay there if there is room."""
    hasher = blake3()
    with path.open("wb") as file:
        for _ in range(size // MIB):
            data = os.urandom(MIB)
            hasher.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())  # else it is written to the disk while others are measured
    return hasher.hexdigest()


def _touch_memory(folder: Path, size: int) -> None:
    """Write and remove a file as large, so that everybody finds memory alike.

    A virtual machine gives free memory back to its host after a while. Whoever writes next pays for that, with more
    time than the copy takes.
    """
    scratch, zeros = folder / "scratch", bytes(MIB)
    with scratch.open("wb") as file:
        for _ in range(size // MIB):
            file.write(zeros)
    scratch.unlink()


def _digest(path: Path) -> str:
    return blake3().update_mmap(path).hexdigest()


def roomy_folder(size: int) -> Path:
    """Return a folder in memory if the files fit, else the system's for temporary files."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and _room_in_memory() >= ROOM * size:
        return MEMORY
    return Path(tempfile.gettempdir())


def _room_in_memory() -> int:
    file_system = os.statvfs(MEMORY)
    return min(file_system.f_bavail * file_system.f_frsize, os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def _ratios(contestants: Sequence[Contestant], figure: Callable[[Sent], float]) -> dict[str, Spread]:
    """How many times as fast as each other Punchwire is, round by round."""
    punchwire, *others = contestants
    return {
        other.name: Spread.of(figure(it) / figure(ours) for ours, it in zip(punchwire.sent, other.sent, strict=True))
        for other in others
    }


_FIGURES: dict[str, Callable[[Sent], float]] = {
    "file alone": lambda sent: sent.seconds,
    "whole command": lambda sent: sent.wall,
}


def _as_text(contestants: Sequence[Contestant], size: int, where: Path) -> str:
    on, rounds = machine(), len(contestants[0].sent)
    paragraphs = [
        f"{size // MIB} MiB on loopback, files in {where}; {rounds} rounds in turn, median (min–max); "
        f"{on['processors']} processors, {on['system']}, Python {on['python']}"
    ]
    for heading, figure in _FIGURES.items():
        ratios = _ratios(contestants, figure)
        rows = [
            (
                contestant.name,
                Spread.of(map(figure, contestant.sent)).text(3),
                Spread.of(size / figure(sent) for sent in contestant.sent).text(0, 1e6),
                f"× {ratios[contestant.name].text(2)}" if contestant.name in ratios else "",
            )
            for contestant in contestants
        ]
        paragraphs.append(as_table((heading, "seconds", "MB/s", "Punchwire is"), rows))
    return "\n\n".join(paragraphs)


def _as_data(contestants: Sequence[Contestant], size: int, where: Path) -> dict[str, object]:
    return {
        "size": size,
        "folder": str(where),
        "machine": machine(),
        "sent": {contestant.name: [asdict(sent) for sent in contestant.sent] for contestant in contestants},
        "punchwire_is_times": {
            heading: {name: asdict(ratio) for name, ratio in _ratios(contestants, figure).items()}
            for heading, figure in _FIGURES.items()
        },
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the rate of one file with a plain socket's and scp's.")
    parser.add_argument("--size", metavar="MIB", type=positive, default=1024, help="size of the file in MiB (1024)")
    parser.add_argument("--rounds", metavar="N", type=positive, default=5, help="rounds that count (5)")
    parser.add_argument("--folder", metavar="DIR", type=Path, help=f"where the files are ({MEMORY} if they fit)")
    parser.add_argument("--without-scp", action="store_true", help="compare with the plain socket only")
    parser.add_argument("--json", action="store_true", help="print data")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
