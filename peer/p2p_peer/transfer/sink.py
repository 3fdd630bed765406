"""Verifies blocks and writes them under a temporary name: one thread for each file being received.

The file takes its final name only when every block and the signed root have been verified. Everything happens
inside the target folder, which is held open: it cannot be swapped for another one meanwhile.
"""

import contextlib
import errno
import functools
import os
import secrets
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from blake3 import blake3
from p2p_core.errors import TransferFailed
from p2p_core.file_root import block_digest
from p2p_core.safe_names import safe_name, with_number
from p2p_core.wire.frames import FileOffer

__all__ = ["FileSink", "Stored"]

BUFFERS = 4  # as many as the source has, for the same reason
MAX_NAMES = 10_000  # tried before a folder full of the same name is given up
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})  # FAT, some networks


@dataclass(frozen=True, slots=True)
class Stored:
    """A received file."""

    path: Path
    size: int
    blake3: str  # of its content, hex, as b3sum prints it


@dataclass(frozen=True, slots=True)
class _Block:
    buffer: memoryview
    data: memoryview
    digest: bytes
    offset: int


class FileSink:
    """Takes the blocks of one file in order. The callbacks are called in the thread."""

    def __init__(
        self,
        offer: FileOffer,
        folder: Path,
        *,
        verified: Callable[[bytes], None],
        buffer_free: Callable[[], None],
        failed: Callable[[TransferFailed], None],
    ) -> None:
        """Open the temporary file in `folder`.

        `verified` gets each block's hash once it is written; `buffer_free` is called when `take` may succeed again
        after it did not. Raises `TransferFailed`, or `UnsafeName`.
        """
        self._name = safe_name(offer.name)
        self._offer, self._folder = offer, folder
        # Never a program, never wider than this user's files are, and never out of this user's own reach.
        self._mode = offer.mode & 0o666 & ~_umask() | 0o400
        self._verified, self._buffer_free, self._failed = verified, buffer_free, failed
        self._temporary = f".{self._name}.{secrets.token_hex(4)}.part"
        try:
            self._directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritable(f"{folder} cannot be written to", error) from error
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._temporary, flags, 0o600, dir_fd=self._directory)
        except OSError as error:
            os.close(self._directory)
            raise _unwritable(f"{folder} cannot be written to", error) from error
        self._hasher = blake3()
        self._room = min(offer.block_size, offer.size)
        self._free: deque[memoryview] = deque()
        self._unmade = BUFFERS  # made when they are needed: many files may be accepted before the first block comes
        self._somebody_waits = False
        self._work: SimpleQueue[_Block | Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"write {self._name}", daemon=True)
        self._thread.start()

    def take(self) -> memoryview | None:
        """Return a free buffer of a block's size, or None: `buffer_free` is called then."""
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
        """A buffer that was taken is not needed: its block was cut off."""
        self._free.append(buffer)

    def write(self, buffer: memoryview, length: int, digest: bytes, offset: int) -> None:
        """Verify the first `length` bytes of `buffer` against `digest` and write them at `offset`."""
        self._work.put(_Block(buffer, buffer[:length], digest, offset))

    def store(self, done: Callable[[Stored], None]) -> None:
        """Give the file its final name, then call `done` in the thread."""
        self._work.put(lambda: done(self._store()))

    def discard(self) -> None:
        """Remove what was written. After `store` it only ends the thread. May be called again."""
        self._work.put(None)

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended: what was to be removed is removed."""
        self._thread.join()

    def _run(self) -> None:
        stored = False
        try:
            while (work := self._work.get()) is not None:
                if isinstance(work, _Block):
                    self._write(work)
                else:
                    work()
                    stored = True
        except TransferFailed as error:
            self._failed(error)
        except OSError as error:
            self._failed(_unwritable(f"{self._name} cannot be written", error))
        finally:
            with contextlib.suppress(OSError):  # whatever is wrong now, the file was given up for it already
                self._close()
            if not stored:
                with contextlib.suppress(OSError):  # somebody removed it, or the folder, or made that read-only
                    os.unlink(self._temporary, dir_fd=self._directory)
            os.close(self._directory)

    def _write(self, block: _Block) -> None:
        if block_digest(block.data) != block.digest:
            raise TransferFailed(f"a block of {self._name} did not arrive as it was sent")
        data, offset = block.data, block.offset
        while data:
            count = os.pwrite(self._descriptor, data, offset)
            data, offset = data[count:], offset + count
        self._hasher.update(block.data)
        self._free.append(block.buffer)
        self._verified(block.digest)
        if self._somebody_waits:
            self._somebody_waits = False
            self._buffer_free()

    def _store(self) -> Stored:
        with contextlib.suppress(OSError):  # both are suggestions, and not every file system can follow them
            os.fchmod(self._descriptor, self._mode)
        with contextlib.suppress(OSError):
            mtime = min(self._offer.mtime_ns, 2**63 - 1)
            os.utime(self._descriptor, ns=(mtime, mtime))
        self._close()  # before it gets its name: a network's file system may say only here that there is no room
        name = self._take_name()
        return Stored(self._folder.resolve() / name, self._offer.size, self._hasher.hexdigest())

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _take_name(self) -> str:
        """Move the file to the first name that is free; nothing is ever overwritten."""
        for number in range(MAX_NAMES):
            name = with_number(self._name, number) if number else self._name
            try:
                self._move(name)
            except FileExistsError:
                continue
            return name
        raise TransferFailed(f"{self._folder} is full of files named {self._name}", advice="Choose another folder.")

    def _move(self, name: str) -> None:
        where = {"src_dir_fd": self._directory, "dst_dir_fd": self._directory}
        try:
            os.link(self._temporary, name, follow_symlinks=False, **where)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._directory))
            try:
                os.rename(self._temporary, name, **where)
            except OSError:
                os.unlink(name, dir_fd=self._directory)  # ours, and empty
                raise
        else:
            os.unlink(self._temporary, dir_fd=self._directory)


def _unwritable(what: str, error: OSError) -> TransferFailed:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    advice = "Make room on that disk" if full else "Choose a folder that can be written to"
    return TransferFailed(f"{what}: {error.strerror}", advice=f"{advice}, and send the file again.")


@functools.cache
def _umask() -> int:
    """The process's umask. It can only be read by setting it, so it is read once."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
