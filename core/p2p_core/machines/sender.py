"""The sending side of one file: offered, accepted, sent in blocks, ended, receipted."""

from enum import Enum, auto

from p2p_core.errors import LocalProtocolError, ProofFailed, RemoteProtocolError
from p2p_core.file_root import FileRoot, block_count, block_length
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.proof import sign, verify_signature
from p2p_core.statements import Speaker
from p2p_core.wire.frames import FileAnswer, FileEnd, FileOffer, FileReceipt

__all__ = ["FileSender", "SenderState"]


class SenderState(Enum):
    """How far a file has got."""

    OFFERED = auto()
    SENDING = auto()
    ENDED = auto()  # all blocks and the root are sent; the receipt is awaited
    OVER = auto()  # receipted, refused or given up


class FileSender:
    """Holds the rules of sending one file. It never sees the data, only the hashes of the blocks."""

    def __init__(self, offer: FileOffer, own: Speaker, key: RSAPrivateKey) -> None:
        self.offer = offer
        self.state = SenderState.OFFERED
        self._own, self._key = own, key
        self._root = FileRoot(offer.size, offer.block_size)
        self._blocks = block_count(offer.size, offer.block_size)
        self._next = 0  # block to send
        self._hashed = 0  # blocks in the root; more than have gone out after `rewind`

    def answered(self, answer: FileAnswer) -> bool:
        """Take the answer to the offer; return whether the file may be sent."""
        if self.state is not SenderState.OFFERED:
            raise RemoteProtocolError("a file was answered twice")
        self.state = SenderState.SENDING if answer.accepted else SenderState.OVER
        return answer.accepted

    def block(self, digest: bytes, length: int) -> int:
        """Take note of the next block, about to be sent; return its index."""
        index = self._next
        if self.state is not SenderState.SENDING or index >= self._blocks or length != self._length(index):
            raise LocalProtocolError(f"block {index} of {length} bytes does not belong to this file now")
        self._next += 1
        if self._next > self._hashed:
            self._root.add(digest)
            self._hashed = self._next
        return index

    def rewind(self, block: int) -> bool:
        """Go on from `block`, which the other side wants next; return whether that is back. Raises if it cannot be."""
        if block > self._next:
            raise RemoteProtocolError(f"block {block} wanted of a file when {self._next} were sent")
        if block == self._next:
            return False
        self._next, self.state = block, SenderState.SENDING
        return True

    def end(self) -> FileEnd:
        """All blocks are sent: sign their root."""
        if self.state is not SenderState.SENDING or self._next != self._blocks:
            raise LocalProtocolError("a file cannot end before its last block")
        self.state = SenderState.ENDED
        return FileEnd(self.offer.transfer, self._root.digest(), sign(self._key, self._own.file_root(*self._named())))

    def receipted(self, receipt: FileReceipt, other: Speaker, other_key: RSAPublicKey) -> None:
        """Check the receiver's receipt: the file is there. Raises `RemoteProtocolError`."""
        if self.state is not SenderState.ENDED:
            raise RemoteProtocolError("a receipt for a file that is not all sent")
        try:
            statement = other.file_receipt(*self._named(), receipt.received_at_ms)
            verify_signature(other_key, statement, receipt.signature)
        except ProofFailed:
            raise RemoteProtocolError("a receipt that the other peer did not sign") from None
        self.state = SenderState.OVER

    def give_up(self) -> None:
        """Nothing more comes of it."""
        self.state = SenderState.OVER

    def _length(self, index: int) -> int:
        return block_length(self.offer.size, self.offer.block_size, index)

    def _named(self) -> tuple[int, str, int, bytes]:
        return self.offer.transfer, self.offer.name, self.offer.size, self._root.digest()
