"""The checks by the name of their block."""

from collections.abc import Callable

__all__ = ["CHECKS", "check"]

CHECKS: dict[str, Callable[[], None]] = {}


def check(*names: str) -> Callable[[Callable[[str], None]], Callable[[str], None]]:
    """Register a check for the blocks `names`."""

    def register(function: Callable[[str], None]) -> Callable[[str], None]:
        for name in names:
            assert name not in CHECKS
            CHECKS[name] = lambda name=name: function(name)  # type: ignore[misc]
        return function

    return register
