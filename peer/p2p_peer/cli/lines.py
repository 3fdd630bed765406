"""Lines of standard input, without blocking the event loop, from a terminal, a pipe or a file."""

import asyncio
import os
import sys
import threading

from p2p_core import limits

__all__ = ["InputLines"]

_CHUNK = 65536
_LONGEST = 2 * limits.MAX_TEXT_BYTES  # no message can be this long: what comes without an end is not collected for ever


class InputLines:
    """Reads standard input in a thread of its own, from the first `next` on; end of input is None.

    The thread reads the descriptor itself: a thread that holds `sys.stdin`'s lock would end Python with an error.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None  # None: nothing is read yet
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = threading.Semaphore(64)  # lines read ahead: a huge file must not fill the memory
        self._ended = False
        self._waiting = 0  # lines that have come and that nobody took yet
        self._more_may_come = True

    async def next(self) -> str | None:
        """Return the next line without its end, or None at the end of input and ever after.

        Bytes that are no UTF-8 are in it as lone surrogates: whoever sends it finds out.
        """
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            threading.Thread(target=self._run, args=(self._loop,), name="stdin", daemon=True).start()
        if self._ended:
            return None
        line = await self._lines.get()
        self._room.release()
        self._ended = line is None
        self._waiting -= line is not None
        return line

    @property
    def has_more(self) -> bool:
        """Whether there are lines that nobody took yet, or may be: the input has not ended."""
        return self._more_may_come or self._waiting > 0

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        descriptor, rest = sys.stdin.fileno(), b""
        while True:
            try:
                data = os.read(descriptor, _CHUNK)
            except OSError:  # the terminal is gone
                data = b""
            *lines, rest = (rest + data).split(b"\n")
            if rest and (not data or len(rest) > _LONGEST):
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._hand_over(loop, line.removesuffix(b"\r").decode("utf-8", "surrogateescape"))
            if not data:
                self._hand_over(loop, None)
                return

    def _hand_over(self, loop: asyncio.AbstractEventLoop, line: str | None) -> None:
        self._room.acquire()
        try:
            loop.call_soon_threadsafe(self._came, line)
        except RuntimeError:  # the loop has ended: nobody wants the line any more
            return

    def _came(self, line: str | None) -> None:
        self._waiting += line is not None
        self._more_may_come = line is not None
        self._lines.put_nowait(line)
