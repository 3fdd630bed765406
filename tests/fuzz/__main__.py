"""`make fuzz`: look for inputs that a parser does not take as it should. docs/fuzzing.md.

make fuzz                                  every group for a minute
make fuzz ARGS='--seconds 600 tokens'      some of them, for longer
make fuzz ARGS='--repeat FILE'             one input again, as a traceback
"""

import argparse
import importlib.util
import sys
from pathlib import Path

from tests.fuzz.targets import GROUPS, TARGETS

SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; none: all of them")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"for each group (default {SECONDS})")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="an input that was found, in its target's folder")
    parser.add_argument("--list", action="store_true", help="say what there is, and what each target takes")
    options = parser.parse_args()
    if options.list:
        return _list()
    if options.repeat is not None:
        return _repeat(options.repeat)
    unknown = [group for group in options.groups if group not in GROUPS]
    if unknown:
        parser.error(f"there is no group {unknown[0]!r}; there is {', '.join(GROUPS)}")
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not here: it is made for Linux and Python 3.11 to 3.13, and `make fuzz` needs it")
        return 1
    return _fuzz(options.groups or list(GROUPS), options.seconds)


def _fuzz(groups: list[str], seconds: int) -> int:
    from tests.fuzz.campaign import AT_ONCE, KEPT, campaign

    minutes = -(-len(groups) // AT_ONCE) * seconds / 60
    print(
        f"{len(groups)} groups of parsers, {seconds} s each, {AT_ONCE} at a time: some {minutes:.0f} minutes and a bit"
    )
    print(f"{'group':12} {'runs':>10} {'runs/s':>8} {'coverage':>8} {'corpus':>6} findings", flush=True)
    found: list[Path] = []
    broken = False
    for outcome in campaign(groups, seconds):
        rate = outcome.runs / max(outcome.seconds, 1)
        print(
            f"{outcome.group:12} {outcome.runs:10} {rate:8.0f} {outcome.coverage:8} {outcome.corpus:6} "
            f"{len(outcome.findings)}",
            flush=True,
        )
        found += outcome.findings
        if not outcome.is_whole and not outcome.findings:
            broken = True
            print(f"  it broke off: {outcome.log} has the end", flush=True)
    for finding in found:
        print(f"\nfound: {finding}\nagain: make fuzz ARGS='--repeat {finding}'")
    if not found:
        print(f"nothing found; the corpora are kept in {KEPT}")
    return 1 if found or broken else 0


def _repeat(path: Path) -> int:
    target = TARGETS.get(path.absolute().parent.name)
    if target is None:
        print(f"{path} does not lie in a folder with the name of a target", file=sys.stderr)
        return 2
    taken = target.run(path.read_bytes())  # or a traceback
    print(f"{target.name} {'takes' if taken else 'refuses'} it, as it may")
    return 0


def _list() -> int:
    for group, targets in GROUPS.items():
        for target in targets:
            raised = ", ".join(each.__name__ for each in target.raises) or "nothing"
            print(f"{group:12} {target.name:20} may raise {raised}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
