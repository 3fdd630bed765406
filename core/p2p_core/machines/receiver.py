"""The receiving side of one transfer: offered and listed, answered, received, verified, stored, receipted."""

from enum import Enum, auto

from p2p_core.errors import LocalProtocolError, ProofFailed, RemoteProtocolError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.manifest import EntryKind, Manifest
from p2p_core.proof import sign, verify_signature
from p2p_core.ranges import Ranges, each
from p2p_core.statements import Speaker
from p2p_core.wire.frames import (
    BlocksHeader,
    Entries,
    StreamEnd,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
)

__all__ = ["ReceiverState", "TransferReceiver"]

TELL_EVERY = 4  # frames of blocks: often enough for a sender that has to keep what is not verified


class ReceiverState(Enum):
    """How far a transfer has got."""

    LISTING = auto()  # its entries are still coming
    OFFERED = auto()
    RECEIVING = auto()
    ARRIVED = auto()  # every block has come, and the root is signed; the rest is being verified and stored
    OVER = auto()  # receipted, refused or given up


class TransferReceiver:
    """Holds the rules of receiving one transfer. It never sees the data: the sink says what it verified and stored."""

    def __init__(self, offer: TransferOffer, other: Speaker, other_key: RSAPublicKey) -> None:
        self.manifest = Manifest(offer.block_size)
        self.state = ReceiverState.LISTING
        self._offer = offer
        self._other, self._other_key = other, other_key
        self._wanted: bytearray | None = None  # a byte an entry, when not all are
        self._next = 0  # every block before it that is to come has come
        self._stream_bytes = 0  # of the stream, likewise
        self._coming = (0, 0)  # what both will be once the blocks that come now are there
        self._stream_size: int | None = None  # once that is known
        self._untold = 0  # frames of blocks that were verified since we said so
        self._end: TransferEnd | None = None

    def resume(self) -> int:
        """On a new channel, return the block that is wanted next: all before it that are to come have come whole."""
        self._coming = self._next, self._stream_bytes  # what was cut off comes again
        return self._next

    def listed(self, entries: Entries) -> bool:
        """Take the next entries of the offer; return whether these were the last. Raises `RemoteProtocolError`."""
        if self.state is not ReceiverState.LISTING:
            raise RemoteProtocolError("more files than it said it would offer")
        for entry in entries.entries:
            self.manifest.add(entry)
        if len(self.manifest) > self._offer.entries:
            raise RemoteProtocolError("more files than it said it would offer")
        if len(self.manifest) < self._offer.entries:
            return False
        if self.manifest.total_bytes != self._offer.size:
            raise RemoteProtocolError("files of another size than it said it would offer")
        self.state = ReceiverState.OFFERED
        return True

    def accept(self, wanted: Ranges) -> TransferAnswer:
        """Take the entries `wanted`; () is all of them."""
        if wanted and sum(wanted[-1]) > len(self.manifest):
            raise LocalProtocolError("more is wanted than was offered")
        self._answer(ReceiverState.RECEIVING)
        if wanted:
            self._wanted = bytearray(len(self.manifest))
            for entry in each(wanted):
                self._wanted[entry] = True
        return TransferAnswer(self._offer.transfer, accepted=True, wanted=wanted)

    def refuse(self, reason: str) -> TransferAnswer:
        """Take none of it."""
        self._answer(ReceiverState.OVER)
        return TransferAnswer(self._offer.transfer, accepted=False, reason=reason)

    def blocks_start(self, header: BlocksHeader) -> None:
        """Check that blocks may come now. Raises `RemoteProtocolError`."""
        first, end = header.first, header.first + header.count
        if self.state is not ReceiverState.RECEIVING:
            raise RemoteProtocolError("blocks of what is not being received")
        if first < self._next:
            raise RemoteProtocolError(f"block {first} came where block {self._next} belongs")
        is_stream = self.manifest.stream is not None and first >= self.manifest.blocks
        if is_stream:
            self._check_stream(header)
        elif end > self.manifest.blocks or header.length != self.manifest.span(first, header.count):
            raise RemoteProtocolError(f"{header.count} blocks from {first} on with {header.length} bytes")
        if self._wanted is not None and not self._are_wanted(first, end):
            raise RemoteProtocolError("a block of a file that nobody asked for")
        self._coming = end, self._stream_bytes + (header.length if is_stream else 0)

    def blocks_end(self) -> None:
        """The blocks that started last have come whole, and are being verified."""
        self._next, self._stream_bytes = self._coming

    def verified(self, next_block: int) -> Verified | None:
        """Every block before `next_block` is verified and written; return the word to say, now and then."""
        self._untold += 1
        if self._untold < TELL_EVERY:
            return None
        self._untold = 0
        return Verified(self._offer.transfer, next_block)

    def stream_ended(self, end: StreamEnd) -> None:
        """Take the length of the stream. Raises `RemoteProtocolError`."""
        self._check_between_blocks()
        if not self._takes_stream() or self._stream_size is not None:
            raise RemoteProtocolError("the end of a stream that is none, or that has ended")
        is_over = self._stream_bytes % self.manifest.block_size > 0  # its last block, a short one, has come
        if end.size < self._stream_bytes or (is_over and end.size > self._stream_bytes):
            raise RemoteProtocolError(f"a stream of {end.size} bytes, of which {self._stream_bytes} came")
        self._stream_size = end.size

    def check_entry(self, entry: int) -> None:
        """Raise `RemoteProtocolError` for the failure of what was not offered, or is not being received."""
        if entry >= len(self.manifest) or self.state is not ReceiverState.RECEIVING:
            raise RemoteProtocolError(f"a file failed that was not offered, or is not received: {entry}")

    def ended(self, end: TransferEnd) -> None:
        """Take the sender's signed root: all has come. Raises `RemoteProtocolError`."""
        if self.state is not ReceiverState.RECEIVING:
            raise RemoteProtocolError("the end of what is not being received")
        if end.absent and sum(end.absent[-1]) > len(self.manifest):
            raise RemoteProtocolError("more is absent than was offered")
        self._check_between_blocks()
        if self._takes_stream() and self._stream_bytes != self._stream_size and not self._has_no_stream(end):
            raise RemoteProtocolError("the end of a transfer whose stream has not ended")
        try:
            verify_signature(self._other_key, self._other.transfer_root(end.transfer, end.root), end.signature)
        except ProofFailed:
            raise RemoteProtocolError("a root that the other peer did not sign") from None
        self._end, self.state = end, ReceiverState.ARRIVED

    def receipt(
        self, root: bytes, missing: Ranges, received_at_ms: int, own: Speaker, key: RSAPrivateKey
    ) -> TransferReceipt:
        """All is stored but what is `missing`, under `root`: sign for it. Raises `RemoteProtocolError`."""
        if self.state is not ReceiverState.ARRIVED or self._end is None:
            raise LocalProtocolError("a receipt for what has not arrived")
        if root != self._end.root:
            raise RemoteProtocolError("the sender signed another root than that of the blocks that came")
        self.state = ReceiverState.OVER
        transfer = self._offer.transfer
        signature = sign(key, own.transfer_receipt(transfer, root, missing, received_at_ms))
        return TransferReceipt(transfer, received_at_ms, missing, signature)

    def give_up(self) -> None:
        """Nothing more comes of it."""
        self.state = ReceiverState.OVER

    def _check_stream(self, header: BlocksHeader) -> None:
        """A stream's blocks come one at a time and one after the other, and only the last may be short."""
        block_size = self.manifest.block_size
        offset = (header.first - self.manifest.blocks) * block_size
        if header.count != 1 or offset != self._stream_bytes:
            raise RemoteProtocolError(f"block {header.first} does not go on with the stream")
        if self._stream_size is None:
            is_right = header.length <= block_size
        else:
            is_right = header.length == min(block_size, self._stream_size - offset)
        if not is_right:
            raise RemoteProtocolError(f"a block of {header.length} bytes of a stream")

    def _takes_stream(self) -> bool:
        stream = self.manifest.stream
        is_wanted = stream is not None and (self._wanted is None or bool(self._wanted[stream]))
        return is_wanted and self.state is ReceiverState.RECEIVING

    def _has_no_stream(self, end: TransferEnd) -> bool:
        stream = len(self.manifest) - 1  # the last entry
        return bool(end.absent) and sum(end.absent[-1]) > stream

    def _check_between_blocks(self) -> None:
        if self._coming != (self._next, self._stream_bytes):
            raise RemoteProtocolError("an end in the middle of a block")

    def _are_wanted(self, first: int, end: int) -> bool:
        assert self._wanted is not None
        entries = range(self.manifest.entry_of(first), self.manifest.entry_of(end - 1) + 1)
        return all(
            self._wanted[entry]
            for entry in entries
            if self.manifest.block_count(entry) or self.manifest.kind(entry) is EntryKind.STREAM
        )

    def _answer(self, state: ReceiverState) -> None:
        if self.state is not ReceiverState.OFFERED:
            raise LocalProtocolError("a transfer is answered once")
        self.state = state
