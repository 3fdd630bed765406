"""Cuts a stream of bytes into frames without copying file data.

The reader says where the next bytes are to go, the caller puts them there and says how many they were:

    while (space := reader.space()) is not None:
        n = read_into(space)
        event = reader.filled(n)

Before the data of blocks comes a `BlocksStart`; `space()` is then None until `provide` gives the buffer for it. That is
how a slow disk slows the sender down. Until `BlocksEnd` the data may come in parts, with control frames between them.
"""

from dataclasses import dataclass
from enum import Enum, auto

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed, RemoteProtocolError
from p2p_core.wire import frames
from p2p_core.wire.frames import BLOCKS_FIXED_BYTES, HEADER_BYTES, BlocksHeader, Frame, Kind

__all__ = ["BlocksEnd", "BlocksStart", "FrameReader"]


@dataclass(frozen=True, slots=True)
class BlocksStart:
    """The header of blocks has come; their data, `header.length` bytes, follows once a buffer is provided."""

    header: BlocksHeader


@dataclass(frozen=True, slots=True)
class BlocksEnd:
    """The data of the blocks that started last is in the buffer provided for it."""


class _Phase(Enum):
    """What the bytes that come next are."""

    HEADER = auto()
    BODY = auto()
    BLOCKS_FIXED = auto()
    DIGESTS = auto()
    BUFFER_AWAITED = auto()
    DATA = auto()


class FrameReader:
    """Reads frames. Until `open()` is called only what proves a key is let through: nothing else is acted on."""

    def __init__(self, *, introduced: bool = True) -> None:
        """Read from the other side; not `introduced` by a mediator, it may say whose key it is going to prove."""
        self._first = (Kind.KEY_PROOF,) if introduced else (Kind.KEY_PROOF, Kind.INTRODUCTION)
        self._small = memoryview(bytearray(limits.MAX_CONTROL_FRAME))
        self._opened = False
        self._phase = _Phase.HEADER
        self._kind = 0
        self._space = self._small[:HEADER_BYTES]
        self._have = 0
        self._carried = 0  # bytes of data in the present frame
        self._announced = 0  # bytes of data of the blocks that wait for a buffer
        self._missing = self._small[:0]  # where the data goes that is announced and in no frame yet

    def open(self) -> None:
        """Let every kind of frame through: the key proof has passed."""
        self._opened = True

    def space(self) -> memoryview | None:
        """Where the next bytes go; never empty. None while a buffer for blocks is awaited."""
        return None if self._phase is _Phase.BUFFER_AWAITED else self._space[self._have :]

    @property
    def unread(self) -> int:
        """How much of the data that is announced is still to come, in bytes."""
        match self._phase:
            case _Phase.BUFFER_AWAITED:
                return self._announced
            case _Phase.DATA:
                return len(self._missing) + len(self._space) - self._have
            case _:
                return len(self._missing)

    def provide(self, buffer: memoryview) -> None:
        """Give the buffer for the blocks that have started: exactly as long as their data."""
        if self._phase is not _Phase.BUFFER_AWAITED or len(buffer) != self._announced:
            raise LocalProtocolError("a buffer for no blocks, or of another size")
        self._missing = buffer
        self._expect_data()

    def filled(self, count: int) -> Frame | BlocksStart | BlocksEnd | None:
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
            case _Phase.BLOCKS_FIXED:
                self._fixed_complete()
                return None
            case _Phase.DIGESTS:
                return self._blocks_start()
            case _Phase.DATA:
                self._expect(_Phase.HEADER, self._small[:HEADER_BYTES])
                return None if self._missing else BlocksEnd()
            case _Phase.BUFFER_AWAITED:
                raise LocalProtocolError("bytes for blocks that have no buffer")

    def _header_complete(self) -> Frame | None:
        self._kind, length = frames.parse_header(self._space)
        if not self._opened and self._kind not in self._first:
            raise RemoteProtocolError(f"a frame of kind {self._kind:#04x} before the key proof")
        if self._kind == Kind.BLOCKS:
            if self._missing:
                raise Malformed(f"blocks before {len(self._missing)} bytes of the last ones")
            self._carried = length
            self._expect(_Phase.BLOCKS_FIXED, self._small[:BLOCKS_FIXED_BYTES])
        elif self._kind == Kind.PART:
            if length > len(self._missing):
                raise Malformed(f"a part of {length} bytes where {len(self._missing)} are missing")
            self._carried = length
            self._expect_data()
        elif length:
            self._expect(_Phase.BODY, self._small[:length])
        else:
            return self._frame_complete(b"")
        return None

    def _fixed_complete(self) -> None:
        digests_end = BLOCKS_FIXED_BYTES + BlocksHeader.count_in(self._space) * limits.HASH_BYTES
        self._carried -= digests_end
        if self._carried <= 0:
            raise Malformed("blocks in a frame without data")
        self._expect(_Phase.DIGESTS, self._small[BLOCKS_FIXED_BYTES:digests_end])

    def _blocks_start(self) -> BlocksStart:
        header = BlocksHeader.read(self._small[:BLOCKS_FIXED_BYTES], self._space)
        if self._carried > header.length:
            raise Malformed(f"{self._carried} bytes of data in a frame that announces {header.length}")
        self._announced = header.length
        self._phase = _Phase.BUFFER_AWAITED
        return BlocksStart(header)

    def _frame_complete(self, body: bytes) -> Frame | None:
        self._expect(_Phase.HEADER, self._small[:HEADER_BYTES])
        return None if frames.may_be_ignored(self._kind) else frames.decode(self._kind, body)

    def _expect_data(self) -> None:
        self._expect(_Phase.DATA, self._missing[: self._carried])
        self._missing = self._missing[self._carried :]

    def _expect(self, phase: _Phase, space: memoryview) -> None:
        self._phase, self._space, self._have = phase, space, 0
