#!/usr/bin/env python3
"""What does a mediator take? Pairs that meet, peers that wait, a flood, and peers that come and go.

    benchmarks/mediator.py [--cases CASE,…] [--services WHO,…] [--rounds N] [--seconds S] [--quick] [--json]
    benchmarks/mediator.py --soak MINUTES [--json]

Real processes on loopback: mediators with their store in the process or in Redis, alone and two behind haproxy, and
magic-wormhole's mailbox server. Each peer has a TLS connection, an address and a key of its own (swarm.py). Servers run
on one processor, what drives them and what they need on another, and what counts is the servers' processor time.
Linux only. benchmarks/README.md says what the figures mean.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import mediator_cases, swarm, wormhole
from benchmarks.figures import end_in_order, machine, positive, some_of
from benchmarks.mediator_cases import SERVICES
from benchmarks.mediator_load import Load
from benchmarks.mediator_services import Services
from benchmarks.mediator_tables import flood_table, pairs_table, soak_table, waiting_table
from benchmarks.processes import processors
from tests.programs import ProgramFailed, Programs

CASES = ("pairs", "waiting", "flood")
OFTEN = 50  # pairs a second where the time of a match is measured: a tenth of what a server takes
FILES = 65536  # open, in any process


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the tables; return the exit code."""
    options = parse(arguments)
    end_in_order()
    allow_files()
    with Programs() as programs:
        try:
            folder = Path(programs.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-mediator-")))
            measured = Measuring(options, folder, programs).measure()
        except (ProgramFailed, OSError, subprocess.SubprocessError) as failure:
            print(f"the benchmark failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    print(json.dumps(as_data(measured, options), indent=2) if options.json else as_text(measured, options))
    return 0


class Measuring:
    """One run of the benchmark."""

    def __init__(self, options: argparse.Namespace, folder: Path, programs: Programs) -> None:
        """Make the keys of all peers, and admit them."""
        self._options = options
        serving, driving = processors() or (None, None)
        keys, authorized = folder / "keys", folder / "authorized"
        waiting = max(options.waiting)
        swarms = "--bits", str(options.bits), "--need", str(waiting + options.keys)
        subprocess.run(
            [sys.executable, swarm.__file__, *swarms, "--save-keys", keys, "--authorize", authorized], check=True
        )
        self._load = Load(keys, waiting, options.keys // 2, driving, serving)
        self._services = Services(folder, authorized, programs, serving, driving)

    def measure(self) -> dict[str, Any]:
        """Measure the cases that were asked for."""
        options = self._options
        if options.soak:
            minutes = mediator_cases.soak(
                self._services, self._load, minutes=options.soak, seconds=options.soak_seconds
            )
            return {"soak": minutes}
        there = available(options.services)
        mediators = [kind for kind in there if kind in ("memory", "redis")]
        cases: Mapping[str, Callable[[], Any]] = {
            "pairs": lambda: mediator_cases.pairs(
                there, self._services, self._load, rounds=options.rounds, seconds=options.seconds, rate=OFTEN
            ),
            "waiting": lambda: mediator_cases.waiting(
                mediators,
                self._services,
                self._load,
                counts=options.waiting,
                rounds=min(options.rounds, 3),
                seconds=2 * options.seconds,
                rate=OFTEN,
            ),
            "flood": lambda: mediator_cases.flood(
                self._services,
                self._load,
                rounds=options.rounds,
                seconds=2 * options.seconds,
                held=options.flood,
                rate=options.flood_rate,
                kind=options.flood_kind,
                share=options.share / 100,
            ),
        }
        return {name: cases[name]() for name in options.cases}


def available(kinds: Sequence[str]) -> list[str]:
    """Return those of the services that can be had. Which cannot is said."""
    missing: dict[str, str] = {}
    if shutil.which("redis-server") is None:
        missing |= dict.fromkeys(("redis", "redis-2"), "redis-server: Debian and Ubuntu have it in redis-server")
    mailboxes = [kind for kind in kinds if SERVICES[kind].mailbox]
    if mailboxes and (why := wormhole.install()):
        missing |= dict.fromkeys(mailboxes, f"magic-wormhole: {why}")
    for kind in kinds:
        if kind in missing:
            print(f"{SERVICES[kind].name} is left out, as this is not installed: {missing[kind]}", file=sys.stderr)
    return [kind for kind in kinds if kind not in missing]


def allow_files() -> None:
    """Let this process and its children have as many files open as the system lets them, up to `FILES`."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if most == resource.RLIM_INFINITY else min(most, FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def as_text(measured: Mapping[str, Any], options: argparse.Namespace) -> str:
    """Lay out a table for each case."""
    on = machine()
    titles: dict[str, tuple[str, Callable[[Any], str]]] = {
        "pairs": (f"Pairs that meet: as many as go for {options.seconds} s, then {OFTEN} a second", pairs_table),
        "waiting": (f"Peers that wait, and {OFTEN} pairs a second that meet meanwhile", waiting_table),
        "flood": (
            f"{options.flood} connections held that prove nothing ({options.flood_kind}), {options.flood_rate} new "
            "ones a second",
            flood_table,
        ),
        "soak": ("Peers that come and go in every way", soak_table),
    }
    paragraphs = [
        f"On loopback, keys of {options.bits} bits; {options.rounds} rounds in turn, median (min–max); "
        f"{on['processors']} processors, {on['system']}, Python {on['python']}"
    ]
    for name, figures in measured.items():
        title, table = titles[name]
        paragraphs.append(f"{title}\n\n{table(figures)}")
    return "\n\n".join(paragraphs)


def as_data(measured: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return the same, and all times, as data."""
    names = ("bits", "rounds", "seconds", "flood_rate", "flood_kind")
    return (
        {"machine": machine(), "pairs_per_second": OFTEN, "flood_held": options.flood}
        | {name: getattr(options, name) for name in names}
        | {name: _plain(figures) for name, figures in measured.items()}
    )


def _plain(figures: Any) -> Any:
    if isinstance(figures, Mapping):
        return {name: _plain(one) for name, one in figures.items()}
    return [asdict(one) for one in figures]


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="mediator.py", description="Measure what a mediator takes.")
    parser.add_argument("--cases", metavar="CASE,…", type=some_of(CASES), default=CASES, help=_all(CASES))
    parser.add_argument("--services", metavar="WHO,…", type=some_of(SERVICES), help=_all(SERVICES))
    parser.add_argument("--rounds", metavar="N", type=positive, help="rounds that count (5)")
    parser.add_argument("--seconds", metavar="S", type=positive, help="of each measurement (6)")
    parser.add_argument("--waiting", metavar="N,…", type=_numbers, help="how many peers wait (1000,10000)")
    parser.add_argument("--flood", metavar="N", type=positive, help="connections that prove nothing (5000)")
    parser.add_argument("--flood-rate", metavar="N", type=positive, default=200, help="new ones a second (200)")
    parser.add_argument("--flood-kind", choices=swarm.KINDS, default="idle", help="how far they get (idle)")
    parser.add_argument("--share", metavar="PERCENT", type=_percent, default=60, help="the server's, in the flood (60)")
    parser.add_argument("--bits", metavar="N", type=int, default=2048, help="of the peers' keys (2048)")
    parser.add_argument("--keys", metavar="N", type=positive, help="how many peers meet, in turn (8000)")
    parser.add_argument("--soak", metavar="MINUTES", type=positive, default=0, help="let peers come and go instead")
    parser.add_argument("--soak-seconds", type=positive, default=60, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a look: 1 round, 2 s, 200 that wait, 200 in the flood")
    parser.add_argument("--json", action="store_true", help="print data")
    options = parser.parse_args(arguments)
    usual = (1, 2, [200], 200, 2000) if options.quick else (5, 6, [1000, 10_000], 5000, 8000)
    for name, value in zip(("rounds", "seconds", "waiting", "flood", "keys"), usual, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, value)
    options.services = options.services or list(SERVICES)
    return options


def _percent(text: str) -> int:
    if (percent := positive(text)) > 99:
        raise argparse.ArgumentTypeError(f"{text!r} is no share of a processor: from 1 to 99")
    return percent


def _numbers(text: str) -> list[int]:
    return [positive(one) for one in text.split(",")]


def _all(names: Sequence[str] | Mapping[str, object]) -> str:
    return f"some of {','.join(names)} (all)"


if __name__ == "__main__":
    sys.exit(main())
