"""How the tables here compare sentences: whole, with `...` for what depends on the machine."""

import re

__all__ = ["like"]


def like(pattern: str, sentence: str) -> bool:
    """Say whether a sentence is as expected."""
    return re.fullmatch(".+".join(map(re.escape, pattern.split("..."))), sentence) is not None
