"""What `benchmarks/mediator.py` has measured, as tables."""

from collections.abc import Mapping, Sequence

from benchmarks.figures import Spread, as_table
from benchmarks.mediator_cases import OFFERED, SERVICES, Flood, Minute, Pairs, Waiting
from benchmarks.mediator_load import Matched

__all__ = ["flood_table", "pairs_table", "soak_table", "waiting_table"]

MS = 1e-3
KIB, MIB = 1024, 1024**2
BUSY = 0.9  # of what it may take of its processor: the server is the limit


def pairs_table(measured: Mapping[str, Sequence[Pairs]]) -> str:
    """Pairs that meet: one line for each service."""
    heading = (
        "who",
        "pairs per CPU-second",
        "× mailbox, TLS",
        "× mailbox, no TLS",
        "pairs/s",
        "busy",
        "beside, ms/pair",
        "p50 ms",
        "p99 ms",
    )
    rows = []
    for kind, rounds in measured.items():
        rows.append(
            (
                SERVICES[kind].name,
                Spread.of(one.full.per_cpu_second for one in rounds).text(0),
                _ratio(measured, kind, "mailbox-tls"),
                _ratio(measured, kind, "mailbox"),
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
    heading = ("", "pairs/s", "busy", "pairs per CPU-second", f"of {OFFERED} a second", "p50 ms", "p99 ms")
    rows = [
        (
            name,
            Spread.of(one.per_second for one in full).text(0),
            f"{Spread.of(one.busy for one in full).median:.0%}",
            Spread.of(one.per_cpu_second for one in full).text(0),
            f"{sum(one.pairs for one in paced) / sum(one.pairs + sum(one.failed.values()) for one in paced):.1%} met",
            Spread.of(one.centile(50) for one in paced).text(1, MS),
            Spread.of(one.centile(99) for one in paced).text(1, MS),
        )
        for name, full, paced in (
            ("quiet", [one.quiet for one in measured], [one.paced_quiet for one in measured]),
            ("flooded", [one.flooded for one in measured], [one.paced_flooded for one in measured]),
        )
    ]
    share = measured[0].share
    full = [one for each in measured for one in (each.quiet, each.flooded)]
    said = [as_table(heading, rows), _flood(measured), _limit(share, min(one.busy for one in full))]
    if min(one.busy for one in full) >= BUSY * share:
        ratios = [one.flooded.per_second / one.quiet.per_second for one in measured]
        # Each second the flood takes the same of a processor, however much there is of it.
        whole = Spread.of(1 - share * (1 - ratio) for ratio in ratios).text(2)
        said.append(f"Rate with the flood × {Spread.of(ratios).text(2)}; of a whole processor's that is × {whole}.")
    return "\n".join(said) + _failures(
        [*full, *(each for one in measured for each in (one.paced_quiet, one.paced_flooded))]
    )


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


def _ratio(measured: Mapping[str, Sequence[Pairs]], kind: str, mailbox: str) -> str:
    """Compare with a mailbox server: with the one that has TLS only those that have it too."""
    theirs = measured.get(mailbox)
    if theirs is None or SERVICES[kind].mailbox or (SERVICES[mailbox].tls and not SERVICES[kind].tls):
        return ""
    return Spread.of(
        our.full.per_cpu_second / their.full.per_cpu_second for our, their in zip(measured[kind], theirs, strict=True)
    ).text(2)


def _flood(measured: Sequence[Flood]) -> str:
    held, opened = min(one.held for one in measured), Spread.of(one.opened for one in measured).text(0)
    alone = Spread.of(one.alone for one in measured).text(1, 0.01)
    return f"The flood held {held}, opened {opened} a second; alone it took {alone} % of a processor."


def _limit(share: float, least: float) -> str:
    """Say what the server had of its processor, and whether that was the limit."""
    had = (
        "all of its processor, as no control group could be made"
        if share == 1
        else f"{share:.0%} of its processor, by a control group"
    )
    if least >= BUSY * share:
        return f"The server had {had}: it was the limit, busy {least:.0%} at least."
    return f"The server had {had}: not it was the limit, but the swarms or other programs. It was busy {least:.0%}."


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
