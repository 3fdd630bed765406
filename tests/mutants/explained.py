"""The mutants that no test can tell from the original, each with its reason: the blocks in docs/mutants.md.

A block is fenced as ``diff``; its first line is the path of the module, the others are the change.
"""

import re
from pathlib import Path

__all__ = ["explained", "shown"]

_BLOCK = re.compile(r"^```diff\n(?P<path>[^-+\n].*)\n(?P<change>(?:[-+].*\n)+)```$", re.MULTILINE)


def explained(page: Path) -> set[tuple[str, str]]:
    """Return path and change of each."""
    return {(block["path"], block["change"].rstrip("\n")) for block in _BLOCK.finditer(page.read_text())}


def shown(path: str, change: str) -> str:
    """Return a mutant as the page has it."""
    return f"```diff\n{path}\n{change}\n```"
