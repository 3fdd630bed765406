"""What was ever found stays mended: findings/TARGET/NAME has the bytes, docs/fuzzing.md the stories."""

from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

FINDINGS = sorted(path for path in (Path(__file__).parent / "findings").glob("*/*") if path.is_file())
STORIES = Path(__file__).parents[2] / "docs" / "fuzzing.md"


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_finding_stays_mended(finding: Path) -> None:
    TARGETS[finding.parent.name].run(finding.read_bytes())


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_finding_is_told_of(finding: Path) -> None:
    assert f"`{finding.parent.name}/{finding.name}`" in STORIES.read_text("utf-8")
