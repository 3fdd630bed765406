"""Errors and warnings for people, on standard error: what happened, and below it what to do."""

import shutil
import sys

from p2p_core.errors import PunchwireError
from p2p_core.printable import printable

from p2p_peer.cli.rows import in_rows

__all__ = ["print_error", "print_warning"]

_PROGRAM = "p2p-peer: "


def print_error(error: PunchwireError) -> None:
    """Print an error; what a terminal might obey in it is shown as an escape."""
    _print(str(error), error.advice)


def print_warning(text: str, advice: str) -> None:
    """Print a warning: nothing is lost yet."""
    _print(f"warning: {text}", advice)


def _print(sentence: str, advice: str) -> None:
    sys.stderr.write(f"{_PROGRAM}{_shown(sentence)}\n")
    if advice:
        sys.stderr.write(f"{'':{len(_PROGRAM)}}{_shown(advice)}\n")
    sys.stderr.flush()


def _shown(text: str) -> str:
    """Return `text` fit for a terminal: some may be somebody else's, and is not to look like a line where it wraps."""
    if not sys.stderr.isatty():
        return printable(text)
    return in_rows(printable(text), shutil.get_terminal_size().columns, len(_PROGRAM))
