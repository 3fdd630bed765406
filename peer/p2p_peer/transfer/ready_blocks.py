"""Blocks in the buffer they are sent from: the data, and in front of them room for what precedes them in a frame."""

from dataclasses import dataclass, field

from p2p_core import limits
from p2p_core.wire.frames import BLOCKS_FIXED_BYTES, BLOCKS_ROOM, HEADER_BYTES

__all__ = ["Batch", "ReadyBlocks"]


@dataclass(frozen=True, slots=True)
class ReadyBlocks:
    """Consecutive blocks to send."""

    frame: memoryview  # room for their frame's headers and hashes, then the data
    first: int  # ordinal
    length: int  # bytes of data
    digests: bytes  # 32 each
    buffer: memoryview  # what `frame` is a part of

    @property
    def count(self) -> int:
        """How many blocks."""
        return len(self.digests) // limits.HASH_BYTES


@dataclass(slots=True)
class Batch:
    """Consecutive blocks that are being put into one buffer."""

    buffer: memoryview  # BLOCKS_ROOM bytes, then data
    first: int = 0
    length: int = 0
    digests: bytearray = field(default_factory=bytearray)

    def takes(self, ordinal: int, length: int) -> bool:
        """Whether a block may come behind the others."""
        count = len(self.digests) // limits.HASH_BYTES
        return not count or (
            ordinal == self.first + count
            and count < limits.MAX_BATCH_BLOCKS
            and BLOCKS_ROOM + self.length + length <= len(self.buffer)
        )

    def space(self, length: int) -> memoryview:
        """Where the data of the next block belong."""
        begin = BLOCKS_ROOM + self.length
        return self.buffer[begin : begin + length]

    def add(self, ordinal: int, length: int, digest: bytes) -> None:
        """Count the next block: its data are in their place."""
        if not self.digests:
            self.first = ordinal
        self.length += length
        self.digests += digest

    def ready(self) -> ReadyBlocks:
        """Return the blocks as they are sent."""
        begin = BLOCKS_ROOM - len(self.digests) - BLOCKS_FIXED_BYTES - HEADER_BYTES
        frame = self.buffer[begin : BLOCKS_ROOM + self.length]
        return ReadyBlocks(frame, self.first, self.length, bytes(self.digests), self.buffer)
