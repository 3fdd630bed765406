"""The golden bytes of the pages are what p2p_core makes and reads, and what a second implementation reads."""

import ast
import functools
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag

from tests.vectors import generate, independent, pages

_PLACES = 8  # of a block, at each of which something is changed
_REFUSALS = (AssertionError, ValueError, LookupError, struct.error, InvalidSignature, InvalidTag)

GOLDEN = [name for page in sorted(pages.FOLDER.glob("*.md")) for name in pages.names(page.name)]


def test_every_block_is_made_and_checked() -> None:
    made = [*generate.deterministic(), *generate.RANDOMISED]
    assert sorted(GOLDEN) == sorted(made) == sorted(independent.CHECKS)
    assert len(GOLDEN) == len(set(GOLDEN))


def test_the_pages_hold_what_p2p_core_makes() -> None:
    assert generate.differences() == {}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_second_implementation_agrees(name: str) -> None:
    independent.CHECKS[name]()


def _altered(value: pages.Value) -> Iterator[pages.Value]:
    """Yield a block with one byte or word of it changed, in a few places, first and last among them."""
    places = {round(part * (len(value) - 1) / (_PLACES - 1)) for part in range(_PLACES)}
    for at in places if value else ():
        match value:
            case bytes():
                yield value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]
            case str():
                yield value[:at] + ("q" if value[at] != "q" else "z") + value[at + 1 :]
            case _:
                whose, frame = value[at]
                yield (*value[:at], (whose, frame[:-1] + bytes([frame[-1] ^ 1])), *value[at + 1 :])


@pytest.mark.parametrize("name", GOLDEN)
def test_the_second_implementation_looks_at_all_of_a_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value = pages.read_value(name)
    reader = {bytes: "read", str: "read_text", tuple: "read_talk"}[type(value)]
    honest: Callable[[str], pages.Value] = getattr(pages, reader)
    for altered in _altered(value):
        monkeypatch.setattr(pages, reader, functools.partial(_instead, honest, name, altered))
        with pytest.raises(_REFUSALS):
            independent.CHECKS[name]()


def _instead(honest: Callable[[str], pages.Value], name: str, altered: pages.Value, block: str) -> pages.Value:
    return altered if block == name else honest(block)


@pytest.mark.parametrize("module", sorted(Path(independent.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_the_second_implementation_shares_nothing_with_punchwire(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level]
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    allowed = {*sys.stdlib_module_names, "blake3", "cryptography"} - {"importlib", "runpy"}
    foreign = {name for name in imported if name.split(".")[0] not in allowed}
    assert all(f"{name}.".startswith(f"{independent.__name__}.") for name in foreign - {"tests.vectors"})
    ours = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "tests.vectors"]
    assert {alias.name for node in ours for alias in node.names} <= {"pages"}
