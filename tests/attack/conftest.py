"""What an attack test says of itself, and the report of `make attack`.

Files are named `test_ATTACKER_SURFACE.py`. Each test's docstring holds two sentences, each in a paragraph or a line of
its own: `TRIES: what the attacker does.` and `OUTCOME: what comes of it.` An attack that does not say so is not
collected. The report is printed where nothing but attacks was run.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from tests.attack.victims import went  # noqa: F401 - a fixture

ATTACKERS: Final = {
    "mediator": "A malicious mediator",
    "middle": "A man in the middle of the peer channel",
    "peer": "A malicious peer with a valid key",
    "stranger": "A stranger on an open port",
    "thief": "A thief of the disk",
}
_HERE: Final = Path(__file__).parent
_DOCSTRING: Final = re.compile(r"\s*TRIES:\s+(?P<tries>.+?)\s+OUTCOME:\s+(?P<outcome>.+?)\s*", re.DOTALL)
_FILE: Final = re.compile(rf"test_({'|'.join(ATTACKERS)})_\w+")


@dataclass
class Attack:
    """One test function, with those of its variants that were tried."""

    attacker: str
    tries: str
    outcome: str
    outcomes: dict[str, str] = field(default_factory=dict)  # pytest's word, by variant

    @property
    def verdict(self) -> str:
        if set(self.outcomes.values()) <= {"passed", "skipped"}:
            return "ok" if "passed" in self.outcomes.values() else "skipped"
        return "BROKEN"

    def line(self) -> str:
        named = [each for each in self.outcomes if each]
        some = f" [{', '.join(named)}]" if 0 < len(named) <= 8 else f" [{len(named)} variants]" if named else ""
        broken = ", ".join(each for each in named if self.outcomes[each] not in {"passed", "skipped"})
        return f"  {self.verdict:7} {self.tries} → {self.outcome}{some}{' BROKEN: ' * bool(broken)}{broken}"


_attacks: Final = pytest.StashKey[dict[str, Attack]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Read what each attack says of itself; refuse one that says nothing."""
    attacks = config.stash.setdefault(_attacks, {})
    for item in items:
        if _HERE in item.path.parents:
            test, _ = _parts(item.nodeid)
            attacks.setdefault(test, _described(item))


def _parts(node: str) -> tuple[str, str]:
    """What is before the brackets of a node's id, and what is in them."""
    test, _, variant = node.partition("[")
    return test, variant.removesuffix("]")


def _described(item: pytest.Item) -> Attack:
    name = _FILE.fullmatch(item.path.stem)
    if name is None:
        raise pytest.UsageError(f"{item.path.name}: an attack's file is test_ATTACKER_SURFACE.py, of {list(ATTACKERS)}")
    said = _DOCSTRING.fullmatch(getattr(getattr(item, "function", None), "__doc__", None) or "")
    if said is None:
        raise pytest.UsageError(f"{item.nodeid}: its docstring has to be 'TRIES: …' and 'OUTCOME: …'")
    tries, outcome = (" ".join(said[each].split()).removesuffix(".") for each in ("tries", "outcome"))
    return Attack(name[1], tries, outcome)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print one line for each attack, below its attacker, and the sum."""
    attacks = config.stash.get(_attacks, {})
    for kind, report in _reports(terminalreporter):
        attack = attacks.get(_parts(report.nodeid)[0])
        if attack is None:
            return  # not only attacks
        attack.outcomes.setdefault(_parts(report.nodeid)[1], kind)
    tried = [attack for attack in attacks.values() if attack.outcomes]
    for line in _table(tried) if tried else ():
        terminalreporter.write_line(line)


def _reports(terminal: pytest.TerminalReporter) -> Iterator[tuple[str, pytest.TestReport]]:
    """What pytest counts, and its word for it, the worst of a test first: what passed may fail in its teardown."""
    for kind, reports in sorted(terminal.stats.items(), key=lambda each: each[0] == "passed"):
        yield from ((kind, report) for report in reports if kind and isinstance(report, pytest.TestReport))


def _table(attacks: Sequence[Attack]) -> Iterator[str]:
    for attacker, title in ATTACKERS.items():
        those = [attack for attack in attacks if attack.attacker == attacker]
        if those:
            yield f"\n{title}"
            yield from (attack.line() for attack in those)
    verdicts = [attack.verdict for attack in attacks]
    variants = sum(len(attack.outcomes) for attack in attacks)
    counts = ", ".join(f"{verdicts.count(each)} {each}" for each in ("ok", "BROKEN", "skipped") if each in verdicts)
    yield f"\n{len(attacks)} attacks, {variants} with their variants: {counts}"
