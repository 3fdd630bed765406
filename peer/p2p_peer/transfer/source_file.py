"""A file that is being sent: what is read of it, and whether it still is what was offered."""

import os
import stat

from p2p_core.errors import SourceChanged
from p2p_core.ledger import block_digest

from p2p_peer.transfer.tree import SourceTree

__all__ = ["SourceFile"]

_ONE_MORE = memoryview(bytearray(1))  # the byte behind what is read; only whether there is one matters


class SourceFile:
    """One file, open. Raises `SourceChanged` as soon as it is not what was offered any more.

    A file that has only grown still is: what was offered are its first bytes. But its time says no more whether they
    are the same, so they have to be read again.
    """

    def __init__(self, tree: SourceTree, index: int, descriptor: int) -> None:
        """`descriptor` stays the caller's to close."""
        self.size = tree.manifest.size(index)  # as it was offered
        self._tree, self._index, self._descriptor = tree, index, descriptor
        self._has_more = False  # behind what was read last
        self.status = self._check()

    @property
    def has_grown(self) -> bool:
        """Whether the file was larger than offered when it was looked at last."""
        return self.status.st_size > self.size

    def read(self, space: memoryview, offset: int) -> None:
        """Fill `space` from `offset` in the file. Raises `OSError`."""
        while True:
            count = os.preadv(self._descriptor, (space, _ONE_MORE), offset)
            self._has_more = count > len(space)
            if count >= len(space):
                return
            if count == 0:
                raise self._changed("became shorter after it was offered")
            space, offset = space[count:], offset + count

    def read_again(self, space: memoryview, offset: int, digest: bytes) -> None:
        """Fill `space` with a block that has been read before, and had this digest. Raises `OSError`."""
        self.read(space, offset)
        if block_digest(space) != digest:
            raise self._changed("changed after it was offered")

    def check_end(self) -> None:
        """Look again, after the last block was read, and whether the size is true. Raises `OSError`."""
        self.status = self._check()
        if self._has_more and not self.has_grown:  # as those in /proc, which have a size of 0
            raise self._changed("has more bytes than its size says", advice="Copy it, and send the copy.")

    def _check(self) -> os.stat_result:
        status = os.fstat(self._descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise self._changed("is not a file any more")
        if status.st_size < self.size:
            raise self._changed("became shorter after it was offered")
        offered_ns = self._tree.manifest.mtime_ns(self._index)
        if status.st_size == self.size and max(status.st_mtime_ns, 0) != offered_ns:
            raise self._changed("changed after it was offered")
        return status

    def _changed(self, what: str, advice: str | None = None) -> SourceChanged:
        return SourceChanged(f"{self._tree.local_path(self._index)} {what}", advice=advice)
