"""The other side of a session, moved by hand: it has the right key, and says what a test wants it to say."""

import asyncio
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TypeVar

from p2p_core.agreement import Agreement
from p2p_core.errors import PunchwireError
from p2p_core.identity import RSAPrivateKey
from p2p_core.ledger import block_digest
from p2p_core.machines.outbox import is_counted
from p2p_core.proof import Role, sign
from p2p_core.ranges import Ranges
from p2p_core.statements import Speaker
from p2p_core.wire.frame_reader import BlocksStart
from p2p_core.wire.frames import (
    BlocksHeader,
    Entries,
    Frame,
    Ping,
    Pong,
    TextMessage,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    encode,
)
from p2p_peer.channel.channel import Channel
from p2p_peer.channel.pump import Pump

from tests.peer.pair import PATIENCE, agreement, own_key
from tests.peer.receiving import BLOCK, Sent

BLOCK_SIZE = BLOCK  # bytes

_T = TypeVar("_T")


@dataclass
class Handler:
    """Implements `FrameHandler` by writing down what comes."""

    came: list[Frame | bytes] = field(default_factory=list)  # the blocks of a frame as their data
    blocks: deque[memoryview] = field(default_factory=deque)  # to send
    written: int = 0
    heard_of: int = 0
    lost: list[PunchwireError | None] = field(default_factory=list)
    gives_buffers: bool = True
    wanted: BlocksStart | None = None
    _buffer: bytearray = field(default_factory=bytearray)

    def frame_received(self, frame: Frame) -> None:
        self.came.append(frame)

    def block_starts(self, blocks: BlocksStart) -> memoryview | None:
        self.wanted = blocks
        return self.buffer() if self.gives_buffers else None

    def buffer(self) -> memoryview:
        assert self.wanted is not None
        self._buffer = bytearray(self.wanted.header.length)
        return memoryview(self._buffer)

    def block_ended(self) -> None:
        self.came.append(bytes(self._buffer))

    def next_block(self) -> memoryview | None:
        return self.blocks.popleft() if self.blocks else None

    def block_written(self) -> None:
        self.written += 1

    def heard(self) -> None:
        self.heard_of += 1

    def channel_lost(self, error: PunchwireError | None) -> None:
        self.lost.append(error)


def block(data: bytes, first: int = 0, transfer: int = 1, digests: bytes = b"") -> memoryview:
    """A BLOCKS frame as it goes over the wire, header and all: of one block, or of as many as there are digests."""
    header = BlocksHeader(transfer, first, len(data), digests or block_digest(data))
    frame = memoryview(bytearray(header.room) + data)
    header.write(frame)
    return frame


class OtherSide:
    """One end of an authenticated channel without a session on it."""

    def __init__(
        self, channel: Channel, role: Role, holding: Agreement | None = None, key: RSAPrivateKey | None = None
    ) -> None:
        """Speak as `role` of the agreement between the test keys, or of another one with another key."""
        self.channel = channel
        self.handler = Handler()
        self.pump = Pump(channel.stream, channel.reader, self.handler)
        self.pump.start()
        self._key = key or own_key(role)
        self._speaker = Speaker.of(holding or agreement(role), role)

    @property
    def came(self) -> list[Frame | bytes]:
        """Frames, and the data of blocks."""
        return self.handler.came

    @property
    def received(self) -> int:
        """How many counted frames have come."""
        return sum(not isinstance(frame, bytes) and is_counted(frame) for frame in self.came)

    def pong(self, ping: Ping) -> Pong:
        """The answer to a ping, after all that has come."""
        return Pong(ping.id, self.received)

    def send(self, *frames: Frame | memoryview | bytes) -> None:
        """Send frames, blocks, or plain bytes."""
        for frame in frames:
            self.pump.send(bytes(frame) if isinstance(frame, memoryview | bytes) else encode(frame))

    async def wait_for(self, kind: type[_T], count: int = 1) -> _T:
        """Return frame number `count` of this kind, once it has come."""
        async with asyncio.timeout(PATIENCE):
            while len(found := [frame for frame in self.came if isinstance(frame, kind)]) < count:
                assert not self.handler.lost, f"lost before {kind.__name__}: {self.handler.lost}"
                await asyncio.sleep(0)
        return found[count - 1]

    def message(self, sequence: int, text: str) -> TextMessage:
        """A message, signed as it must be."""
        return TextMessage(sequence, 0, text, sign(self._key, self._speaker.message(sequence, 0, text)))

    def end_of(self, transfer: int, root: bytes, absent: Ranges = ()) -> TransferEnd:
        """The end of a transfer of this side's, signed as it must be."""
        return TransferEnd(transfer, root, absent, sign(self._key, self._speaker.transfer_root(transfer, root)))

    def receipt_for(self, end: TransferEnd, missing: Ranges = ()) -> TransferReceipt:
        """A receipt for a transfer that has come."""
        statement = self._speaker.transfer_receipt(end.transfer, end.root, missing, 0)
        return TransferReceipt(end.transfer, 0, missing, sign(self._key, statement))


def offer_of(sent: Sent, transfer: int) -> tuple[TransferOffer, Entries]:
    """What says that these files are offered."""
    manifest = sent.manifest
    return (
        TransferOffer(transfer, len(manifest), manifest.total_bytes, manifest.block_size),
        Entries(transfer, tuple(manifest)),
    )


def blocks_of(sent: Sent, transfer: int) -> list[memoryview]:
    """All blocks, each in a frame of its own."""
    return [block(sent.data(ordinal), ordinal, transfer) for ordinal in range(sent.blocks)]


def one_file(size: int, name: str = "file") -> Sent:
    """A transfer of a file of `size` bytes, the same each time."""
    sent = Sent()
    sent.file(name, random.Random(size).randbytes(size))
    return sent
