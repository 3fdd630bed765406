"""The receiving side of one file: offered, answered, received and verified block by block, stored, receipted."""

from enum import Enum, auto

from p2p_core.errors import LocalProtocolError, ProofFailed, RemoteProtocolError
from p2p_core.file_root import FileRoot, block_count, block_length
from p2p_core.identity import RSAPrivateKey, RSAPublicKey
from p2p_core.proof import sign, verify_signature
from p2p_core.statements import Speaker
from p2p_core.wire.frames import BlockHeader, FileAnswer, FileEnd, FileOffer, FileReceipt

__all__ = ["FileReceiver", "ReceiverState"]


class ReceiverState(Enum):
    """How far a file has got."""

    OFFERED = auto()
    RECEIVING = auto()
    ARRIVED = auto()  # every block and the root are verified; it is being stored
    OVER = auto()  # receipted, refused or given up


class FileReceiver:
    """Holds the rules of receiving one file. It never sees the data: the sink says which blocks it verified."""

    def __init__(self, offer: FileOffer, other: Speaker, other_key: RSAPublicKey) -> None:
        self.offer = offer
        self.state = ReceiverState.OFFERED
        self._other, self._other_key = other, other_key
        self._root = FileRoot(offer.size, offer.block_size)
        self._blocks = block_count(offer.size, offer.block_size)
        self._received = 0
        self._verified = 0
        self._end: FileEnd | None = None

    @property
    def verified_bytes(self) -> int:
        """How much of the file is verified."""
        return min(self._verified * self.offer.block_size, self.offer.size)

    @property
    def next_block(self) -> int:
        """How many blocks have been received whole, on whichever channel."""
        return self._received

    def accept(self) -> FileAnswer:
        """Take the file."""
        self._answer(ReceiverState.RECEIVING)
        return FileAnswer(self.offer.transfer, accepted=True)

    def refuse(self, reason: str) -> FileAnswer:
        """Do not take the file."""
        self._answer(ReceiverState.OVER)
        return FileAnswer(self.offer.transfer, accepted=False, reason=reason)

    def block_starts(self, header: BlockHeader, length: int) -> None:
        """Check that a block may come now. Raises `RemoteProtocolError`."""
        if self.state is not ReceiverState.RECEIVING or self._end is not None:
            raise RemoteProtocolError("a block of a file that is not being received")
        if header.file != 0 or header.index != self._received or self._received >= self._blocks:
            raise RemoteProtocolError(f"block {header.index} came where block {self._received} belongs")
        if length != block_length(self.offer.size, self.offer.block_size, header.index):
            raise RemoteProtocolError(f"block {header.index} has {length} bytes")

    def block_ends(self) -> None:
        """The block that started last has been received whole, and is being verified."""
        self._received += 1

    def block_verified(self, digest: bytes) -> bool:
        """The next block is written and its hash is right; return whether the whole file has arrived."""
        if self.state is not ReceiverState.RECEIVING:
            return False
        self._root.add(digest)
        self._verified += 1
        return self._arrived()

    def ended(self, end: FileEnd) -> bool:
        """Take the sender's signed root; return whether the whole file has arrived. Raises `RemoteProtocolError`."""
        if self.state is not ReceiverState.RECEIVING or self._end is not None or self._received != self._blocks:
            raise RemoteProtocolError("a file ended before its last block, or twice")
        self._end = end
        return self._arrived()

    def receipt(self, own: Speaker, key: RSAPrivateKey, received_at_ms: int) -> FileReceipt:
        """The file is stored: sign for it."""
        if self.state is not ReceiverState.ARRIVED:
            raise LocalProtocolError("a receipt for a file that has not arrived")
        self.state = ReceiverState.OVER
        named = (self.offer.transfer, self.offer.name, self.offer.size, self._root.digest())
        signature = sign(key, own.file_receipt(*named, received_at_ms))
        return FileReceipt(self.offer.transfer, received_at_ms, signature)

    def give_up(self) -> None:
        """Nothing more comes of it."""
        self.state = ReceiverState.OVER

    def _answer(self, state: ReceiverState) -> None:
        if self.state is not ReceiverState.OFFERED:
            raise LocalProtocolError("a file is answered once")
        self.state = state

    def _arrived(self) -> bool:
        if self._end is None or self._verified != self._blocks:
            return False
        root = self._root.digest()
        if self._end.root != root:
            raise RemoteProtocolError("the file's root does not cover the blocks that came")
        try:
            statement = self._other.file_root(self.offer.transfer, self.offer.name, self.offer.size, root)
            verify_signature(self._other_key, statement, self._end.signature)
        except ProofFailed:
            raise RemoteProtocolError("a file root that the other peer did not sign") from None
        self.state = ReceiverState.ARRIVED
        return True
