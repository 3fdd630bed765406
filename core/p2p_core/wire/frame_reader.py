"""Cuts a stream of bytes into frames without copying file data.

The reader says where the next bytes are to go, the caller puts them there and says how many they were:

    while (space := reader.space()) is not None:
        n = read_into(space)
        event = reader.filled(n)

Before a block's data comes a `BlockStarts`; `space()` is then None until `provide` gives the buffer for it. That is
how a slow disk slows the sender down.
"""

from dataclasses import dataclass
from enum import Enum, auto

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, RemoteProtocolError
from p2p_core.wire import frames
from p2p_core.wire.frames import BLOCK_HEADER_BYTES, HEADER_BYTES, BlockHeader, Frame, Kind

__all__ = ["BlockEnds", "BlockStarts", "FrameReader"]


@dataclass(frozen=True, slots=True)
class BlockStarts:
    """A block's header has come; `length` bytes of data follow, once a buffer is provided."""

    header: BlockHeader
    length: int


@dataclass(frozen=True, slots=True)
class BlockEnds:
    """The data of the block that started last is in the buffer provided for it."""


class _Phase(Enum):
    """What the bytes that come next are."""

    HEADER = auto()
    BODY = auto()
    BLOCK_HEADER = auto()
    BUFFER_AWAITED = auto()
    BLOCK_DATA = auto()


class FrameReader:
    """Reads frames. Until `open()` is called only a key proof is let through: nothing else is acted on."""

    def __init__(self) -> None:
        self._small = memoryview(bytearray(limits.MAX_CONTROL_FRAME))
        self._opened = False
        self._phase = _Phase.HEADER
        self._kind = 0
        self._space = self._small[:HEADER_BYTES]
        self._have = 0
        self._block_bytes = 0

    def open(self) -> None:
        """Let every kind of frame through: the key proof has passed."""
        self._opened = True

    def space(self) -> memoryview | None:
        """Where the next bytes go; never empty. None while a buffer for a block is awaited."""
        return None if self._phase is _Phase.BUFFER_AWAITED else self._space[self._have :]

    def provide(self, buffer: memoryview) -> None:
        """Give the buffer for the block that has started: exactly as long as its data."""
        if self._phase is not _Phase.BUFFER_AWAITED or len(buffer) != self._block_bytes:
            raise LocalProtocolError("a buffer for no block, or of another size")
        self._expect(_Phase.BLOCK_DATA, buffer)

    def filled(self, count: int) -> Frame | BlockStarts | BlockEnds | None:
        """Take note of `count` bytes put into `space()`; return what they complete, if anything.

        Raises `Malformed`, or `RemoteProtocolError` for a frame that may not come yet.
        """
        self._have += count
        if self._have < len(self._space):
            return None
        match self._phase:
            case _Phase.HEADER:
                return self._header_complete()
            case _Phase.BODY:
                return self._frame_complete(bytes(self._space))
            case _Phase.BLOCK_HEADER:
                self._phase = _Phase.BUFFER_AWAITED
                return BlockStarts(BlockHeader.read(self._space), self._block_bytes)
            case _Phase.BLOCK_DATA:
                self._expect(_Phase.HEADER, self._small[:HEADER_BYTES])
                return BlockEnds()
            case _Phase.BUFFER_AWAITED:
                raise LocalProtocolError("bytes for a block that has no buffer")

    def _header_complete(self) -> Frame | None:
        self._kind, length = frames.parse_header(self._space)
        if not self._opened and self._kind != Kind.KEY_PROOF:
            raise RemoteProtocolError(f"a frame of kind {self._kind:#04x} before the key proof")
        if self._kind == Kind.BLOCK:
            self._block_bytes = length - BLOCK_HEADER_BYTES
            self._expect(_Phase.BLOCK_HEADER, self._small[:BLOCK_HEADER_BYTES])
        elif length:
            self._expect(_Phase.BODY, self._small[:length])
        else:
            return self._frame_complete(b"")
        return None

    def _frame_complete(self, body: bytes) -> Frame | None:
        self._expect(_Phase.HEADER, self._small[:HEADER_BYTES])
        return None if frames.may_be_ignored(self._kind) else frames.decode(self._kind, body)

    def _expect(self, phase: _Phase, space: memoryview) -> None:
        self._phase, self._space, self._have = phase, space, 0
