"""Standard output and error when nobody reads them, for a while or any more."""

import errno
import os
import select
import sys
from collections import deque
from typing import BinaryIO

__all__ = ["LOST", "flush", "lend", "said", "say", "silence", "silence_blocked"]

LOST = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT)  # no reader, no terminal, no room any more

_STANDARD_OUTPUT = 1
_DESCRIPTORS = {_STANDARD_OUTPUT, 2}
_PART = 400  # characters; a pipe that takes anything takes a page, and a character is at most ten bytes, as an escape

_handed_over: deque[str] = deque()


def lend() -> BinaryIO:
    """Return standard output, for the bytes of a file: what is said goes to standard error from now on."""
    sys.stdout.flush()
    lent = os.fdopen(os.dup(_STANDARD_OUTPUT), "wb", buffering=0)
    os.dup2(2, _STANDARD_OUTPUT, inheritable=False)
    return lent


def say(text: str) -> None:
    """Hand over `text` for standard output; `said` or `flush` writes it."""
    _handed_over.append(text)


async def said() -> None:
    """Write what was handed over as its reader takes it, who may pause, as `less` does: the session has to live on.

    With nothing to write it waits for room all the same: there are terminals slower than those who write to them.
    """
    while True:
        await _room()
        if not _handed_over:
            return
        text = _handed_over.popleft()
        sys.stdout.write(text[:_PART])
        sys.stdout.flush()
        if len(text) > _PART:
            _handed_over.appendleft(text[_PART:])
        elif not _handed_over:
            return


def flush() -> None:
    """Say what has not been said yet. Raises one of `LOST` when an output is lost."""
    while _handed_over:
        sys.stdout.write(_handed_over.popleft())
    for stream in (sys.stdout, sys.stderr):
        stream.flush()


async def _room() -> None:
    import asyncio  # not before it is needed: see `p2p_peer.cli`

    await asyncio.sleep(0)  # what is shown is on its way then, and signals and keys are heard
    _, taking, _ = select.select((), (_STANDARD_OUTPUT,), (), 0)
    if taking:
        return
    loop = asyncio.get_running_loop()
    takes = asyncio.Event()
    loop.add_writer(_STANDARD_OUTPUT, takes.set)
    try:
        await takes.wait()
    finally:
        loop.remove_writer(_STANDARD_OUTPUT)


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
