"""Every row of versions.md has a test of its name, and every test of versions a row."""

import re
from pathlib import Path

from tests.vectors.unknowns import rows

TESTS = Path(__file__).parents[1]
ELSEWHERE = {"tls_1_2": "peer/test_channel.py"}


def _tests_in(path: Path) -> set[str]:
    return set(re.findall(r"^(?:async )?def test_(\w+)\(", path.read_text("utf-8"), re.MULTILINE))


def test_every_row_is_shown() -> None:
    beside = [_tests_in(path) for path in TESTS.glob("*/test_versions.py")]
    assert len(beside) == 3
    for name, file in ELSEWHERE.items():
        assert name in _tests_in(TESTS / file)
    shown = set.union(*beside, set(ELSEWHERE)) - {"limits_of_what_is_ignored"}
    assert sorted(shown) == sorted(name.replace("-", "_") for name in rows())


def test_what_is_refused_says_how_and_what_is_ignored_does_not() -> None:
    unnamed = {name for name, row in rows().items() if row.is_refused and not row.error}
    assert unnamed == {"alpn"}  # QUIC's own
    assert not [name for name, row in rows().items() if row.error and not row.is_refused]
