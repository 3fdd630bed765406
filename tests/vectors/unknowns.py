"""The tables of docs/protocol/versions.md: what is unknown, and what becomes of it."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from p2p_core.errors import PunchwireError

from tests.vectors.pages import FOLDER

__all__ = ["Row", "is_ignored", "refused", "rows"]

_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (.+?) \| (refused|ignored) \| (?:`([a-z-]+)`)? ?\|$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is unknown: whether it is refused, and the stable word for that."""

    is_refused: bool
    error: str


def rows() -> dict[str, Row]:
    """Return the rows by name."""
    found = _ROW.findall((FOLDER / "versions.md").read_text("utf-8"))
    assert len(found) == len({name for name, *_ in found})
    return {name: Row(outcome == "refused", error) for name, _, outcome, error in found}


@contextlib.contextmanager
def refused(name: str) -> Iterator[None]:
    """Hold that what is tried is refused, with the error that the page says."""
    assert rows()[name].is_refused
    with pytest.raises(PunchwireError) as caught:
        yield
    assert caught.value.code == rows()[name].error


def is_ignored(name: str) -> bool:
    """Say whether the page says that this is ignored."""
    return not rows()[name].is_refused
