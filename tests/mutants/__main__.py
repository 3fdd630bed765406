"""`python -m tests.mutants [PART OF A PATH ...]`: exit code 0 if each mutant is killed, or is in docs/mutants.md."""

import signal
import sys
from collections import Counter

from tests.mutants.campaign import ROOT, Outcome, TestsFail, run
from tests.mutants.explained import explained, shown

# The modules, and which tests concern each.
TESTS_OF = {
    "core/p2p_core/fields.py": ("tests/core/test_fields.py",),
    "core/p2p_core/proof.py": ("tests/core/test_proof.py",),
    "core/p2p_core/identity.py": ("tests/core/test_identity.py",),
    "core/p2p_core/statements.py": ("tests/core/test_statements.py",),
    "core/p2p_core/private_files.py": ("tests/core/test_private_files.py",),
    "core/p2p_core/safe_names.py": ("tests/core/test_safe_names.py",),
    "core/p2p_core/link_targets.py": ("tests/core/test_link_targets.py",),
    "core/p2p_core/targets.py": ("tests/core/test_targets.py",),
}


def main(wanted: list[str]) -> int:
    chosen = {path: tests for path, tests in TESTS_OF.items() if not wanted or any(part in path for part in wanted)}
    if not chosen:
        print(f"No module is named so; there is {', '.join(TESTS_OF)}.", file=sys.stderr)
        return 2
    known = {one for one in explained(ROOT / "docs" / "mutants.md") if one[0] in chosen}
    counts = {path: Counter[Outcome]() for path in chosen}
    survivors: set[tuple[str, str]] = set()
    print(f"The mutants of {len(chosen)} modules, with their tests, some minutes for each:", flush=True)
    try:
        for mutant, outcome in run(chosen):
            if not counts[mutant.path]:
                print(mutant.path, flush=True)
            counts[mutant.path][outcome] += 1
            if outcome is Outcome.SURVIVED:
                survivors.add((mutant.path, mutant.change))
                if (mutant.path, mutant.change) not in known:
                    print(shown(mutant.path, mutant.change), flush=True)
    except TestsFail as error:
        print(f"{error}.", file=sys.stderr)
        return 1
    _print_table(counts)
    unexplained, superfluous = survivors - known, known - survivors
    for path, change in sorted(superfluous):
        print(f"docs/mutants.md explains one that does not survive, or is not made:\n{shown(path, change)}")
    print(f"{len(survivors)} survived, {len(survivors & known)} of them explained in docs/mutants.md.")
    return 1 if unexplained or superfluous else 0


def _print_table(counts: dict[str, Counter[Outcome]]) -> None:
    print("| module | mutants | killed | by the clock | survived |\n|---|---|---|---|---|")
    for path, each in [*counts.items(), ("all", sum(counts.values(), Counter()))]:
        figures = (each.total(), each[Outcome.KILLED], each[Outcome.TIMEOUT], each[Outcome.SURVIVED])
        print(f"| {path} | {' | '.join(map(str, figures))} |")


signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: no tests are left running
sys.exit(main(sys.argv[1:]))
