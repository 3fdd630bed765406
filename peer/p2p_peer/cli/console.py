"""Where a person reads and types: one interface, two implementations."""

import os
from collections.abc import Callable
from typing import Protocol

from p2p_core.printable import printable

__all__ = ["Console", "LineSource", "is_dumb", "with_tabs"]


def is_dumb() -> bool:
    """Return whether the terminal shows lines and can do nothing else."""
    return os.environ.get("TERM", "dumb") in ("dumb", "unknown")


def with_tabs(text: str) -> str:
    """Return `text` with nothing for a terminal to obey but its tabs: columns of code stay columns."""
    return "\t".join(printable(part) for part in text.split("\t"))


class LineSource(Protocol):
    """Where typed lines come from."""

    async def next(self) -> str | None:
        """Return the next line without its end, or None when no more will come."""


class Console(LineSource, Protocol):
    """Shows lines, and takes what is typed. Of what it is given to show, a terminal obeys nothing but `verbatim`."""

    @property
    def progress_columns(self) -> int | None:
        """How wide what `progress` shows may be; None where it is not shown."""

    def message(self, sender: str, text: str) -> None:
        """Show what the other side wrote."""

    def own_message(self, text: str) -> Callable[[bool], None]:
        """Show that a message is on its way; what is returned is called with whether it was delivered."""

    def waiting(self, *, waits: bool) -> None:
        """From now on what is on its way waits for a connection, or does so no more."""

    def command(self, line: str) -> None:
        """A typed line was a command, and will be carried out."""

    def notice(self, text: str) -> None:
        """Show a line of the program."""

    @property
    def room(self) -> tuple[int, int] | None:
        """How many columns and rows the terminal has; None where no picture can be shown."""

    def verbatim(self, text: str) -> None:
        """Show `text` as it is, on lines of its own, which the terminal alone breaks: it is all ours."""

    def progress(self, transfer: int, line: str) -> None:
        """Show how far a transfer is, in place of what was shown of it before."""

    def progress_over(self, transfer: int) -> None:
        """Show no more of a transfer."""

    async def close(self) -> None:
        """Leave the terminal as it was."""
