"""A BLOCKS frame on its way out, whole or in parts, so that control frames need not wait for all of it."""

from p2p_core import limits
from p2p_core.wire.frames import BLOCKS_FIXED_BYTES, HEADER_BYTES, BlocksHeader, Kind, frame_header

__all__ = ["Parts"]

_DIGESTS = HEADER_BYTES + BLOCKS_FIXED_BYTES  # where they begin


class Parts:
    """Cuts `frame`, a whole BLOCKS frame, into frames to be written one after the other."""

    def __init__(self, frame: memoryview) -> None:
        self._frame = frame
        self._at = 0  # all before has been cut off

    @property
    def left(self) -> int:
        """How many bytes of it have not been cut off yet."""
        return len(self._frame) - self._at

    def next(self, size: int) -> memoryview:
        """Return the next frame, of about `size` bytes: a copy, unless it is the whole of what was to be cut."""
        if self._at:
            return self._cut(Kind.PART, self._at, self._at + size)
        if len(self._frame) <= size:
            self._at = len(self._frame)
            return self._frame
        data = _DIGESTS + BlocksHeader.count_in(self._frame[HEADER_BYTES:_DIGESTS]) * limits.HASH_BYTES
        return self._cut(Kind.BLOCKS, HEADER_BYTES, max(size, data + 1))

    def _cut(self, kind: Kind, start: int, end: int) -> memoryview:
        body = self._frame[start:end]
        self._at = start + len(body)
        return memoryview(frame_header(kind, len(body)) + body)
