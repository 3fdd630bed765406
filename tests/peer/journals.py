"""For the tests of journals: a disk without room, threads that sync, and what a ledger knows."""

import os
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from p2p_core.identity import PeerId
from p2p_core.ledger import Ledger
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest

__all__ = ["PATIENCE", "PEER", "SIZE", "digests", "files", "folder", "known", "no_room", "wait_for_syncs"]

PATIENCE = 30.0  # s, for what takes milliseconds
PEER = PeerId(b"p" * 32)
SIZE = 4096


def files(**sizes: int) -> Manifest:
    """Files at the top level, by name, in blocks of SIZE."""
    made = Manifest(SIZE)
    for name, size in sizes.items():
        made.add(Entry(EntryKind.FILE, TOP, name, size))
    return made


def digests(*numbers: int) -> bytes:
    return b"".join(bytes([number]) * 32 for number in numbers)


def known(ledger: Ledger) -> dict[int, int]:
    """The ordinals that are known, each with the number that `digests` made its digest of."""
    return {first + at: run[at * 32] for first, run in ledger.known_runs() for at in range(len(run) // 32)}


@contextmanager
def folder(path: Path) -> Iterator[int]:
    """An open folder."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def no_room(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: as on a full disk, a write is cut there, the next fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def wait_for_syncs() -> None:
    """Wait until no thread syncs any more."""
    for thread in threading.enumerate():
        if thread.name == "sync":
            thread.join()
