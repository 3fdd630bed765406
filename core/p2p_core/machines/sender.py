"""The sending side of one transfer: offered, accepted, sent block by block, ended, receipted."""

from collections.abc import Iterator
from enum import Enum, auto

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, ProofFailed, RemoteProtocolError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.manifest import Entry, Manifest
from p2p_core.proof import sign, verify_signature
from p2p_core.ranges import Ranges
from p2p_core.statements import Speaker
from p2p_core.wire.frames import (
    Entries,
    Have,
    StreamEnd,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
)

__all__ = ["SenderState", "TransferSender"]

_LISTING_BYTES = 32 * 1024  # of names in one frame: well inside a frame, however many there are
_ENTRY_BYTES = 48  # what an entry takes beside its names, at most


class SenderState(Enum):
    """How far a transfer has got."""

    OFFERED = auto()
    SENDING = auto()
    ENDED = auto()  # all blocks and the root are sent; the receipt is awaited
    OVER = auto()  # receipted, refused or given up


class TransferSender:
    """Holds the rules of sending one transfer. It never sees the data."""

    def __init__(self, transfer: int, manifest: Manifest, own: Speaker, key: RSAPrivateKey) -> None:
        self.transfer, self.manifest = transfer, manifest
        self.state = SenderState.OFFERED
        self._own, self._key = own, key
        self._next = 0  # every block before it was sent, or is not to be
        self._verified = 0  # likewise, by the other side's word
        self._stream_ended = False
        self._end: TransferEnd | None = None

    def offer(self) -> TransferOffer:
        """Return the offer; `listing` goes behind it."""
        manifest = self.manifest
        return TransferOffer(self.transfer, len(manifest), manifest.total_bytes, manifest.block_size)

    def listing(self) -> Iterator[Entries]:
        """Yield what is offered, a frame at a time."""
        listed: list[Entry] = []
        size = 0
        for entry in self.manifest:
            listed.append(entry)
            size += _ENTRY_BYTES + len(entry.name.encode()) + len(entry.target.encode())
            if size >= _LISTING_BYTES:
                yield Entries(self.transfer, tuple(listed))
                listed, size = [], 0
        if listed:
            yield Entries(self.transfer, tuple(listed))

    def had(self, have: Have) -> None:
        """The other side says that it has some blocks. Raises `RemoteProtocolError` unless they are ours."""
        if self.state is not SenderState.OFFERED:
            raise RemoteProtocolError("blocks that it has, after the answer")
        if have.first + len(have.digests) // limits.HASH_BYTES > self.manifest.blocks:
            raise RemoteProtocolError("more blocks than it was offered")

    def answered(self, answer: TransferAnswer) -> bool:
        """Take the answer to the offer; return whether anything may be sent."""
        if self.state is not SenderState.OFFERED:
            raise RemoteProtocolError("a transfer was answered twice")
        if answer.wanted and sum(answer.wanted[-1]) > len(self.manifest):
            raise RemoteProtocolError("more was accepted than was offered")
        self.state = SenderState.SENDING if answer.accepted else SenderState.OVER
        return answer.accepted

    def blocks_sent(self, first: int, count: int) -> None:
        """Take note of blocks that are about to go out."""
        if self.state is not SenderState.SENDING or first < self._next or not count:
            raise LocalProtocolError(f"blocks from {first} on, when {self._next} was next")
        self._next = first + count

    def verified(self, next_block: int) -> bool:
        """Take the other side's word on how far it is; return whether that is news. Raises when it cannot be."""
        if self.state not in (SenderState.SENDING, SenderState.ENDED) or next_block > self._next:
            raise RemoteProtocolError(
                f"blocks before {next_block} were verified when those before {self._next} were sent"
            )
        is_news = next_block > self._verified
        self._verified = max(self._verified, next_block)
        return is_news

    def stream_ended(self, size: int) -> StreamEnd | None:
        """The stream has ended; after a rewind that is known already."""
        if self.manifest.stream is None:
            raise LocalProtocolError("the end of a stream that there is none of")
        if self._stream_ended:
            return None
        self._stream_ended = True
        return StreamEnd(self.transfer, size)

    def check_entry(self, entry: int) -> None:
        """Raise `RemoteProtocolError` for the failure of what was not offered, or not accepted yet."""
        if entry >= len(self.manifest) or self.state not in (SenderState.SENDING, SenderState.ENDED):
            raise RemoteProtocolError(f"a file failed that was not offered, or not accepted: {entry}")

    def rewind(self, block: int) -> bool:
        """Go on from `block`, which the other side wants next; return whether that is back. Raises if it cannot be.

        It may be of a transfer that is offered only: then the answer was lost, and comes again behind this.
        """
        if not self._verified <= block <= self._next:
            raise RemoteProtocolError(f"block {block} wanted when those before {self._next} were sent")
        if block == self._next:
            return False
        self._next, self.state = block, SenderState.SENDING
        return True

    def end(self, root: bytes, absent: Ranges) -> TransferEnd:
        """All blocks are sent: sign their root, which leaves out the files in `absent`."""
        if self.state is not SenderState.SENDING:
            raise LocalProtocolError("a transfer ends when all of it is sent, and once")
        if self._end is None or (self._end.root, self._end.absent) != (root, absent):
            self._end = TransferEnd(
                self.transfer, root, absent, sign(self._key, self._own.transfer_root(self.transfer, root))
            )
        self.state = SenderState.ENDED
        return self._end

    def receipted(self, receipt: TransferReceipt, other: Speaker, other_key: RSAPublicKey) -> TransferEnd:
        """Check the receiver's receipt: all is there but what it says is missing. Raises `RemoteProtocolError`."""
        if self.state is not SenderState.ENDED or self._end is None:
            raise RemoteProtocolError("a receipt for what is not all sent")
        if receipt.missing and sum(receipt.missing[-1]) > len(self.manifest):
            raise RemoteProtocolError("more is missing than was offered")
        try:
            statement = other.transfer_receipt(self.transfer, self._end.root, receipt.missing, receipt.received_at_ms)
            verify_signature(other_key, statement, receipt.signature)
        except ProofFailed:
            raise RemoteProtocolError("a receipt that the other peer did not sign") from None
        self.state = SenderState.OVER
        return self._end

    def give_up(self) -> None:
        """Nothing more comes of it."""
        self.state = SenderState.OVER
