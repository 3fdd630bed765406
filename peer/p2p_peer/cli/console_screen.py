"""A terminal with the line that is typed at its foot, which nothing that is shown tears.

Above the prompt stand our messages on their way and the transfers that run. Once a message is delivered it moves up
into the terminal's own history, with everything else that was said.
"""

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import Callable, Iterable

from p2p_core.printable import printable
from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.layout import BufferControl, ConditionalContainer, FormattedTextControl, HSplit, Layout, Window
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output.color_depth import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style

from p2p_peer.cli.chat_commands import CHAT_COMMANDS
from p2p_peer.cli.console import with_tabs
from p2p_peer.cli.rows import in_rows

__all__ = ["ScreenConsole"]

_MAX_ROWS = 5  # of each kind above the prompt
_STYLE = Style.from_dict(
    {"peer": "ansigreen bold", "own": "bold", "mark": "ansibrightblack", "notice": "ansicyan", "failed": "ansired"}
)
_Fragments = list[tuple[str, str]]  # (style class, text), one line


class ScreenConsole:
    """Implements `Console`. The prompt is there from the first `next` on."""

    def __init__(self) -> None:
        self._typed: asyncio.Queue[str | None] = asyncio.Queue()
        self._lines: list[_Fragments] = []  # to be printed above the prompt
        self._on_their_way: dict[int, str] = {}
        self._waits = False  # what is on its way
        self._transfers: dict[int, str] = {}
        self._sent = 0
        self._output = _Output.from_pty(sys.stdout, os.environ.get("TERM"), ColorDepth.from_env())
        self._output.enable_cpr = False  # its answer can come late and look typed, and we need no cursor position
        self._app = self._application()
        self._running: asyncio.Task[None] | None = None
        self._standard_error = sys.stderr

    async def next(self) -> str | None:
        """As in `Console`."""
        if self._running is None:
            sys.stderr = _Above(self._story)
            # We have our own handling of signals and of what goes wrong.
            run = self._app.run_async(handle_sigint=False, set_exception_handler=False)
            self._running = asyncio.create_task(run)
            self._running.add_done_callback(self._ended)
        return await self._typed.get()

    @property
    def progress_columns(self) -> int:
        """As in `Console`."""
        return self._output.get_size().columns

    def message(self, sender: str, text: str) -> None:
        """As in `Console`."""
        prefix = f"{sender}> "
        self._print([("class:peer", prefix), ("", self._in_rows(_shown(text), prefix))])

    def own_message(self, text: str) -> Callable[[bool], None]:
        """As in `Console`."""
        self._sent += 1
        number = self._sent
        self._on_their_way[number] = text
        self._app.invalidate()

        def settle(delivered: bool) -> None:
            if self._on_their_way.pop(number, None) is not None:
                self._print_own(text, delivered=delivered)

        return settle

    def waiting(self, *, waits: bool) -> None:
        """As in `Console`."""
        self._waits = waits
        self._app.invalidate()

    def command(self, line: str) -> None:
        """As in `Console`."""
        self._print([("class:mark", f"> {self._in_rows(printable(line), '> ')}")])

    def notice(self, text: str) -> None:
        """As in `Console`."""
        self._print([("class:notice", f"* {self._in_rows(printable(text), '* ')}")])

    @property
    def room(self) -> tuple[int, int]:
        """As in `Console`."""
        size = self._output.get_size()
        return size.columns, size.rows

    def verbatim(self, text: str) -> None:
        """As in `Console`."""
        self._print([("[ZeroWidthEscape]", text.replace("\n", "\r\n"))])  # which is written as it is

    def progress(self, transfer: int, line: str) -> None:
        """As in `Console`."""
        self._transfers[transfer] = line
        self._app.invalidate()

    def progress_over(self, transfer: int) -> None:
        """As in `Console`."""
        self._transfers.pop(transfer, None)
        self._app.invalidate()

    async def close(self) -> None:
        """As in `Console`."""
        for text in self._on_their_way.values():
            self._print_own(text, delivered=False)
        self._on_their_way.clear()
        self._flush()
        if self._running is not None:
            if self._app.is_running and not self._app.is_done:
                self._app.exit()
            await asyncio.gather(self._running, return_exceptions=True)
            sys.stderr = self._standard_error

    def _story(self, line: str) -> None:
        self._print([("class:mark", self._in_rows(printable(line), ""))])

    def _in_rows(self, text: str, prefix: str) -> str:
        return in_rows(text, self._output.get_size().columns, len(prefix))

    def _print_own(self, text: str, *, delivered: bool) -> None:
        mark = ("class:mark", " (delivered)") if delivered else ("class:failed", " (not delivered)")
        self._print([("class:own", "you> "), ("", self._in_rows(_shown(text), "you> ")), mark])

    def _print(self, line: _Fragments) -> None:
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)  # all that comes in one turn of the loop, at once
        self._lines.append(line)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        shows_prompt = self._app.is_running
        if shows_prompt:
            self._app.renderer.erase()
        for line in lines:
            print_formatted_text(self._output, FormattedText([*line, ("", "\n")]), _STYLE)
        if shows_prompt:
            self._app.renderer.reset()
            self._app.invalidate()

    def _ended(self, running: "asyncio.Task[None]") -> None:
        """The prompt has gone; nothing more can be typed."""
        if not running.cancelled():
            running.exception()  # EOFError: the terminal is gone
        self._typed.put_nowait(None)

    def _application(self) -> "Application[None]":
        line = Buffer(
            multiline=False, history=InMemoryHistory(), completer=_CommandCompleter(), accept_handler=self._accept
        )
        rows = Window(FormattedTextControl(self._rows), wrap_lines=True, dont_extend_height=True)
        prompt = Window(
            BufferControl(line, input_processors=[BeforeInput("> ")]), wrap_lines=True, dont_extend_height=True
        )
        has_rows = Condition(lambda: bool(self._on_their_way or self._transfers))
        return Application(
            layout=Layout(HSplit([ConditionalContainer(rows, has_rows), prompt]), focused_element=prompt),
            key_bindings=self._keys(line),
            style=_STYLE,
            input=create_input(sys.stdin),
            output=self._output,
            erase_when_done=True,
        )

    def _rows(self) -> FormattedText:
        lines: list[_Fragments] = []
        texts, mark = list(self._on_their_way.values()), "waiting" if self._waits else "sent"
        if len(texts) > _MAX_ROWS:
            lines.append([("class:mark", f"{len(texts) - _MAX_ROWS} more messages {mark}")])
        lines += [
            [("class:own", "you> "), ("", _shown(text)), ("class:mark", f" ({mark})")] for text in texts[-_MAX_ROWS:]
        ]
        lines += [[("class:notice", printable(line))] for line in list(self._transfers.values())[:_MAX_ROWS]]
        return FormattedText([part for line in lines for part in (*line, ("", "\n"))][:-1])

    def _accept(self, line: Buffer) -> bool:
        lines = line.text.split("\n")
        for text in lines:
            # Several were pasted, and nobody has read them as commands: each is said, as // says it.
            self._typed.put_nowait(f"/{text}" if len(lines) > 1 and text.startswith("/") else text)
        return False  # the line is empty again

    def _keys(self, line: Buffer) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("c-c")
        def _(event: KeyPressEvent) -> None:
            signal.raise_signal(signal.SIGINT)  # as a terminal does it that is not in raw mode

        @keys.add("c-d", filter=Condition(lambda: not line.text))
        def _(event: KeyPressEvent) -> None:
            self._typed.put_nowait("/quit")

        @keys.add("c-z")
        def _(event: KeyPressEvent) -> None:
            event.app.suspend_to_background()

        return keys


def _shown(text: str) -> str:
    return with_tabs(text).expandtabs()  # the screen counts columns


class _Above(io.TextIOBase):
    """Stands for standard error while the prompt is shown: what is written there has to go above it."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._begun = ""

    def write(self, text: str) -> int:
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            self._show(line)
        return len(text)


class _Output(Vt100_Output):
    """A terminal that may go away in the middle of a word: the hangup signal, or the end of input, tells the rest."""

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


class _CommandCompleter(Completer):
    """Completes a command, and the path behind /send."""

    def __init__(self) -> None:
        self._commands = list(dict.fromkeys(usage.split()[0] for usage, _ in CHAT_COMMANDS))
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """As in `Completer`."""
        text = document.text_before_cursor
        if text.startswith("/send "):
            path = Document(text.removeprefix("/send ").lstrip())
            yield from self._paths.get_completions(path, complete_event)
        elif text.startswith("/") and " " not in text:
            yield from (Completion(command, -len(text)) for command in self._commands if command.startswith(text))
