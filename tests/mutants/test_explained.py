"""docs/mutants.md speaks of the code as it is."""

from pathlib import Path

import pytest

from tests.mutants.explained import explained, shown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "mutants.md"


@pytest.mark.parametrize(("path", "change"), sorted(explained(PAGE)))
def test_what_is_explained_is_there(path: str, change: str) -> None:
    lines = (ROOT / path).read_text().splitlines()
    assert [line[1:] for line in change.splitlines() if line.startswith("-") and line[1:] not in lines] == []


def test_what_is_shown_is_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    one, other = ("core/a.py", "-    a\n+    b"), ("core/b.py", "-c")
    page.write_text(f"Words.\n\n{shown(*one)}\n\nWhy.\n\n```sh\n-x\n```\n\n{shown(*other)}\n")
    assert explained(page) == {one, other}


def test_every_block_is_read() -> None:
    assert PAGE.read_text().count("```diff\n") == len(explained(PAGE))
