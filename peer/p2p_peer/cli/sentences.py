"""Errors and warnings for people, on standard error: what happened, and below it what to do."""

import sys

from p2p_core.errors import PunchwireError
from p2p_core.printable import printable

__all__ = ["print_error", "print_warning"]

_PROGRAM = "p2p-peer: "


def print_error(error: PunchwireError) -> None:
    """Print an error; what a terminal might obey in it is shown as an escape."""
    _print(str(error), error.advice)


def print_warning(text: str, advice: str) -> None:
    """Print a warning: nothing is lost yet."""
    _print(f"warning: {text}", advice)


def _print(sentence: str, advice: str) -> None:
    sys.stderr.write(f"{_PROGRAM}{printable(sentence)}\n")
    if advice:
        sys.stderr.write(f"{'':{len(_PROGRAM)}}{printable(advice)}\n")
    sys.stderr.flush()
