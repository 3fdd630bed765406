"""A terminal for tests: a pseudo-terminal, and an emulator that knows what stands on its screen."""

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pyte
from pyte.screens import Char

from tests.programs import PATIENCE, end

__all__ = ["COLUMNS", "LINES", "Terminal"]

COLUMNS, LINES = 100, 40
_HISTORY = 1000  # lines


class Terminal:
    """A program at a terminal of its own: what it shows can be waited for, and keys can be typed."""

    def __init__(self, argv: list[str], folder: Path, **environment: str) -> None:
        self._screen = pyte.HistoryScreen(COLUMNS, LINES, history=_HISTORY)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""  # everything the program wrote
        self._seen = 0  # lines that have been waited for
        self._changed = threading.Condition()
        self._over = False
        self._keyboard, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            argv,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=folder,
            env=os.environ | {"TERM": "xterm-256color"} | environment,
            text=True,
            start_new_session=True,
        )
        self._before = termios.tcgetattr(terminal)
        os.close(terminal)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self.process)
        self._reader.join()
        os.close(self._keyboard)

    @property
    def lines(self) -> list[str]:
        """What stands on the screen, and above it: lines without the blanks at their ends."""
        with self._changed:
            return self._lines()

    def cells(self) -> list[list[Char]]:
        """What stands on the screen, and above it, cell by cell: the character and its colours."""
        with self._changed:
            rows = (*self._screen.history.top, *(self._screen.buffer[row] for row in range(LINES)))
            return [[row[column] for column in range(COLUMNS)] for row in rows]

    def shows(self, text: str) -> None:
        """Wait until a line that has `text` in it stands below what was waited for before."""

        def line_of() -> int | None:
            lines = self._lines()
            return next((number for number in range(self._seen, len(lines)) if text in lines[number]), None)

        self._wait(lambda: line_of() is not None, f"{text!r} was not shown")
        with self._changed:
            self._seen = (line_of() or 0) + 1

    def stands(self, text: str) -> None:
        """Wait until a line has `text` in it, wherever it stands: it may be one that moves."""
        self._wait(lambda: any(text in line for line in self._lines()), f"{text!r} does not stand there")

    def is_like(self, *last: str) -> None:
        """Wait until the last lines that are not empty are these."""
        self._wait(lambda: self._lines()[-len(last) :] == list(last), f"the screen does not end with {last}")

    def types(self, line: str) -> None:
        """Type a line."""
        self.presses(f"{line}\r")

    def presses(self, keys: str) -> None:
        """Press keys."""
        os.write(self._keyboard, keys.encode())

    def is_as_before(self) -> bool:
        """Whether the terminal is set as it was before the program began."""
        return termios.tcgetattr(self._keyboard) == self._before

    def _wait(self, condition: Callable[[], bool], complaint: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: condition() or self._over, PATIENCE)
            assert condition(), f"{complaint}:\n" + "\n".join(self._lines())

    def _lines(self) -> list[str]:
        above = ["".join(line[column].data for column in range(COLUMNS)) for line in self._screen.history.top]
        lines = [line.rstrip() for line in (*above, *self._screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._keyboard, 65536)
            except OSError:  # EIO: the last process has closed the terminal
                data = b""
            with self._changed:
                self.raw += data
                self._stream.feed(data)
                self._over = not data
                self._changed.notify_all()
            if not data:
                return
