"""Frames: everything two peers say to each other inside a channel. docs/protocol/channel.md.

    u32 length of the body | u8 kind | body

Control frames are protobuf; file data is raw bytes behind a header, so that it is never copied to be parsed:

    BLOCKS body:  u32 transfer | u32 first block | u32 length of all the data | u16 count | count × BLAKE3 | data
    PART body:    more of that data

A BLOCKS frame may carry only the beginning of its data; the rest comes in PART frames, and control frames may come
between them. Kinds from 0x80 up may be ignored by whoever does not know them; any other unknown kind is an error.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import DecodeError, Message
from p2p_proto import frames_pb2 as pb

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.manifest import Entry
from p2p_core.ranges import Ranges, as_bits, from_bits
from p2p_core.wire.entries import pack, unpack

__all__ = [
    "BLOCKS_FIXED_BYTES",
    "BLOCKS_ROOM",
    "HEADER_BYTES",
    "BlocksHeader",
    "Cancel",
    "Chosen",
    "Close",
    "Done",
    "Entries",
    "FileFailed",
    "Frame",
    "Have",
    "Introduction",
    "KeyProof",
    "Kind",
    "MessageAck",
    "Ping",
    "Pong",
    "Resume",
    "StreamEnd",
    "TextMessage",
    "TransferAnswer",
    "TransferEnd",
    "TransferOffer",
    "TransferReceipt",
    "Verified",
    "check_offer",
    "decode",
    "encode",
    "frame_header",
    "may_be_ignored",
    "parse_header",
    "sendable",
]

_HEADER = struct.Struct(">IB")
_BLOCKS = struct.Struct(">IIIH")
HEADER_BYTES = _HEADER.size
BLOCKS_FIXED_BYTES = _BLOCKS.size
BLOCKS_ROOM = HEADER_BYTES + BLOCKS_FIXED_BYTES + limits.HASH_BYTES * limits.MAX_BATCH_BLOCKS
"""What may stand before the data of a BLOCKS frame, in bytes."""
_IGNORABLE = 0x80


class Kind(IntEnum):
    """What a frame is."""

    KEY_PROOF = 0x01
    MESSAGE = 0x02
    MESSAGE_ACK = 0x03
    TRANSFER_OFFER = 0x04
    TRANSFER_ANSWER = 0x05
    TRANSFER_END = 0x06
    TRANSFER_RECEIPT = 0x07
    CANCEL = 0x08
    DONE = 0x09
    CLOSE = 0x0A
    PING = 0x0B
    PONG = 0x0C
    RESUME = 0x0D
    ENTRIES = 0x0E
    HAVE = 0x0F
    FILE_FAILED = 0x10
    STREAM_END = 0x11
    VERIFIED = 0x12
    INTRODUCTION = 0x13
    CHOSEN = 0x14
    BLOCKS = 0x40
    PART = 0x41


_LONGEST = {Kind.KEY_PROOF: limits.MAX_PROOF_FRAME, Kind.INTRODUCTION: limits.MAX_INTRODUCTION, Kind.CHOSEN: 0}
"""Bytes of a body, where not `MAX_CONTROL_FRAME`: of what is taken from strangers, and what has none."""


@dataclass(frozen=True, slots=True)
class KeyProof:
    """The first frame on a channel, and the only one before the proof has passed, but for an `Introduction`.

    Its body is the signature.
    """

    signature: bytes


@dataclass(frozen=True, slots=True)
class Introduction:
    """Before the proof, where no mediator has introduced the two: docs/protocol/introduction.md."""

    public_key: bytes  # DER SubjectPublicKeyInfo
    nonce: bytes  # 32 bytes, for the key proof
    read_token: bytes = b""  # SHA-256 of the receiver's token, if the sender has read that


@dataclass(frozen=True, slots=True)
class Chosen:
    """Of several connections between the two, this one is kept: the session's initiator says so, after the proofs."""


