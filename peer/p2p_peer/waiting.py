"""How long the other side is waited for."""

import asyncio

__all__ = ["Waiting"]


class Waiting:
    """So long the other side may take to come. That counts over all that is tried meanwhile, from the first try on."""

    def __init__(self, seconds: float | None) -> None:
        """Wait for `seconds`, or for ever."""
        self._seconds = seconds
        self._until: float | None = None

    def timeout(self) -> asyncio.Timeout:
        """Return a context that ends with `TimeoutError` when the time is over; with the first one it begins."""
        if self._until is None and self._seconds is not None:
            self._until = asyncio.get_running_loop().time() + self._seconds
        return asyncio.timeout_at(self._until)

    def __str__(self) -> str:
        """Return what is to be said of it: " within 30 s", or nothing."""
        return "" if self._seconds is None else f" within {self._seconds:g} s"
