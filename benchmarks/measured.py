"""What `benchmarks/transfer.py` has measured: what follows from it, as tables and as data."""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.figures import Spread, as_table, machine
from benchmarks.sources import MIB, Source

__all__ = ["NAMES", "Copied", "Cost", "Measured", "as_data", "as_text"]

OURS = "tcp"  # whom all others are compared with
NAMES = {
    OURS: "Punchwire TCP",
    "quic": "Punchwire QUIC",
    "relay": "Punchwire relay",
    "socket": "plain socket",
    "scp": "scp aes128-gcm",
    "scp-default": "scp",
    "rsync": "rsync, ssh",
    "tar": "tar | ssh tar",
    "wormhole": "magic-wormhole",
}
HEADING = ("who", "seconds", "MB/s", "Punchwire is", "whole command", "Punchwire is", "CPU s", "CPU s/GB", "MiB")
GB = 1e9  # bytes
LEAST = 0.001  # s: what is left of a difference that is within the noise
WORTH_TELLING = 0.1  # of the processor time of both ends: a server's is in the table only if it is more


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one copy."""

    wall: float  # s of the whole command, from the start of the first process to the end of the last
    cpu: float  # s of all processes of both ends
    server_cpu: float  # s of a mediator or mailbox server
    memory: int  # bytes, at most, of the largest process of either end


@dataclass(frozen=True, slots=True)
class Copied:
    """One copy."""

    cost: Cost
    setup: Cost  # of a copy of an empty file, made just before
    told: float  # s of the files alone, as the contestant tells it; 0 if it does not
    in_place: bool  # the file that was there is still the same


@dataclass(slots=True)
class Measured:
    """One case: what was sent, and each copy of it."""

    title: str
    source: Source
    in_place: bool  # a file was there each time
    copied: dict[str, list[Copied]] = field(default_factory=dict)  # by contestant

    def seconds(self, who: str) -> list[float]:
        """Return the times of the files alone: as they are told, or else the whole less what an empty file takes."""
        copied = self.copied[who]
        if copied[0].told:
            return [one.told for one in copied]
        setup = statistics.median(one.setup.wall for one in copied)
        return [max(one.cost.wall - setup, LEAST) for one in copied]

    def wall(self, who: str) -> list[float]:
        """Return the times of the whole command."""
        return [one.cost.wall for one in self.copied[who]]

    def ratio(self, who: str, times: Callable[[str], list[float]]) -> Spread | None:
        """Return how many times as fast as another one Punchwire is, round by round."""
        if who == OURS or OURS not in self.copied:
            return None
        return Spread.of(theirs / ours for ours, theirs in zip(times(OURS), times(who), strict=True))

    def rate(self, who: str) -> Spread:
        """Return the bytes a second, of the files alone."""
        return Spread.of(self.source.bytes / seconds for seconds in self.seconds(who))

    def cpu_per_gb(self, who: str) -> Spread:
        """Return the processor time of both ends, less what an empty file takes."""
        setup = statistics.median(one.setup.cpu for one in self.copied[who])
        return Spread.of(max(one.cost.cpu - setup, LEAST) / self.source.bytes * GB for one in self.copied[who])

    def server_cpu_per_gb(self, who: str) -> Spread:
        """Return the processor time of the server, less what an empty file takes."""
        setup = statistics.median(one.setup.server_cpu for one in self.copied[who])
        return Spread.of(max(one.cost.server_cpu - setup, 0) / self.source.bytes * GB for one in self.copied[who])

    def memory(self, who: str) -> int:
        """Return the most bytes that any process of either end had."""
        return max(one.cost.memory for one in self.copied[who])


def as_text(measured: Mapping[str, Measured], *, folder: str, rounds: int) -> str:
    """Lay out a table for each case."""
    on = machine()
    paragraphs = [
        f"On loopback, files in {folder}; {rounds} rounds in turn, median (min–max); "
        f"{on['processors']} processors, {on['system']}, Python {on['python']}"
    ]
    for name, case in measured.items():
        title = f"{name}: {case.title}, {case.source.bytes / MIB:.0f} MiB in {case.source.files} files"
        paragraphs.append(f"{title}\n" + as_table(HEADING, [_row(case, who) for who in case.copied]))
        new = [NAMES[who] for who, copied in case.copied.items() if not all(one.in_place for one in copied)]
        if case.in_place and new:
            paragraphs.append(f"A new file each time, not in place: {', '.join(new)}.")
    return "\n\n".join(paragraphs)


def _row(case: Measured, who: str) -> tuple[str, ...]:
    alone, whole = (case.ratio(who, times) for times in (case.seconds, case.wall))
    cpu, server = case.cpu_per_gb(who).median, case.server_cpu_per_gb(who).median
    return (
        NAMES[who],
        Spread.of(case.seconds(who)).text(3),
        f"{case.rate(who).median / 1e6:.0f}",
        f"× {alone.text(2)}" if alone else "",
        Spread.of(case.wall(who)).text(2),
        f"× {whole.text(2)}" if whole else "",
        Spread.of(one.cost.cpu for one in case.copied[who]).text(2),
        f"{cpu:.2f}" + (f" + {server:.2f}" if server > WORTH_TELLING * cpu else ""),
        f"{case.memory(who) / MIB:.0f}" if case.memory(who) else "-",
    )


def as_data(measured: Mapping[str, Measured]) -> dict[str, Any]:
    """Return everything, for JSON."""
    return {
        "machine": machine(),
        "cases": {
            name: {
                "bytes": case.source.bytes,
                "files": case.source.files,
                "contestants": {NAMES[who]: _all_of(case, who) for who in case.copied},
            }
            for name, case in measured.items()
        },
    }


def _all_of(case: Measured, who: str) -> dict[str, Any]:
    alone, whole = (case.ratio(who, times) for times in (case.seconds, case.wall))
    return {
        "copied": [asdict(one) for one in case.copied[who]],
        "seconds": case.seconds(who),
        "bytes_per_second": asdict(case.rate(who)),
        "cpu_seconds_per_gb": asdict(case.cpu_per_gb(who)),
        "server_cpu_seconds_per_gb": asdict(case.server_cpu_per_gb(who)),
        "memory": case.memory(who),
        "punchwire_is_times": {"seconds": alone and asdict(alone), "wall": whole and asdict(whole)},
    }