@dataclass(frozen=True, slots=True)
class TextMessage:
    """A signed line of chat; `sequence` counts from 1 for each direction of a session."""

    sequence: int
    sent_at_ms: int
    text: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class MessageAck:
    """Every message up to `sequence` has come, and is its sender's."""

    sequence: int


@dataclass(frozen=True, slots=True)
class TransferOffer:
    """What the sender would like to send. Transfers are odd from the initiator, even from the responder."""

    transfer: int
    entries: int  # how many; they follow
    size: int  # bytes of all files
    block_size: int  # bytes


@dataclass(frozen=True, slots=True)
class Entries:
    """The next entries of an offer."""

    transfer: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Have:
    """Blocks that the receiver has from an earlier try: `first` and those behind it. Comes before the answer."""

    transfer: int
    first: int
    digests: bytes  # 32 for each


@dataclass(frozen=True, slots=True)
class TransferAnswer:
    """The receiver takes a transfer, or some of it, or does not; `reason` is for people."""

    transfer: int
    accepted: bool
    reason: str = ""
    wanted: Ranges = ()  # entries; none when all are


@dataclass(frozen=True, slots=True)
class FileFailed:
    """Nothing comes of one file: the sender cannot read it, or the receiver cannot store it. `reason` is for people."""

    transfer: int
    entry: int
    reason: str


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """The stream of a transfer has ended after `size` bytes."""

    transfer: int
    size: int


@dataclass(frozen=True, slots=True)
class Verified:
    """Every block before `next` that is to come has been verified and written."""

    transfer: int
    next: int


@dataclass(frozen=True, slots=True)
class TransferEnd:
    """All blocks are sent; `root` covers them, signed by the sender, and leaves out the files in `absent`."""

    transfer: int
    root: bytes
    absent: Ranges
    signature: bytes


@dataclass(frozen=True, slots=True)
class TransferReceipt:
    """All is verified and stored but the files in `missing`, signed by the receiver."""

    transfer: int
    received_at_ms: int
    missing: Ranges
    signature: bytes


@dataclass(frozen=True, slots=True)
class Cancel:
    """Either side gives up a transfer; `reason` is for people."""

    transfer: int
    reason: str


@dataclass(frozen=True, slots=True)
class Done:
    """The sender will start nothing more: no message, no file."""


@dataclass(frozen=True, slots=True)
class Close:
    """The sender leaves as soon as the other side has nothing outstanding."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a pong with the same id."""

    id: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a ping, and says how many counted frames its sender has received in the session."""

    id: int
    received: int


@dataclass(frozen=True, slots=True)
class Resume:
    """The first frame after the key proof on every channel but a session's first: where to go on."""

    received: int  # counted frames that its sender has received in the session
    transfers: tuple[tuple[int, int], ...] = ()  # each that its sender is receiving, and the block it wants next


Frame = (
    KeyProof
    | Introduction
    | Chosen
    | TextMessage
    | MessageAck
    | TransferOffer
    | Entries
    | Have
    | TransferAnswer
    | FileFailed
    | StreamEnd
    | Verified
    | TransferEnd
    | TransferReceipt
    | Cancel
    | Done
    | Close
    | Ping
    | Pong
    | Resume
)


