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
        self._coming = 0  # `_next` once the blocks that come now are there
        self._verified = self._untold = 0
        self._stream_blocks: int | None = None  # number behind the stream's last one, once that is known
        self._coming_is_last = self._stream_is_over = False  # a short block is a stream's last
        self._end: TransferEnd | None = None

    @property
    def next_block(self) -> int:
        """Every block before it that is to come has come whole, on whichever channel."""
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
        stream = self.manifest.stream
        if stream is not None and first >= self.manifest.blocks:
            self._check_stream(header)
        elif end > self.manifest.blocks or header.length != self.manifest.span(first, header.count):
            raise RemoteProtocolError(f"{header.count} blocks from {first} on with {header.length} bytes")
        if self._wanted is not None and not self._are_wanted(first, end):
            raise RemoteProtocolError("a block of a file that nobody asked for")
        self._coming = end

    def blocks_end(self) -> None:
        """The blocks that started last have come whole, and are being verified."""
        self._next, self._stream_is_over = self._coming, self._coming_is_last

    def verified(self, next_block: int) -> Verified | None:
        """Every block before `next_block` is verified and written; return the word to say, now and then."""
        self._verified, self._untold = next_block, self._untold + 1
        if self._untold < TELL_EVERY:
            return None
        self._untold = 0
        return Verified(self._offer.transfer, next_block)

    def stream_ended(self, end: StreamEnd) -> None:
        """Take the length of the stream. Raises `RemoteProtocolError`."""
        stream = self.manifest.stream
        if stream is None or self._stream_blocks is not None or self.state is not ReceiverState.RECEIVING:
            raise RemoteProtocolError("the end of a stream that is none, or that has ended")
        self._stream_blocks = self.manifest.blocks - (-end.size // self.manifest.block_size)
        if self._next > self._stream_blocks:
            raise RemoteProtocolError("a stream ended before its last block")

    def check_entry(self, entry: int) -> None:
        """Raise `RemoteProtocolError` for the failure of what is no file of this transfer, or is too late."""
        if entry >= len(self.manifest) or self.state is not ReceiverState.RECEIVING:
            raise RemoteProtocolError(f"a file failed that was not offered, or too late: {entry}")

    def ended(self, end: TransferEnd) -> None:
        """Take the sender's signed root: all has come. Raises `RemoteProtocolError`."""
        if self.state is not ReceiverState.RECEIVING:
            raise RemoteProtocolError("the end of what is not being received")
        if end.absent and sum(end.absent[-1]) > len(self.manifest):
            raise RemoteProtocolError("more is absent than was offered")
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
        is_next = header.first == max(self._next, self.manifest.blocks)
        is_beyond = self._stream_blocks is not None and header.first >= self._stream_blocks
        if header.count != 1 or not is_next or self._stream_is_over or is_beyond:
            raise RemoteProtocolError(f"block {header.first} does not go on with the stream")
        if header.length > self.manifest.block_size:
            raise RemoteProtocolError(f"a block of {header.length} bytes")
        self._coming_is_last = header.length < self.manifest.block_size

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
