"""What is fuzzed: a parser, what it may raise, and what has to hold for whatever it takes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

__all__ = ["Target"]


def _nothing(_parsed: Any) -> None:
    """Nothing has to hold, but that it was parsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One way into the project for bytes that somebody else has made."""

    name: str
    of: tuple[str, ...]  # what is tried, as "module.name"
    parse: Callable[[bytes], Any]
    seeds: Callable[[], Iterable[bytes]]  # what it takes, and some that it just does not
    raises: tuple[type[Exception], ...] = ()  # these very types, and none that are derived from them
    holds: Callable[[Any], None] = _nothing  # raises for what must not have been taken, or not so

    def run(self, data: bytes) -> bool:
        """Try one input, and say whether it was taken. Raises what no parser may raise."""
        try:
            parsed = self.parse(data)
        except Exception as error:
            if type(error) not in self.raises:
                raise
            str(error)  # a sentence for people, which has to be there
            return False
        self.holds(parsed)
        return True