@dataclass(frozen=True, slots=True)
class BlocksHeader:
    """What stands before the data of consecutive blocks of a transfer. A transfer's blocks are numbered through."""

    transfer: int
    first: int  # block
    length: int  # bytes of the data, in this frame and in those that carry the rest
    digests: bytes  # BLAKE3 of each block's data, 32 bytes each

    @property
    def count(self) -> int:
        """How many blocks."""
        return len(self.digests) // limits.HASH_BYTES

    @property
    def room(self) -> int:
        """Bytes before the data in the frame, its own header included."""
        return HEADER_BYTES + BLOCKS_FIXED_BYTES + len(self.digests)

    def write(self, frame: memoryview) -> None:
        """Write frame header, block header and hashes to the start of `frame`, which has the data behind them."""
        _HEADER.pack_into(frame, 0, len(frame) - HEADER_BYTES, Kind.BLOCKS)
        _BLOCKS.pack_into(frame, HEADER_BYTES, self.transfer, self.first, self.length, self.count)
        frame[HEADER_BYTES + BLOCKS_FIXED_BYTES : self.room] = self.digests

    @staticmethod
    def count_in(fixed: bytes | memoryview) -> int:
        """Return how many hashes follow the header's `BLOCKS_FIXED_BYTES`. Raises `Malformed`."""
        _, first, length, count = _BLOCKS.unpack_from(fixed)
        if not 0 < count <= limits.MAX_BATCH_BLOCKS or first + count > limits.MAX_BLOCKS:
            raise Malformed(f"{count} blocks in one frame, from block {first} on")
        if not count <= length <= limits.MAX_BLOCK_SIZE:
            raise Malformed(f"{count} blocks of {length} bytes together")
        return int(count)

    @classmethod
    def read(cls, fixed: bytes | memoryview, digests: bytes | memoryview) -> "BlocksHeader":
        """Read the header, and the hashes behind it."""
        transfer, first, length, _ = _BLOCKS.unpack_from(fixed)
        return cls(transfer, first, length, bytes(digests))


def parse_header(data: bytes | memoryview) -> tuple[int, int]:
    """Return (kind, length of the body in bytes) from the 5 bytes of a frame's header.

    Raises `Malformed` for a body longer than its kind may have, or blocks without a header.
    """
    length, kind = _HEADER.unpack_from(data)
    if kind == Kind.BLOCKS:
        if not BLOCKS_FIXED_BYTES < length <= BLOCKS_ROOM - HEADER_BYTES + limits.MAX_BLOCK_SIZE:
            raise Malformed(f"blocks in a frame of {length} bytes")
    elif kind == Kind.PART:
        if not 0 < length < limits.MAX_BLOCK_SIZE:
            raise Malformed(f"a part of {length} bytes")
    elif length > _LONGEST.get(kind, limits.MAX_CONTROL_FRAME):
        raise Malformed(f"a frame of kind {kind:#04x} with {length} bytes")
    return kind, length


def frame_header(kind: int, length: int) -> bytes:
    """Return the 5 bytes that stand before a body of `length` bytes."""
    return _HEADER.pack(length, kind)


def may_be_ignored(kind: int) -> bool:
    """Say whether a frame of an unknown `kind` may be passed over."""
    return kind >= _IGNORABLE


def encode(frame: Frame) -> bytes:
    """Return the whole frame, header and body."""
    kind, body = _body(frame)
    if len(body) > limits.MAX_CONTROL_FRAME:
        raise LocalProtocolError(f"a frame of {len(body)} bytes")
    return _HEADER.pack(len(body), kind) + body


