"""`--verbose`: what the library logs, as a story on standard error: one line a step, with the seconds since the start.

Names, reasons and addresses from outside stand in it, so nothing in it is left for a terminal to obey.
"""

import logging
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from p2p_core import __version__
from p2p_core.printable import printable

__all__ = ["Story", "telling"]

_LIBRARY = logging.getLogger("p2p_peer")


class Story(logging.Handler):
    """Hands on each record as one line."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        """`write` takes a line without its end; `clock` counts seconds, from now on."""
        super().__init__()
        self._write = write
        self._clock, self._started = clock, clock()

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one step."""
        try:
            self._write(f"[{self._clock() - self._started:7.3f}] {printable(record.getMessage())}")
        except Exception:  # as logging's own handlers do it: a story that cannot be told stops nothing
            self.handleError(record)


@contextmanager
def telling() -> Iterator[None]:
    """Tell the library's story as long as the context lasts."""
    story = Story(_to_standard_error)
    _LIBRARY.addHandler(story)
    _LIBRARY.setLevel(logging.DEBUG)
    _LIBRARY.info("punchwire %s, Python %s, %s", __version__, platform.python_version(), platform.system())
    try:
        yield
    finally:
        _LIBRARY.setLevel(logging.NOTSET)
        _LIBRARY.removeHandler(story)


def _to_standard_error(line: str) -> None:
    """Print it where `sys.stderr` leads just now: progress bars and prompts put themselves in between."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
