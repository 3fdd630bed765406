"""Reads the files of a transfer block by block, hashes each, and keeps a few ready: one thread for each transfer.

Blocks that the other side has are compared, not sent. Small files share a frame, so that each of them costs little. A
file that cannot be read, or is not any more what was offered, is given up alone, and its last block is never sent:
whoever has all the blocks of a file has what was offered.
"""

import copy
import errno
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, PunchwireError, TransferFailed
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import EntryKind
from p2p_core.ranges import Ranges
from p2p_core.wire.frames import BLOCKS_ROOM

from p2p_peer.transfer.ready_blocks import Batch, ReadyBlocks
from p2p_peer.transfer.sent_journal import SentJournal
from p2p_peer.transfer.source_file import SourceFile
from p2p_peer.transfer.stdin_source import StdinSource
from p2p_peer.transfer.tree import OpenFolders, SourceTree, unreadable

__all__ = ["BUFFERS", "Grew", "Source", "Unsent"]

BUFFERS = 4  # enough that disk, hash and socket never wait for each other (measured: 3 did, 8 gained nothing)
_NOT_THE_FILES_FAULT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})  # the next one would fail the same way


@dataclass(frozen=True, slots=True)
class Unsent:
    """A file that is not sent, or not to its end."""

    entry: int
    error: PunchwireError


@dataclass(frozen=True, slots=True)
class Grew:
    """A file that has grown, and is else the same: what was offered of it is sent, its first `size` bytes."""

    entry: int


class _Stopped(Exception):
    """Nobody wants the blocks any more."""


class _Dropped(Exception):
    """The other side cannot store the file that is read."""


