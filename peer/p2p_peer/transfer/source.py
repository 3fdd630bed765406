"""Reads a file in blocks, hashes each, and keeps a few ready: one thread for each file being sent."""

import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue

from p2p_core.errors import PunchwireError, SourceChanged, TransferFailed
from p2p_core.file_root import block_count, block_digest, block_length
from p2p_core.wire.frames import BLOCK_HEADER_BYTES, HEADER_BYTES

__all__ = ["BUFFERS", "FRAME_ROOM", "FileSource", "OpenFile", "ReadyBlock"]

FRAME_ROOM = HEADER_BYTES + BLOCK_HEADER_BYTES  # kept free before the data, so that a block goes out in one write
BUFFERS = 4  # enough that disk, hash and socket never wait for each other (measured: 3 did, 8 gained nothing)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file opened for sending, and what it was then."""

    descriptor: int
    path: Path
    size: int
    mode: int  # permission bits
    mtime_ns: int  # as an offer can carry it: not before 1970

    @classmethod
    def open(cls, path: Path) -> "OpenFile":
        """Open `path`. Raises `TransferFailed` when it cannot be read or is no regular file."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block us
        except OSError as error:
            raise TransferFailed(f"{path} cannot be read: {error.strerror}") from error
        except ValueError:  # a NUL in it
            raise TransferFailed(f"{str(path)!r} cannot be the path of a file") from None
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise TransferFailed(
                f"{path} is not a file", advice="Send a file; a folder can be packed into one, with tar."
            )
        return cls(descriptor, path, status.st_size, stat.S_IMODE(status.st_mode) & 0o777, _mtime_ns(status))

    @property
    def name(self) -> str:
        """The file's own name as valid text; bytes that are no UTF-8 become U+FFFD."""
        return os.fsencode(self.path.name).decode("utf-8", "replace")

    def check_unchanged(self) -> None:
        """Raise `SourceChanged` unless size and time of change are what they were, and the size is true."""
        status = os.fstat(self.descriptor)
        if (status.st_size, _mtime_ns(status)) != (self.size, self.mtime_ns):
            raise SourceChanged(f"{self.path} changed while it was sent")
        if os.pread(self.descriptor, 1, self.size):  # as of those in /proc, which have a size of 0
            raise SourceChanged(f"{self.path} has more bytes than its size says", advice="Copy it, and send the copy.")

    def again(self) -> "OpenFile":
        """Return the same open file under a descriptor of its own, to be closed for itself. Raises `OSError`."""
        return replace(self, descriptor=os.dup(self.descriptor))

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)


def _mtime_ns(status: os.stat_result) -> int:
    return max(status.st_mtime_ns, 0)


@dataclass(frozen=True, slots=True)
class ReadyBlock:
    """A block to send."""

    frame: memoryview  # FRAME_ROOM bytes for its frame's header, then the data
    digest: bytes
    buffer: memoryview  # what `frame` is a part of

    @property
    def length(self) -> int:
        """Bytes of data."""
        return len(self.frame) - FRAME_ROOM


class FileSource:
    """The blocks of one file, in order. `notify` is called in the thread when something may have become ready."""

    def __init__(self, file: OpenFile, block_size: int, notify: Callable[[], None], first: int = 0) -> None:
        """Begin with block `first`. `file` has to stay open until `start`; it is not closed here."""
        self.error: PunchwireError | None = None
        self.is_exhausted = False
        self._file, self._block_size, self._notify = file, block_size, notify
        self._ready: deque[ReadyBlock] = deque()
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._indices = range(first, block_count(file.size, block_size))
        room = FRAME_ROOM + min(block_size, file.size)
        for _ in range(min(BUFFERS, len(self._indices))):
            self._free.put(memoryview(bytearray(room)))
        self._thread = threading.Thread(target=self._run, name=f"read {file.path.name}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        try:
            self._file = self._file.again()
        except OSError as error:
            self.error = _unreadable(self._file, error)
            self._notify()
        else:
            self._thread.start()

    def take(self) -> ReadyBlock | None:
        """Return the next block if one is ready. After the last, `is_exhausted` is true or `error` is set."""
        return self._ready.popleft() if self._ready else None

    @property
    def is_done(self) -> bool:
        """Whether every block has been taken and the file was found unchanged."""
        return self.is_exhausted and not self._ready

    def give_back(self, block: ReadyBlock) -> None:
        """`block` is sent: its buffer may be used again."""
        self._free.put(block.buffer)

    def stop(self) -> None:
        """Stop reading. May be called at any time, and again."""
        self._free.put(None)

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            offset = self._indices.start * self._block_size
            for index in self._indices:
                buffer = self._free.get()
                if buffer is None:
                    return
                frame = buffer[: FRAME_ROOM + block_length(self._file.size, self._block_size, index)]
                data = frame[FRAME_ROOM:]
                offset = self._fill(data, offset)
                self._ready.append(ReadyBlock(frame, block_digest(data), buffer))
                self._notify()
            self._file.check_unchanged()
            self.is_exhausted = True
        except PunchwireError as error:
            self.error = error
        except OSError as error:
            self.error = _unreadable(self._file, error)
        finally:
            self._file.close()
            self._notify()

    def _fill(self, space: memoryview, offset: int) -> int:
        """Fill `space` from `offset` in the file; return the offset behind it."""
        while space:
            count = os.preadv(self._file.descriptor, [space], offset)
            if count == 0:
                raise SourceChanged(f"{self._file.path} became shorter while it was sent")
            space, offset = space[count:], offset + count
        return offset


def _unreadable(file: OpenFile, error: OSError) -> TransferFailed:
    return TransferFailed(f"{file.path} cannot be read: {error.strerror}")
