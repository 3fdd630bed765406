"""Blocks that are made once and kept as long as they hold."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.vectors import pages

__all__ = ["Randomised"]


@dataclass(frozen=True, slots=True)
class Randomised:
    """How a block is made, and what is raised (a PunchwireError) for bytes that do not hold."""

    make: Callable[[], pages.Value]
    check: Callable[[Any], object]
