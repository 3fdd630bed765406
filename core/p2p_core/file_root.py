"""The hash of a file as it is sent: BLAKE3 of each block, and a root over them. docs/protocol/session.md.

Both sides compute the root while the blocks pass, in one pass and in constant memory.
"""

from blake3 import blake3

from p2p_core.fields import u32, u64

__all__ = ["FileRoot", "block_count", "block_digest", "block_length"]

_CONTEXT = "punchwire file root v1"  # BLAKE3's own separation of uses (BLAKE3 paper, §6.2, derive_key)


class FileRoot:
    """BLAKE3 over size (u64), block size (u32) and the hashes of all blocks in order."""

    def __init__(self, size: int, block_size: int) -> None:
        self._hasher = blake3(u64(size) + u32(block_size), derive_key_context=_CONTEXT)

    def add(self, digest: bytes) -> None:
        """Add the hash of the next block."""
        self._hasher.update(digest)

    def digest(self) -> bytes:
        """Return the root over the blocks added so far, 32 bytes."""
        return self._hasher.digest()


def block_digest(data: bytes | memoryview) -> bytes:
    """BLAKE3 of a block's data, 32 bytes."""
    return blake3(data).digest()


def block_count(size: int, block_size: int) -> int:
    """How many blocks a file of `size` bytes has."""
    return -(-size // block_size)


def block_length(size: int, block_size: int, index: int) -> int:
    """How many bytes block `index` has."""
    return min(block_size, size - index * block_size)
