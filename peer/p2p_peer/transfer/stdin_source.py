"""Standard input in blocks, for `source.py`: all of one size but the last.

It cannot be read again: blocks are kept until the other side has written them, so that they can be sent once more.
"""

import os
import select
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

from p2p_core.manifest import Manifest
from p2p_core.wire.frames import BLOCKS_ROOM

from p2p_peer.transfer.ready_blocks import Batch, ReadyBlocks

__all__ = ["WINDOW", "StdinSource"]

WINDOW = 32  # blocks kept: as many as a path of 1 Gbit/s carries in a quarter of a second, and 32 MiB of memory
_PATIENCE_MS = 100  # until the thread looks whether it is still wanted, while nothing comes


class StdinSource:
    """The blocks of a stream. `read`, `skip` and `give_out` are for the thread that reads, the rest for the loop."""

    def __init__(self, manifest: Manifest, descriptor: int) -> None:
        """Read from `descriptor`, which stays open."""
        self.size = 0  # bytes of what was read
        self.has_ended = False
        self.ordinal = manifest.blocks  # of the block that is read, or is to be read next
        self._block_size, self._descriptor = manifest.block_size, descriptor
        self._ready: deque[ReadyBlocks] = deque()
        self._sent: deque[ReadyBlocks] = deque()  # and not acknowledged
        self._in_flight: ReadyBlocks | None = None  # the last of these, while it is being written
        self._acknowledged = 0  # every block before this one
        self._free: SimpleQueue[memoryview | None] = SimpleQueue()
        self._made = 0  # buffers
        self._batch: Batch | None = None  # the block being read
        self._filled = 0  # bytes of it
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def read(self, check: Callable[[], None]) -> memoryview:
        """Return the next block's data; none at the end. Then call `skip` or `give_out`.

        `check` is called now and then while nothing comes; what it raises ends the reading, which can be taken up
        again. Raises `OSError`.
        """
        if self.has_ended:
            return memoryview(b"")
        while self._batch is None:
            buffer = self._buffer()
            self._batch = None if buffer is None else Batch(buffer)
            check()
        space = self._batch.space(self._block_size)
        while self._filled < self._block_size and not self.has_ended:
            check()
            if self._poll.poll(_PATIENCE_MS):
                self._read_some(space)
        return space[: self._filled]

    def skip(self) -> None:
        """Do not send the block that was read: the other side has it."""
        self._filled = 0
        self.ordinal += 1

    def give_out(self, digest: bytes) -> None:
        """Make the block that was read ready."""
        assert self._batch is not None
        self._batch.add(self.ordinal, self._filled, digest)
        self._ready.append(self._batch.ready())
        self._batch = None
        self.skip()

    def take(self) -> ReadyBlocks | None:
        """Return the next block if one is ready."""
        if not self._ready:
            return None
        self._in_flight = self._ready.popleft()
        self._sent.append(self._in_flight)
        return self._in_flight

    @property
    def is_empty(self) -> bool:
        """Whether no block is ready."""
        return not self._ready

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
        """On a new channel: what was taken can be taken again, from block `first` on."""
        self._in_flight = None
        self.acknowledged(first)
        self._ready.extendleft(reversed(self._sent))
        self._sent.clear()

    def wake(self) -> None:
        """Have `read` call `check` if it waits for a buffer."""
        self._free.put(None)

    def _let_go(self) -> None:
        while self._sent and self._sent[0] is not self._in_flight and self._sent[0].first < self._acknowledged:
            self._free.put(self._sent.popleft().buffer)

    def _buffer(self) -> memoryview | None:
        """Return a free buffer, or None when it was waited for long enough to check again."""
        if self._made < WINDOW and self._free.empty():
            self._made += 1
            return memoryview(bytearray(BLOCKS_ROOM + self._block_size))
        return self._free.get()

    def _read_some(self, space: memoryview) -> None:
        try:
            count = os.readv(self._descriptor, (space[self._filled :],))
        except BlockingIOError:  # somebody else reads from it too, and was faster
            return
        self._filled += count
        self.size += count
        self.has_ended = not count