class Source:
    """The blocks of a transfer, in order. `notify` is called in the thread when something may have become ready."""

    def __init__(
        self,
        tree: SourceTree,
        wanted: Ranges,
        theirs: Ledger,
        journal: SentJournal | None,
        notify: Callable[[], None],
        *,
        stdin: int = 0,
    ) -> None:
        """Read the entries in `wanted`, or all when there are none, but what is in `theirs`: the other side has it.

        `theirs` must not change any more. `stdin` is the descriptor of standard input.
        """
        manifest = tree.manifest
        self.ledger = Ledger(manifest)  # not to be touched before `is_done`
        self.notices: deque[Unsent | Grew] = deque()  # to be taken from the left
        self.error: PunchwireError | None = None  # of the whole transfer
        self.is_hashing = False  # whether blocks are being compared with what the other side has
        self.skipped_bytes = 0  # that the other side has
        self.stream_size: int | None = None  # bytes, when it has ended and was not given up
        self.root = b""  # once it is done: of the ledger
        self.absent: Ranges = ()  # once it is done: files that are not sent, by the ledger
        self._tree, self._theirs, self._journal, self._notify = tree, theirs, journal, notify
        self._wanted = _flags(wanted, len(manifest))
        is_stream_wanted = manifest.stream is not None and self._wanted[manifest.stream]
        self._stream = StdinSource(manifest, stdin) if is_stream_wanted else None
        self._dropped: set[int] = set()
        self._grown: set[int] = set()  # files of which that was said
        self._reached = 0  # blocks before this one are in the ledger, unless their files are left out
        self._begin(0, None)

    def _begin(self, first: int, before: "Source | None") -> None:
        """Be ready to start with block `first`, when the thread of the source `before` has ended."""
        self._first, self._before = first, before
        self._folders = OpenFolders(self._tree)
        self._ready: deque[ReadyBlocks] = deque()
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._made = 0  # buffers
        self._batch: Batch | None = None
        self._stopping = self._files_are_read = self._all_is_read = False
        self._thread = threading.Thread(target=self._run, name=f"read {self._tree.manifest.label()}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def rewound(self, first: int) -> "Source":
        """On a new channel: end this source, and return one that goes on for it, from block `first` on."""
        self.stop()
        if self._stream is not None:
            self._stream.rewind(first)
        again = copy.copy(self)  # what is known of files and blocks is the same, and not only equal
        again._begin(first, self)
        return again

    def take(self) -> ReadyBlocks | None:
        """Return the next blocks if any are ready, and all notices are taken.

        After the last, `is_done` is true or `error` is set. The notice that a file has changed has to be told before
        the blocks of a later one: the other side may have had its last blocks, and would take it for whole.
        """
        files_are_read = self._files_are_read  # looked at first: the thread may just be coming to the end of them
        if self._ready:
            blocks = self._ready.popleft()
            if not self.notices:  # looked at last, for the same reason
                return blocks
            self._ready.appendleft(blocks)
            return None
        return self._stream.take() if self._stream is not None and files_are_read and not self.notices else None

    @property
    def is_done(self) -> bool:
        """Whether every file was read or given up, and all blocks and notices have been taken."""
        is_empty = not self._ready and (self._stream is None or self._stream.is_empty)
        return self._all_is_read and is_empty and not self.notices

    def give_back(self, blocks: ReadyBlocks) -> None:
        """`blocks` are written: their buffer may be used again."""
        if self._stream is not None and blocks.first >= self._tree.manifest.blocks:
            self._stream.give_back(blocks)
        else:
            self._free.put(blocks.buffer)

    def acknowledged(self, next_block: int) -> None:
        """The other side has written every block before `next_block`: those of a stream need not be kept any more."""
        if self._stream is not None:
            self._stream.acknowledged(next_block)

    def drop(self, entry: int) -> None:
        """The other side cannot store a file: send no more of it, and leave it out unless all of it has been read."""
        self._dropped.add(entry)
        if self._stream is not None:
            self._stream.wake()

    def stop(self) -> None:
        """Stop reading. May be called at any time, and again."""
        self._stopping = True
        self._free.put(None)
        if self._stream is not None:
            self._stream.wake()

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
            self._wait_for_the_one_before()
            for index, wanted in enumerate(self._wanted):
                self._go_on()
                if not wanted:
                    self.ledger.leave_out(index)
                elif self._is_to_read(index):
                    self._read_file(index)
            self._flush()
            self._files_are_read = True
            if self._stream is not None:
                self._notify()  # what was kept of it can be taken from now on
                self._read_stream(self._stream, len(self._wanted) - 1)
            self.root, self.absent = self.ledger.root(), self.ledger.absent()
            self._all_is_read = True
        except _Stopped:
            pass
        except PunchwireError as error:
            self.error = error
        except OSError as error:
            self.error = unreadable("what is sent", error)
        except Exception as error:  # nobody shall wait for ever
            self.error = LocalProtocolError(f"reading failed: {error!r}")
            raise
        finally:
            self.is_hashing = False
            self._folders.close()
            self._notify()

    def _wait_for_the_one_before(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            before.join()
            if before.error is not None:
                raise before.error
            self.skipped_bytes, self._reached = before.skipped_bytes, before._reached
            self._first = min(self._first, self._reached)

    def _go_on(self, index: int | None = None) -> None:
        """Raise what ends the reading, of the transfer or of one file."""
        if self._stopping:
            raise _Stopped
        if index in self._dropped:
            raise _Dropped

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
                self._read_blocks(index, SourceFile(self._tree, index, descriptor))
            finally:
                os.close(descriptor)
        except _Dropped:
            self._leave_out(index)
        except TransferFailed as error:
            self._give_up(index, error)
        except OSError as error:
            if error.errno in _NOT_THE_FILES_FAULT:
                raise
            self._give_up(index, unreadable(self._tree.local_path(index), error))

    def _read_blocks(self, index: int, file: SourceFile) -> None:
        manifest, size = self._tree.manifest, file.size
        begin, count = manifest.first_block(index), manifest.block_count(index)
        known = self._known(index, file) if count else None
        for ordinal in range(max(begin, self._first), begin + count):
            self._go_on(index)
            offset = (ordinal - begin) * manifest.block_size
            length = min(manifest.block_size, size - offset)
            theirs, digest = self._theirs.digest(ordinal), known and known.digest(ordinal)
            self.is_hashing = theirs is not None
            if theirs is None or digest != theirs:
                space = self._space(ordinal, length)
                file.read(space, offset)
                digest = block_digest(space)
            if ordinal == begin + count - 1:
                file.check_end()
                if file.has_grown:
                    self._read_again(index, file, digest)
            if digest == theirs:
                self._skip(ordinal, length, digest)
            else:
                assert self._batch is not None
                self._batch.add(ordinal, length, digest)
        if not count:
            file.read(memoryview(bytearray()), 0)
            file.check_end()
        if file.has_grown and index not in self._grown:
            self._grown.add(index)
            self._tell(Grew(index))

    def _read_again(self, index: int, file: SourceFile, last: bytes) -> None:
        """See that nobody has written into the blocks of a file that has grown. `last` is the digest of the last one.

        That one is not in the batch yet; afterwards its data are where `_space` has them.
        """
        self._flush()
        manifest, self.is_hashing = self._tree.manifest, True
        begin, count = manifest.first_block(index), manifest.block_count(index)
        for ordinal in range(begin, begin + count):
            self._go_on(index)
            space = self._space(ordinal, manifest.block_length(ordinal))
            digest = self.ledger.digest(ordinal) if ordinal < begin + count - 1 else last
            assert digest is not None
            file.read_again(space, (ordinal - begin) * manifest.block_size, digest)
        self.is_hashing = False

    def _known(self, index: int, file: SourceFile) -> Ledger | None:
        """Return what an earlier try has read, if it still holds for this file."""
        if self._journal is None or file.has_grown or not self._journal.begin_file(index, file.status):
            return None
        return self._journal.ledger

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
            self._note(blocks.first, blocks.digests)
            self._ready.append(blocks)
            self._notify()

    def _note(self, first: int, digests: bytes) -> None:
        self._reached = max(self._reached, first + len(digests) // limits.HASH_BYTES)
        self.ledger.put(first, digests)
        if self._journal is not None:
            self._journal.put(first, digests)

    def _skip(self, ordinal: int, length: int, digest: bytes) -> None:
        """Do not send a block that the other side has."""
        self._flush()  # what follows is not consecutive to it, and may be long in coming
        if ordinal >= self._reached:  # else it was skipped on an earlier channel too
            self.skipped_bytes += length
        self._note(ordinal, digest)

    def _read_stream(self, stream: StdinSource, entry: int) -> None:
        """Make block after block of standard input ready, until it ends."""
        try:
            while data := stream.read(lambda: self._go_on(entry)):
                ordinal, digest = stream.ordinal, block_digest(data)
                self.ledger.put(ordinal, digest)
                theirs = self._theirs.digest(ordinal)
                self.is_hashing = theirs is not None
                if digest == theirs:
                    stream.skip()
                    self.skipped_bytes += len(data)
                else:
                    stream.give_out(digest)
                    self._notify()
            self.ledger.end_stream(stream.size)
            self.stream_size = stream.size
        except _Dropped:
            self.ledger.leave_out(entry)
        except OSError as error:
            self._give_up(entry, unreadable("standard input", error))

    def _give_up(self, index: int, error: TransferFailed) -> None:
        self._leave_out(index)
        self._tell(Unsent(index, error))

    def _leave_out(self, index: int) -> None:
        self._flush()
        self.ledger.leave_out(index)

    def _tell(self, notice: Unsent | Grew) -> None:
        self.notices.append(notice)
        self._notify()


def _flags(wanted: Ranges, entries: int) -> bytearray:
    """Return for each entry whether it is wanted; all are when there are no ranges."""
    flags = bytearray(entries) if wanted else bytearray(b"\1") * entries
    for first, count in wanted:
        flags[first : first + count] = b"\1" * count
    return flags
