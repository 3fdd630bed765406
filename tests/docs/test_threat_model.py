"""The threat model names tests: there are such tests, and no attack is left out of it."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

TESTS: Final = Path(__file__).parent.parent
PAGE: Final = (TESTS.parent / "docs" / "threat-model.md").read_text()
CITED: Final = sorted(set(re.findall(r"`([\w/.]+)::(\w+)`", PAGE)))


def functions_in(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("file", "test"), CITED, ids=[" ".join(each) for each in CITED])
def test_a_test_that_is_named_is_there(file: str, test: str) -> None:
    assert test in functions_in(TESTS / file)


def claims() -> list[str]:
    """The rows of all tables that say what shows a claim."""
    found, shown = [], False
    for line in PAGE.splitlines():
        if line.endswith("| shown by |"):
            shown = True
        elif not line.startswith("|"):
            shown = False
        elif shown and not line.startswith("|--"):
            found.append(line)
    return found


def test_every_claim_names_one() -> None:
    assert len(claims()) > 60
    assert [row for row in claims() if "::test_" not in row] == []


@pytest.mark.parametrize("file", sorted(each.name for each in (TESTS / "attack").glob("test_*.py")))
def test_no_file_of_attacks_is_left_out(file: str) -> None:
    assert f"attack/{file}" in {cited for cited, _ in CITED}
