"""Lines of plain text, for pipes, files, and terminals that can do no more.

Messages go to standard output, everything else to standard error. At a terminal a message stands behind its sender's
name, so that none can look like a line of ours; in a pipe it stands alone.
"""

import io
import shutil
import sys
from collections.abc import Callable
from typing import TextIO

from p2p_core.printable import printable

from p2p_peer.cli import outputs
from p2p_peer.cli.console import is_dumb, with_tabs
from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.rows import in_rows

__all__ = ["LineConsole"]


class LineConsole:
    """Implements `Console`."""

    def __init__(self, lines: InputLines | None = None) -> None:
        """`lines`: of standard input, if somebody else takes some of them as well."""
        self._input = lines or InputLines()
        self._shows_progress = sys.stderr.isatty() and not is_dumb()
        self._progress_width = 0  # of the line that the cursor stands in
        self._standard_error = sys.stderr
        if self._shows_progress:
            sys.stderr = _InPlaceOf(self._standard_error, self._wipe)
        self._waits = False  # what is typed

    async def next(self) -> str | None:
        """As in `Console`."""
        return await self._input.next()

    @property
    def progress_columns(self) -> int | None:
        """As in `Console`."""
        return shutil.get_terminal_size().columns - 1 if self._shows_progress else None

    def message(self, sender: str, text: str) -> None:
        """As in `Console`."""
        self._wipe()
        if sys.stdout.isatty():
            prefix = f"{sender}> "
            outputs.say(f"{prefix}{_in_rows(with_tabs(text).expandtabs(), prefix)}\n")
        else:
            outputs.say(f"{with_tabs(text)}\n")

    def own_message(self, text: str) -> Callable[[bool], None]:
        """The terminal has shown it already, when it was typed."""
        if self._waits:
            self.notice("waiting: it is sent when there is a connection again")
        return lambda delivered: self.notice("delivered" if delivered else f"not delivered: {text}")

    def waiting(self, *, waits: bool) -> None:
        """As in `Console`."""
        self._waits = waits

    def command(self, line: str) -> None:
        """The terminal has shown it already."""

    def notice(self, text: str) -> None:
        """As in `Console`."""
        self._wipe()
        line = printable(text)
        sys.stderr.write(f"* {_in_rows(line, '* ') if sys.stderr.isatty() else line}\n")
        sys.stderr.flush()

    @property
    def room(self) -> tuple[int, int] | None:
        """As in `Console`."""
        return shutil.get_terminal_size() if sys.stderr.isatty() and not is_dumb() else None

    def verbatim(self, text: str) -> None:
        """As in `Console`."""
        self._wipe()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def progress(self, transfer: int, line: str) -> None:
        """As in `Console`, of one transfer at a time: there is one line for it."""
        if self._shows_progress:
            width = shutil.get_terminal_size().columns - 1
            self._standard_error.write(f"\r{printable(line)[:width]:{width}}")
            self._standard_error.flush()
            self._progress_width = width  # all of it: a terminal may have put ^C there

    def progress_over(self, transfer: int) -> None:
        """As in `Console`."""
        self._wipe()

    async def close(self) -> None:
        """As in `Console`."""
        self._wipe()
        sys.stderr = self._standard_error

    def _wipe(self) -> None:
        if self._progress_width:
            self._standard_error.write(f"\r{'':{self._progress_width}}\r")
            self._standard_error.flush()
            self._progress_width = 0


class _InPlaceOf(io.TextIOBase):
    """Stands for standard error where progress is shown: what is written there takes the place of that."""

    def __init__(self, stream: TextIO, wipe: Callable[[], None]) -> None:
        self._stream, self._wipe = stream, wipe

    def write(self, text: str) -> int:
        self._wipe()
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()


def _in_rows(text: str, prefix: str) -> str:
    return in_rows(text, shutil.get_terminal_size().columns, len(prefix))
