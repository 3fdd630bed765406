"""Standard output and error when nobody reads them: what is said goes nowhere then, and the program goes on."""

import errno
import os
import select
import sys

__all__ = ["LOST", "flush", "silence", "silence_blocked"]

LOST = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT)  # no reader, no terminal, no room any more

_DESCRIPTORS = {1, 2}


def flush() -> None:
    """Say what has not been said yet. Raises one of `LOST` when an output is lost."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


def silence() -> None:
    """Say nothing more."""
    for descriptor in _DESCRIPTORS:
        _silence(descriptor)


def silence_blocked() -> None:
    """Silence every output that takes no more now. A write that hangs on it goes on, and is done (PEP 475)."""
    _, taking, _ = select.select((), _DESCRIPTORS, (), 0)
    for descriptor in _DESCRIPTORS - set(taking):
        _silence(descriptor)


def _silence(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
