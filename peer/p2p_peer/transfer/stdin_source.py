"""Reads standard input block by block and hashes each, in a thread, as `source.py` does it with files.

It cannot be read again: blocks are kept until the other side has written them, so that they can be sent once more.
"""

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from p2p_core.errors import PunchwireError, TransferFailed
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import Manifest
from p2p_core.wire.frames import BLOCKS_ROOM

from p2p_peer.transfer.ready_blocks import Batch, ReadyBlocks
from p2p_peer.transfer.source import Grew, Unsent

__all__ = ["WINDOW", "StdinSource"]

WINDOW = 32  # blocks that may be sent and not acknowledged: 250 ms at 1 Gbit/s, and 32 MiB of memory


class _Stopped(Exception):
    """Nobody wants the blocks any more."""


class StdinSource:
    """The blocks of a stream, in order: all of one size but the last. `notify` is called in the thread."""

    def __init__(
        self, manifest: Manifest, theirs: Ledger, ledger: Ledger, notify: Callable[[], None], descriptor: int = 0
    ) -> None:
        """Read from `descriptor`, which stays open. `ledger` is that of the source before, which has ended."""
        assert manifest.stream is not None
        self.ledger = ledger
        self.notices: deque[Unsent | Grew] = deque()  # to be taken from the left
        self.error: PunchwireError | None = None
        self.hashing = False  # whether blocks are being compared with what the other side has
        self.skipped_bytes = 0  # that the other side has
        self.size = 0  # bytes read so far; when it is done, those of the stream
        self._manifest, self._theirs, self._notify = manifest, theirs, notify
        self._entry, self._descriptor = manifest.stream, descriptor
        self._ready: deque[ReadyBlocks] = deque()
        self._sent: deque[ReadyBlocks] = deque()  # and not acknowledged
        self._in_flight: ReadyBlocks | None = None  # the last of these, while it is being written
        self._acknowledged = 0  # every block before this one
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._made = 0  # buffers
        self._stopping = self._dropped = self._all_read = False
        self._wake_end: int | None = None
        self._thread = threading.Thread(target=self._run, name="read standard input", daemon=True)

    def start(self) -> None:
        """Begin to read. `stop` has to follow, even if the stream has ended."""
        self._woken_end, self._wake_end = os.pipe()
        self._thread.start()

    def take(self) -> ReadyBlocks | None:
        """Return the next block if one is ready. After the last, `is_done` is true or `error` is set."""
        if not self._ready:
            return None
        self._in_flight = self._ready.popleft()
        self._sent.append(self._in_flight)
        return self._in_flight

    @property
    def is_done(self) -> bool:
        """Whether the stream has ended or was given up, and all blocks and notices have been taken."""
        return self._all_read and not self._ready and not self.notices

    def give_back(self, blocks: ReadyBlocks) -> None:
        """`blocks` are written. They are kept until they are acknowledged."""
        if blocks is self._in_flight:
            self._in_flight = None
        self._let_go()

    def acknowledged(self, next_block: int) -> None:
        """The other side has written every block before `next_block`."""
        self._acknowledged = max(self._acknowledged, next_block)
        self._let_go()

    def rewind(self, first: int) -> None:
        """On a new channel: give out what was taken again, from `first` on."""
        self._in_flight = None
        self.acknowledged(first)
        self._ready.extendleft(reversed(self._sent))
        self._sent.clear()

    def drop(self, entry: int) -> None:
        """The other side cannot store a file. If it is the stream, read no more, and leave it out."""
        if entry == self._entry:
            self._dropped = True
            self.stop()

    def stop(self) -> None:
        """Stop reading. May be called at any time, and again."""
        self._stopping = True
        self._free.put(None)
        if self._wake_end is not None:
            os.close(self._wake_end)
            self._wake_end = None

    @property
    def is_over(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join()

    def _let_go(self) -> None:
        while self._sent and self._sent[0] is not self._in_flight and self._sent[0].first < self._acknowledged:
            self._free.put(self._sent.popleft().buffer)

    def _run(self) -> None:
        try:
            self._read_all()
            self.ledger.end_stream(self.size)
            self._all_read = True
        except _Stopped:
            if self._dropped:
                self._leave_out()
        except OSError as error:
            self.notices.append(Unsent(self._entry, TransferFailed(f"standard input cannot be read: {error.strerror}")))
            self._leave_out()
        except PunchwireError as error:
            self.error = error
        finally:
            self.hashing = False
            os.close(self._woken_end)
            self._notify()

    def _leave_out(self) -> None:
        self.ledger.leave_out(self._entry)
        self._all_read = True

    def _read_all(self) -> None:
        """Make block after block ready. Raises `OSError`."""
        ordinal, block_size = self._manifest.first_block(self._entry), self._manifest.block_size
        length, batch = block_size, Batch(self._buffer())
        while length == block_size:
            length = self._fill(batch.space(block_size))
            if not length:
                return
            digest, theirs = block_digest(batch.space(length)), self._theirs.digest(ordinal)
            self.ledger.put(ordinal, digest)
            self.size += length
            self.hashing = theirs is not None
            if digest == theirs:
                self.skipped_bytes += length
            else:
                batch.add(ordinal, length, digest)
                self._ready.append(batch.ready())
                self._notify()
                batch = Batch(self._buffer())
            ordinal += 1

    def _fill(self, space: memoryview) -> int:
        """Fill `space` unless the stream ends before; return how many bytes have come."""
        room = len(space)
        while space:
            self._wait()
            try:
                count = os.readv(self._descriptor, (space,))
            except BlockingIOError:  # somebody else shares it, and was faster
                continue
            if not count:
                break
            space = space[count:]
        return room - len(space)

    def _wait(self) -> None:
        """Wait until there is something to read."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.register(self._woken_end, select.POLLIN)
        poll.poll()
        if self._stopping:
            raise _Stopped

    def _buffer(self) -> memoryview:
        if self._made < WINDOW and self._free.empty():
            self._made += 1
            return memoryview(bytearray(BLOCKS_ROOM + self._manifest.block_size))
        buffer = self._free.get()
        if buffer is None:
            raise _Stopped
        return buffer
