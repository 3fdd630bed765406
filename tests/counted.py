"""What went over the wire, and what of it need not have: counted by the peers themselves, whatever becomes of them.

peer = Peer.start(..., start=counting(log))
counted = Counted((log, ...))
counted.read()
assert counted.sent_in_vain() == []
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import counting_peer
from tests.counting_peer import END, FORGOTTEN, SENT, VERIFIED
from tests.programs import Start, p2p_peer, start_here

__all__ = ["Counted", "counting", "counting_argv"]

_Block = tuple[str, int]  # the path of a file, and which of its blocks


def counting(log: Path, start: Start = start_here) -> Start:
    """What starts a peer as `start` does, but one that counts in `log`."""

    def start_counting(argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        return start(counting_argv(log, argv), **options)

    return start_counting


def counting_argv(log: Path, argv: Sequence[str]) -> list[str]:
    """Return the argument vector of a peer that does what `argv` says, and counts in `log`."""
    return [sys.executable, counting_peer.__file__, str(log), *argv[len(p2p_peer()) :]]


@dataclass(frozen=True, slots=True)
class _Passed:
    """A block that was sent, or verified."""

    at: int  # ns
    process: int
    length: int  # bytes


@dataclass(slots=True)
class Counted:
    """What the logs of some peers say so far."""

    logs: tuple[Path, ...]
    sent: dict[_Block, list[_Passed]] = field(default_factory=dict)
    verified: dict[_Block, list[_Passed]] = field(default_factory=dict)
    forgotten: dict[_Block, list[_Passed]] = field(default_factory=dict)
    sent_bytes: int = 0
    verified_bytes: int = 0  # of different blocks
    _read: dict[Path, int] = field(default_factory=dict)

    def read(self) -> None:
        """Take what has come since the last time."""
        for log in filter(Path.exists, self.logs):
            read = self._read.get(log, 0)
            with log.open("rb") as file:
                file.seek(read)
                data = file.read()
            lines, newline, _ = data.rpartition(b"\n")
            self._read[log] = read + len(lines) + len(newline)
            for line in lines.decode(errors="replace").split("\n"):
                if line.endswith(END):
                    self._take(*json.loads(line.removesuffix(END)))

    def sent_in_vain(self) -> list[str]:
        """Return a sentence for each block that was sent although it had been verified."""
        return [
            f"{path}, block {number}: sent by {sent.process} at {sent.at / 1e9:.4f},"
            f" {(sent.at - verified[0].at) / 1e6:.1f} ms after {verified[0].process} had verified it"
            for (path, number), verified in self.verified.items()
            for sent in self.sent.get((path, number), ())
            if sent.at > verified[0].at
        ]

    def sent_by(self, process: int) -> int:
        """Return how many bytes of blocks a process has sent."""
        return sum(sent.length for times in self.sent.values() for sent in times if sent.process == process)

    def _take(self, at: int, process: int, what: str, blocks: list[tuple[str, int, int]]) -> None:
        table = {SENT: self.sent, VERIFIED: self.verified, FORGOTTEN: self.forgotten}[what]
        for path, number, length in blocks:
            if what == SENT:
                self.sent_bytes += length
            elif what == VERIFIED and (path, number) not in table:
                self.verified_bytes += length
            table.setdefault((path, number), []).append(_Passed(at, process, length))