def _body(frame: Frame) -> tuple[Kind, bytes]:
    message: Message
    match frame:
        case KeyProof(signature):
            return Kind.KEY_PROOF, signature
        case Introduction(public_key, nonce, read_token):
            kind = Kind.INTRODUCTION
            message = pb.Introduction(
                version=limits.PROTOCOL_VERSION, public_key=public_key, nonce=nonce, read_token=read_token
            )
        case Chosen():
            return Kind.CHOSEN, b""
        case TextMessage(sequence, sent_at_ms, text, signature):
            message = pb.TextMessage(sequence=sequence, sent_at_ms=sent_at_ms, text=text, signature=signature)
            kind = Kind.MESSAGE
        case MessageAck(sequence):
            kind, message = Kind.MESSAGE_ACK, pb.MessageAck(sequence=sequence)
        case TransferOffer(transfer, entries, size, block_size):
            kind = Kind.TRANSFER_OFFER
            message = pb.TransferOffer(transfer=transfer, entries=entries, size=size, block_size=block_size)
        case Entries(transfer, listed):
            kind, message = Kind.ENTRIES, pb.Entries(transfer=transfer, entries=pack(listed))
        case Have(transfer, first, digests):
            kind, message = Kind.HAVE, pb.Have(transfer=transfer, first=first, digests=digests)
        case TransferAnswer(transfer, accepted, reason, wanted):
            kind = Kind.TRANSFER_ANSWER
            message = pb.TransferAnswer(transfer=transfer, accepted=accepted, reason=reason, wanted=as_bits(wanted))
        case FileFailed(transfer, entry, reason):
            kind, message = Kind.FILE_FAILED, pb.FileFailed(transfer=transfer, entry=entry, reason=reason)
        case StreamEnd(transfer, size):
            kind, message = Kind.STREAM_END, pb.StreamEnd(transfer=transfer, size=size)
        case Verified(transfer, next):
            kind, message = Kind.VERIFIED, pb.Verified(transfer=transfer, next=next)
        case TransferEnd(transfer, root, absent, signature):
            kind = Kind.TRANSFER_END
            message = pb.TransferEnd(transfer=transfer, root=root, absent=as_bits(absent), signature=signature)
        case TransferReceipt(transfer, received_at_ms, missing, signature):
            kind = Kind.TRANSFER_RECEIPT
            message = pb.TransferReceipt(
                transfer=transfer, received_at_ms=received_at_ms, missing=as_bits(missing), signature=signature
            )
        case Cancel(transfer, reason):
            kind, message = Kind.CANCEL, pb.Cancel(transfer=transfer, reason=reason)
        case Done():
            kind, message = Kind.DONE, pb.Done()
        case Close(reason):
            kind, message = Kind.CLOSE, pb.Close(reason=reason)
        case Ping(id):
            kind, message = Kind.PING, pb.Echo(id=id)
        case Pong(id, received):
            kind, message = Kind.PONG, pb.Echo(id=id, received=received)
        case Resume(received, transfers):
            kind, message = Kind.RESUME, pb.Resume(received=received)
            for transfer, block in transfers:
                message.transfers.add(transfer=transfer, next_block=block)
    return kind, message.SerializeToString(deterministic=True)


def decode(kind: int, body: bytes) -> Frame:
    """Read a control frame's body. Raises `Malformed`, also for a kind that is not known."""
    try:
        return _decode(kind, body)
    except DecodeError as error:
        raise Malformed(f"a frame of kind {kind:#04x} that does not parse") from error


