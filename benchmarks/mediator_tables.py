"""What `benchmarks/mediator.py` has measured, as tables."""

from collections.abc import Mapping, Sequence

from benchmarks.figures import Spread, as_table
from benchmarks.mediator_cases import SERVICES, Flood, Minute, Pairs, Waiting
from benchmarks.mediator_load import Matched

__all__ = ["flood_table", "pairs_table", "soak_table", "waiting_table"]

MS = 1e-3
KIB, MIB = 1024, 1024**2
BUSY = 0.9  # of its processor: the server is the limit


def pairs_table(measured: Mapping[str, Sequence[Pairs]]) -> str:
    """Pairs that meet: one line for each service."""
    heading = ("who", "pairs per CPU-second", "× the mailbox", "pairs/s", "busy", "beside, ms/pair", "p50 ms", "p99 ms")
    rows = []
    for kind, rounds in measured.items():
        ratio = ""
        if kind != "mailbox" and (mailbox := measured.get("mailbox")):
            ratio = Spread.of(
                ours.full.per_cpu_second / theirs.full.per_cpu_second
                for ours, theirs in zip(rounds, mailbox, strict=True)
            ).text(2)
        rows.append(
            (
                SERVICES[kind].name,
                Spread.of(one.full.per_cpu_second for one in rounds).text(0),
                ratio,
                Spread.of(one.full.per_second for one in rounds).text(0),
                f"{Spread.of(one.full.busy for one in rounds).median:.0%}",
                _beside([one.full for one in rounds]),
                Spread.of(one.paced.centile(50) for one in rounds).text(1, MS),
                Spread.of(one.paced.centile(99) for one in rounds).text(1, MS),
            )
        )
    failed = _failures([one for rounds in measured.values() for each in rounds for one in (each.full, each.paced)])
    return as_table(heading, rows) + failed


def waiting_table(measured: Mapping[str, Sequence[Waiting]]) -> str:
    """Peers that wait: one line for each service and number."""
    heading = ("who", "waiting", "KiB each", "Redis, KiB each", "CPU they take", "p50 ms", "p99 ms")
    rows = []
    for kind, all_of_them in measured.items():
        for count in sorted({one.count for one in all_of_them}):
            some = [one for one in all_of_them if one.count == count]
            rows.append(
                (
                    SERVICES[kind].name,
                    str(count),
                    Spread.of(one.server for one in some).text(1, KIB),
                    Spread.of(one.redis for one in some).text(2, KIB) if some[0].redis else "",
                    f"{Spread.of(one.cpu for one in some).median:.1%}",
                    Spread.of(one.paced.centile(50) for one in some).text(1, MS),
                    Spread.of(one.paced.centile(99) for one in some).text(1, MS),
                )
            )
    return as_table(heading, rows) + _failures([one.paced for some in measured.values() for one in some])


def flood_table(measured: Sequence[Flood]) -> str:
    """Matching with and without a flood."""
    heading = ("", "pairs/s", "busy", "pairs per CPU-second")
    rows = [
        (
            name,
            Spread.of(one.per_second for one in matched).text(0),
            f"{Spread.of(one.busy for one in matched).median:.0%}",
            Spread.of(one.per_cpu_second for one in matched).text(0),
        )
        for name, matched in (
            ("quiet", [one.quiet for one in measured]),
            ("flooded", [one.flooded for one in measured]),
        )
    ]
    ratio = Spread.of(one.flooded.per_second / one.quiet.per_second for one in measured).text(2)
    said = [as_table(heading, rows)]
    held, opened = min(one.held for one in measured), Spread.of(one.opened for one in measured).text(0)
    said.append(f"The flood held {held}, opened {opened} a second; rate with it × {ratio}")
    matched = [one for each in measured for one in (each.quiet, each.flooded)]
    if (least := min(one.busy for one in matched)) < BUSY:
        said.append(f"The server was not the limit, but the swarms or other programs: it was busy {least:.0%}.")
    return "\n".join(said) + _failures(matched)


def soak_table(measured: Sequence[Minute]) -> str:
    """A server while peers come and go."""
    heading = ("minute", "streams so far", "MiB", "files", "tasks")
    rows = [
        (
            str(one.minute),
            str(one.gone),
            f"{one.memory / MIB:.1f}",
            str(one.files),
            "-" if one.tasks is None else str(one.tasks),
        )
        for one in measured
    ]
    return as_table(heading, rows)


def _beside(matched: Sequence[Matched]) -> str:
    """Processor time of Redis and haproxy for each pair."""
    return ", ".join(
        f"{name} {Spread.of(one.cpu_beside[name] / one.pairs for one in matched).median / MS:.2f}"
        for name in matched[0].cpu_beside
    )


def _failures(matched: Sequence[Matched]) -> str:
    """Say how many pairs did not meet, and why."""
    failed: dict[str, int] = {}
    for one in matched:
        for reason, count in one.failed.items():
            failed[reason] = failed.get(reason, 0) + count
    said = ", ".join(f"{count} {reason}" for reason, count in failed.items())
    return f"\nPairs that did not meet: {said}." if said else ""
