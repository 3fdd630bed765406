"""Takes blocks as they arrive, verifies each, and has it stored: one thread for each transfer that is received."""

import errno
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue

from p2p_core import limits
from p2p_core.errors import PunchwireError, TransferFailed
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import Manifest
from p2p_core.printable import printable
from p2p_core.ranges import Ranges

__all__ = ["BUFFERS", "BlockWriter", "Callbacks", "Finished", "unwritable"]

BUFFERS = 4  # as many as the source has, for the same reason


@dataclass(frozen=True, slots=True)
class Finished:
    """A transfer that is stored, as far as that was possible."""

    root: bytes
    missing: Ranges  # entries that came, and could not be stored
    paths: tuple[Path, ...]  # of what is at the top level
    files: int  # stored, of all
    bytes: int  # of these
    ledger: Ledger  # the thread does not use it any more


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a writer tells. All are called in its thread."""

    verified: Callable[[int, int], None]  # every block before this one that came is stored; bytes that came with it
    buffer_free: Callable[[], None]  # `take` may succeed again after it did not
    file_failed: Callable[[int, TransferFailed], None]  # an entry; the others go on
    failed: Callable[[TransferFailed], None]  # nothing more comes of the transfer: `discard` is due
    finished: Callable[[Finished], None]  # as `finish` asked for


class BlockWriter(ABC):
    """Takes the blocks of one transfer in rising order. Whatever happens, `discard` has to be called in the end."""

    def __init__(self, manifest: Manifest, ledger: Ledger, callbacks: Callbacks) -> None:
        """`start` is still to be called."""
        self.has_come = False  # there is something to go on with another time; an offer alone leaves nothing behind
        self._manifest, self._ledger, self._callbacks = manifest, ledger, callbacks
        self._room = limits.MAX_BLOCK_SIZE if manifest.stream is not None else manifest.total_bytes
        self._room = min(self._room, limits.MAX_BLOCK_SIZE)
        self._free: deque[memoryview] = deque()
        self._unmade = BUFFERS  # made when they are needed: many transfers may be accepted long before
        self._somebody_waits = False
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_discarded, self._is_kept = False, True
        self._thread = threading.Thread(target=self._run, name="write", daemon=True)

    def start(self) -> None:
        """Begin to take blocks."""
        self._thread.start()

    def take(self) -> memoryview | None:
        """Return a free buffer that has room for a frame's blocks, or None: `buffer_free` is called then."""
        if not self._free and self._unmade:
            self._unmade -= 1
            return memoryview(bytearray(self._room))
        if not self._free:
            self._somebody_waits = True
            if not self._free:
                return None
            self._somebody_waits = False
        return self._free.popleft()

    def give_back(self, buffer: memoryview) -> None:
        """A buffer that was taken is not needed: its blocks were cut off."""
        self._free.append(buffer)

    def write(self, buffer: memoryview, first: int, digests: bytes, length: int) -> None:
        """Verify and store consecutive blocks: the first `length` bytes of `buffer`, with 32 bytes of hash for each."""
        self._work.put(partial(self._verify, buffer, first, digests, length))

    def drop(self, entry: int) -> None:
        """The sender sends no more of a file: what has come of it goes."""
        self._work.put(partial(self._drop, entry))

    def stream_ended(self, size: int) -> None:
        """The stream had `size` bytes."""
        self._work.put(partial(self._ledger.end_stream, size))

    def finish(self, absent: Ranges) -> None:
        """All has come, but the files of `absent`: store what is left, then say `finished`."""
        self._work.put(partial(self._finish, absent))

    def discard(self, *, keep: bool) -> None:
        """End the thread. `keep` what is needed to go on another time; else remove it. May be called again."""
        if not self._is_discarded:
            self._is_kept = keep
            self._is_discarded = True
        self._work.put(None)

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended: what was to be removed is removed."""
        self._thread.join()

    @abstractmethod
    def _store(self, entry: int, ordinal: int, offset: int, data: memoryview, digest: bytes) -> None:
        """Store a verified block, which begins at `offset` in its file."""

    @abstractmethod
    def _stored(self) -> None:
        """A frame's blocks were all given to `_store`."""

    @abstractmethod
    def _drop(self, entry: int) -> None: ...

    @abstractmethod
    def _finish(self, absent: Ranges) -> None: ...

    @abstractmethod
    def _close(self) -> None:
        """Let go of everything: the thread ends."""

    def _run(self) -> None:
        is_broken = False
        try:
            while (work := self._work.get()) is not None:
                if is_broken or self._is_discarded:
                    continue
                try:
                    work()
                except PunchwireError as error:
                    is_broken = True
                    self._fail(error if isinstance(error, TransferFailed) else TransferFailed(str(error)))
                except OSError as error:
                    is_broken = True
                    self._fail(unwritable("it cannot be stored", error))
        finally:
            self._close()

    def _fail(self, error: TransferFailed) -> None:
        if not self._is_discarded:
            self._callbacks.failed(error)

    def _check_wanted(self) -> None:
        """Raise `TransferFailed` if it was given up meanwhile: for what takes long."""
        if self._is_discarded:
            raise TransferFailed("it was given up")

    def _verify(self, buffer: memoryview, first: int, digests: bytes, length: int) -> None:
        manifest, at = self._manifest, 0
        for index in range(len(digests) // limits.HASH_BYTES):
            ordinal = first + index
            entry = manifest.entry_of(ordinal)
            offset = (ordinal - manifest.first_block(entry)) * manifest.block_size
            size = length if entry == manifest.stream else min(manifest.block_size, manifest.size(entry) - offset)
            data, at = buffer[at : at + size], at + size
            digest = digests[index * limits.HASH_BYTES : (index + 1) * limits.HASH_BYTES]
            if block_digest(data) != digest:
                raise TransferFailed(f"a block of {printable(manifest.name(entry))} did not arrive as it was sent")
            self._store(entry, ordinal, offset, data, digest)
        self._stored()
        self._free.append(buffer)
        self._callbacks.verified(first + len(digests) // limits.HASH_BYTES, length)
        if self._somebody_waits:
            self._somebody_waits = False
            self._callbacks.buffer_free()

    def _leave_out(self, absent: Ranges) -> None:
        """Note what did not come. Raises `TransferFailed` when something else did not come either."""
        for first, count in absent:
            for entry in range(first, first + count):
                self._ledger.leave_out(entry)
        for entry in range(len(self._manifest)):
            if (
                self._manifest.is_file(entry)
                and not self._ledger.is_left_out(entry)
                and not self._ledger.has_all(entry)
            ):
                name = printable(self._manifest.name(entry))
                raise TransferFailed(f"the other side ended the transfer before all of {name} had come")


def unwritable(what: str, error: OSError) -> TransferFailed:
    """Return `error` as a sentence, and what to do about it."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Make room on that disk" if full else "Choose a folder that can be written to"
    return TransferFailed(f"{what}: {error.strerror}", advice=f"{advice}, and send it again.")
