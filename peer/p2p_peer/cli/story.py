"""`--verbose`: what the library logs, as a story on standard error: one line a step, with the seconds since the start.

Names, reasons and addresses from outside stand in it, so nothing in it is left for a terminal to obey. Where nobody
reads on, steps are left out: those who knock at the door must not be able to stop the program with lines about them.
"""

import fcntl
import logging
import os
import platform
import select
import stat
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from p2p_core import __version__
from p2p_core.printable import printable

__all__ = ["Story", "telling"]

_LIBRARY = logging.getLogger("p2p_peer")
_STANDARD_ERROR = 2
_LONGEST = 4000  # bytes of a line; a pipe that takes anything takes a page
_MOST_UNREAD = 32 * 1024  # bytes in a pipe; most of them have room for 64 KiB, in pages that need not be full


class Story(logging.Handler):
    """Hands on each record as one line, or counts it as left out."""

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        takes: Callable[[], bool] = lambda: True,
    ) -> None:
        """`write` takes a line without its end, if `takes` says so; `clock` counts seconds, from now on."""
        super().__init__()
        self._write, self._takes = write, takes
        self._clock, self._started = clock, clock()
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Tell one step."""
        try:
            self.tell_what_is_left_out()
            if self._takes():
                self._tell(printable(record.getMessage()))
            else:
                self._left_out += 1
        except Exception:  # as logging's own handlers do it: a story that cannot be told stops nothing
            self.handleError(record)

    def tell_what_is_left_out(self) -> None:
        """Say how many steps nobody was there to read, if somebody is there now."""
        if self._left_out and self._takes():
            count, self._left_out = self._left_out, 0
            self._tell(f"({count} left out here, as nobody read on)")

    def _tell(self, text: str) -> None:
        line = f"[{self._clock() - self._started:7.3f}] {text}"
        longest = line.encode("ascii", "backslashreplace")  # no encoding of a terminal makes more of it
        self._write(line if len(longest) <= _LONGEST else f"{longest[:_LONGEST].decode('ascii')}...")


@contextmanager
def telling() -> Iterator[None]:
    """Tell the library's story as long as the context lasts."""
    story = Story(_to_standard_error, takes=_standard_error_takes)
    _LIBRARY.addHandler(story)
    _LIBRARY.setLevel(logging.DEBUG)
    _LIBRARY.info("punchwire %s, Python %s, %s", __version__, platform.python_version(), platform.system())
    try:
        yield
    finally:
        with suppress(OSError):  # whoever read it has gone
            story.tell_what_is_left_out()
        _LIBRARY.setLevel(logging.NOTSET)
        _LIBRARY.removeHandler(story)


def _to_standard_error(line: str) -> None:
    """Print it where `sys.stderr` leads just now: progress bars and prompts put themselves in between."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _standard_error_takes() -> bool:
    """Whether it takes a line now. The rest of a pipe is left to what has to be said, for which the program waits."""
    if stat.S_ISFIFO(os.fstat(_STANDARD_ERROR).st_mode):
        unread = int.from_bytes(fcntl.ioctl(_STANDARD_ERROR, termios.FIONREAD, bytes(4)), sys.byteorder)
        if unread > _MOST_UNREAD:
            return False
    return bool(select.select((), (_STANDARD_ERROR,), (), 0)[1])
