"""Reads the files of a transfer block by block, hashes each, and keeps a few ready: one thread for each transfer.

Blocks that the other side has are compared, not sent. Small files share a frame, so that each of them costs little. A
file that cannot be read, or is not any more what was offered, is given up alone, and its last block is never sent:
whoever has all the blocks of a file has what was offered.
"""

import errno
import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from p2p_core import limits
from p2p_core.errors import PunchwireError, SourceChanged, TransferFailed
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import Entry, EntryKind
from p2p_core.ranges import Ranges
from p2p_core.wire.frames import BLOCKS_ROOM

from p2p_peer.transfer.ready_blocks import Batch, ReadyBlocks
from p2p_peer.transfer.tree import OpenFolders, SourceTree

__all__ = ["BUFFERS", "Grew", "KnownDigests", "Source", "Unsent"]

BUFFERS = 4  # enough that disk, hash and socket never wait for each other (measured: 3 did, 8 gained nothing)
_NOT_THE_FILES_FAULT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # the next one would fail the same way


class KnownDigests(Protocol):
    """What an earlier run has hashed, and the place to note what this one does. Used in the source's thread."""

    def digests(self, entry: int, status: os.stat_result) -> bytes:
        """Return the hashes of a file's first blocks, as many as are known, if it is the same as it was then."""

    def hashed(self, entry: int, status: os.stat_result, first: int, digests: bytes) -> None:
        """Note the hashes of blocks that were read of a file that has this status; `first` is an ordinal."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """A file that is not sent, or not to its end."""

    entry: int
    error: PunchwireError


@dataclass(frozen=True, slots=True)
class Grew:
    """A file that has grown: what was offered of it is sent, its first `size` bytes."""

    entry: int


class _Stopped(Exception):
    """Nobody wants the blocks any more."""


class Source:
    """The blocks of a transfer's files, in order. `notify` is called in the thread when something may be ready."""

    def __init__(
        self,
        tree: SourceTree,
        wanted: Ranges,
        theirs: Ledger,
        *,
        journal: KnownDigests | None,
        notify: Callable[[], None],
        first: int = 0,
        ledger: Ledger | None = None,
    ) -> None:
        """Read the entries in `wanted`, or all when there are none, from block `first` on.

        `theirs` is what the other side has already. `ledger` is that of a source which came as far as `first` and has
        ended. Neither may be touched by others until this one has ended.
        """
        self.ledger = ledger if ledger is not None else Ledger(tree.manifest)
        self.notices: deque[Unsent | Grew] = deque()  # to be taken from the left
        self.error: PunchwireError | None = None  # of the whole transfer
        self.hashing = False  # whether blocks are being compared with what the other side has
        self.skipped_bytes = 0  # that the other side has
        self._tree, self._theirs, self._journal, self._notify, self._first = tree, theirs, journal, notify, first
        self._wanted = _flags(wanted, len(tree.manifest))
        self._folders = OpenFolders(tree)
        self._ready: deque[ReadyBlocks] = deque()
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._made = 0  # buffers
        self._batch: Batch | None = None
        self._dropped: set[int] = set()
        self._grew: int | None = None  # the file that was said to have grown last
        self._stopping = False
        self._all_read = False
        self._one_more = memoryview(bytearray(1))
        self._thread = threading.Thread(target=self._run, name=f"read {tree.manifest.label()}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def take(self) -> ReadyBlocks | None:
        """Return the next blocks if any are ready. After the last, `is_done` is true or `error` is set."""
        return self._ready.popleft() if self._ready else None

    @property
    def is_done(self) -> bool:
        """Whether every file was read or given up, and all blocks and notices have been taken."""
        return self._all_read and not self._ready and not self.notices

    def give_back(self, blocks: ReadyBlocks) -> None:
        """`blocks` are sent: their buffer may be used again."""
        self._free.put(blocks.buffer)

    def drop(self, entry: int) -> None:
        """The other side cannot store a file: send no more of it, and leave it out unless all of it has been read."""
        self._dropped.add(entry)

    def stop(self) -> None:
        """Stop reading. May be called at any time, and again."""
        self._stopping = True
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
            for index, wanted in enumerate(self._wanted):
                self._go_on()
                if not wanted:
                    self.ledger.leave_out(index)
                elif self._is_to_read(index):
                    self._read_file(index)
            self._flush()
            self._all_read = True
        except _Stopped:
            pass
        except PunchwireError as error:
            self.error = error
        except OSError as error:
            self.error = TransferFailed(f"the files cannot be read: {error.strerror}")
        finally:
            self.hashing = False
            self._folders.close()
            self._notify()

    def _go_on(self) -> None:
        if self._stopping:
            raise _Stopped

    def _is_to_read(self, index: int) -> bool:
        manifest = self._tree.manifest
        if manifest.kind(index) is not EntryKind.FILE or self.ledger.is_left_out(index):
            return False
        count = manifest.block_count(index)
        # An empty file where this source begins may not have been looked at yet.
        return manifest.first_block(index) + count >= self._first + bool(count)

    def _read_file(self, index: int) -> None:
        """Make the blocks of a file ready, or say why there are none."""
        try:
            descriptor = self._folders.open_file(index)
            try:
                self._read_blocks(index, self._tree.manifest[index], descriptor)
            finally:
                os.close(descriptor)
        except TransferFailed as error:
            self._give_up(index, error)
        except OSError as error:
            if error.errno in _NOT_THE_FILES_FAULT:
                raise
            self._give_up(index, TransferFailed(f"{self._tree.local_path(index)} cannot be read: {error.strerror}"))

    def _read_blocks(self, index: int, entry: Entry, descriptor: int) -> None:
        manifest, journal = self._tree.manifest, self._journal
        status = os.fstat(descriptor)
        self._check(index, entry, status)
        begin, count = manifest.first_block(index), manifest.block_count(index)
        known = journal.digests(index, status) if journal is not None and count else b""
        for ordinal in range(max(begin, self._first), begin + count):
            self._go_on()
            if index in self._dropped:
                self._leave_out(index)
                return
            offset = (ordinal - begin) * manifest.block_size
            length = min(manifest.block_size, entry.size - offset)
            at = (ordinal - begin) * limits.HASH_BYTES
            theirs, digest = self._theirs.digest(ordinal), known[at : at + limits.HASH_BYTES]
            self.hashing = theirs is not None
            if theirs is None or digest != theirs:
                space = self._space(ordinal, length)
                self._fill(space, descriptor, offset, index)
                digest = block_digest(space)
                if journal is not None:
                    journal.hashed(index, status, ordinal, digest)
            if ordinal == begin + count - 1:
                self._check_end(index, entry, descriptor)
            if digest == theirs:
                self._skip(ordinal, length, digest)
            else:
                assert self._batch is not None
                self._batch.add(ordinal, length, digest)
        if not count:
            self._check_end(index, entry, descriptor)

    def _check(self, index: int, entry: Entry, status: os.stat_result) -> None:
        """Raise `SourceChanged` unless a file is what was offered, or has grown."""
        if not stat.S_ISREG(status.st_mode):
            raise SourceChanged(f"{self._tree.local_path(index)} is not a file any more")
        if status.st_size > entry.size:
            if self._grew != index:
                self._grew = index
                self._tell(Grew(index))
        elif status.st_size < entry.size:
            raise self._became_shorter(index)
        elif max(status.st_mtime_ns, 0) != entry.mtime_ns:
            raise SourceChanged(f"{self._tree.local_path(index)} changed after it was offered")

    def _check_end(self, index: int, entry: Entry, descriptor: int) -> None:
        """Raise `SourceChanged` unless a file is what was offered, or has grown, and its size is true."""
        more = os.preadv(descriptor, (self._one_more,), entry.size)
        status = os.fstat(descriptor)
        self._check(index, entry, status)
        if more and status.st_size == entry.size:  # as those in /proc, which have a size of 0
            path = self._tree.local_path(index)
            raise SourceChanged(f"{path} has more bytes than its size says", advice="Copy it, and send the copy.")

    def _fill(self, space: memoryview, descriptor: int, offset: int, index: int) -> None:
        """Fill `space` from `offset` in the file."""
        while space:
            count = os.preadv(descriptor, (space,), offset)
            if count == 0:
                raise self._became_shorter(index)
            space, offset = space[count:], offset + count

    def _space(self, ordinal: int, length: int) -> memoryview:
        """Return where the data of a block belong. May wait for a buffer."""
        if self._batch is not None and not self._batch.takes(ordinal, length):
            self._flush()
        if self._batch is None:
            self._batch = Batch(self._buffer())
        return self._batch.space(length)

    def _buffer(self) -> memoryview:
        if self._made < BUFFERS and self._free.empty():
            self._made += 1
            manifest = self._tree.manifest
            return memoryview(bytearray(BLOCKS_ROOM + min(manifest.block_size, manifest.total_bytes)))
        buffer = self._free.get()
        if buffer is None:
            raise _Stopped
        return buffer

    def _flush(self) -> None:
        """Make the blocks that have been read ready."""
        if self._batch is not None and self._batch.digests:
            blocks, self._batch = self._batch.ready(), None
            self.ledger.put(blocks.first, blocks.digests)
            self._ready.append(blocks)
            self._notify()

    def _skip(self, ordinal: int, length: int, digest: bytes) -> None:
        """Do not send a block that the other side has."""
        self._flush()  # what follows is not consecutive to it, and may be long in coming
        self.ledger.put(ordinal, digest)
        self.skipped_bytes += length

    def _give_up(self, index: int, error: TransferFailed) -> None:
        self._leave_out(index)
        self._tell(Unsent(index, error))

    def _leave_out(self, index: int) -> None:
        self._flush()
        self.ledger.leave_out(index)

    def _tell(self, notice: Unsent | Grew) -> None:
        self.notices.append(notice)
        self._notify()

    def _became_shorter(self, index: int) -> SourceChanged:
        return SourceChanged(f"{self._tree.local_path(index)} became shorter after it was offered")


def _flags(wanted: Ranges, entries: int) -> bytearray:
    """Return for each entry whether it is wanted; all are when there are no ranges."""
    flags = bytearray(entries) if wanted else bytearray(b"\1") * entries
    for first, count in wanted:
        flags[first : first + count] = b"\1" * count
    return flags
