"""Standard output and error when nobody reads them, for a while or any more."""

import errno
import os
import select
import sys

__all__ = ["LOST", "flush", "room", "silence", "silence_blocked"]

LOST = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT)  # no reader, no terminal, no room any more

_DESCRIPTORS = {1, 2}


async def room(descriptor: int = 1) -> None:
    """Wait until an output takes more: its reader may pause, as `less` does, and the session has to live on."""
    import asyncio  # not before it is needed: see `p2p_peer.cli`

    _, taking, _ = select.select((), (descriptor,), (), 0)
    if taking:
        return
    loop = asyncio.get_running_loop()
    takes = asyncio.Event()
    loop.add_writer(descriptor, takes.set)
    try:
        await takes.wait()
    finally:
        loop.remove_writer(descriptor)


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