def _decode(kind: int, body: bytes) -> Frame:
    match kind:
        case Kind.KEY_PROOF:
            return KeyProof(body)
        case Kind.INTRODUCTION:
            return _read_introduction(pb.Introduction.FromString(body))
        case Kind.CHOSEN:
            return Chosen()
        case Kind.MESSAGE:
            message = pb.TextMessage.FromString(body)
            if len(message.text.encode()) > limits.MAX_TEXT_BYTES:
                raise Malformed(f"a message of more than {limits.MAX_TEXT_BYTES} bytes")
            return TextMessage(message.sequence, message.sent_at_ms, message.text, message.signature)
        case Kind.MESSAGE_ACK:
            return MessageAck(pb.MessageAck.FromString(body).sequence)
        case Kind.TRANSFER_OFFER:
            return _transfer_offer(pb.TransferOffer.FromString(body))
        case Kind.ENTRIES:
            listed = pb.Entries.FromString(body)
            return Entries(listed.transfer, tuple(unpack(listed.entries)))
        case Kind.HAVE:
            have = pb.Have.FromString(body)
            _check_digests(have.digests)
            return Have(have.transfer, have.first, have.digests)
        case Kind.TRANSFER_ANSWER:
            answer = pb.TransferAnswer.FromString(body)
            return TransferAnswer(answer.transfer, answer.accepted, _reason(answer.reason), _ranges(answer.wanted))
        case Kind.FILE_FAILED:
            failed = pb.FileFailed.FromString(body)
            return FileFailed(failed.transfer, failed.entry, _reason(failed.reason))
        case Kind.STREAM_END:
            stream = pb.StreamEnd.FromString(body)
            if stream.size > limits.MAX_FILE_BYTES:
                raise Malformed(f"a stream of {stream.size} bytes")
            return StreamEnd(stream.transfer, stream.size)
        case Kind.VERIFIED:
            verified = pb.Verified.FromString(body)
            return Verified(verified.transfer, verified.next)
        case Kind.TRANSFER_END:
            end = pb.TransferEnd.FromString(body)
            if len(end.root) != limits.HASH_BYTES:
                raise Malformed(f"a transfer's root of {len(end.root)} bytes")
            return TransferEnd(end.transfer, end.root, _ranges(end.absent), end.signature)
        case Kind.TRANSFER_RECEIPT:
            receipt = pb.TransferReceipt.FromString(body)
            missing = _ranges(receipt.missing)
            return TransferReceipt(receipt.transfer, receipt.received_at_ms, missing, receipt.signature)
        case Kind.CANCEL:
            cancel = pb.Cancel.FromString(body)
            return Cancel(cancel.transfer, _reason(cancel.reason))
        case Kind.DONE:
            pb.Done.FromString(body)
            return Done()
        case Kind.CLOSE:
            return Close(_reason(pb.Close.FromString(body).reason))
        case Kind.PING:
            return Ping(pb.Echo.FromString(body).id)
        case Kind.PONG:
            pong = pb.Echo.FromString(body)
            return Pong(pong.id, pong.received)
        case Kind.RESUME:
            resume = pb.Resume.FromString(body)
            transfers = tuple((wanted.transfer, wanted.next_block) for wanted in resume.transfers)
            return Resume(resume.received, transfers)
    raise Malformed(f"a frame of unknown kind {kind:#04x}")


def _read_introduction(body: pb.Introduction) -> Introduction:
    if body.version != limits.PROTOCOL_VERSION:
        raise Malformed(f"an introduction of version {body.version}; this program speaks {limits.PROTOCOL_VERSION}")
    if len(body.nonce) != limits.NONCE_BYTES or len(body.read_token) not in (0, limits.HASH_BYTES):
        raise Malformed("an introduction with a nonce or a token's hash of the wrong length")
    return Introduction(body.public_key, body.nonce, body.read_token)


def check_offer(offer: TransferOffer) -> None:
    """Raise `Malformed` for an offer that no frame may carry."""
    if not limits.MIN_BLOCK_SIZE <= offer.block_size <= limits.MAX_BLOCK_SIZE:
        raise Malformed(f"a transfer offered in blocks of {offer.block_size} bytes")
    if offer.size > limits.MAX_FILE_BYTES:
        raise Malformed(f"a transfer of {offer.size} bytes")
    if not 0 < offer.entries <= limits.MAX_ENTRIES:
        raise Malformed(f"a transfer of {offer.entries} files and folders")


def _transfer_offer(body: pb.TransferOffer) -> TransferOffer:
    offer = TransferOffer(body.transfer, body.entries, body.size, body.block_size)
    check_offer(offer)
    return offer


def _ranges(bits: bytes) -> Ranges:
    if len(bits) > -(-limits.MAX_ENTRIES // 8):
        raise Malformed(f"a set of entries in {len(bits)} bytes")
    try:
        return from_bits(bits)
    except ValueError as error:
        raise Malformed(f"a set of entries with {error}") from error


def _check_digests(digests: bytes) -> None:
    if not digests or len(digests) % limits.HASH_BYTES:
        raise Malformed(f"hashes of {len(digests)} bytes")


def sendable(reason: str) -> str:
    """Return `reason` as a frame can carry it: cut to length, and a file name's stray bytes as question marks."""
    return reason.encode(errors="replace")[: limits.MAX_REASON_BYTES].decode(errors="ignore")


def _reason(text: str) -> str:
    if len(text.encode()) > limits.MAX_REASON_BYTES:
        raise Malformed(f"a reason of more than {limits.MAX_REASON_BYTES} bytes")
    return text
