"""Frames: everything two peers say to each other inside a channel. docs/protocol/session.md.

    u32 length of the body | u8 kind | body

Control frames are protobuf; file data is raw bytes behind a fixed header, so that it is never copied to be parsed:

    BLOCK body:  u32 transfer | u32 file | u64 index | BLAKE3 of the data, 32 bytes | data

Kinds from 0x80 up may be ignored by whoever does not know them; any other unknown kind is an error.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

from google.protobuf.message import DecodeError, Message
from p2p_proto import frames_pb2 as pb

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed

__all__ = [
    "BLOCK_HEADER_BYTES",
    "HEADER_BYTES",
    "BlockHeader",
    "Cancel",
    "Close",
    "Done",
    "FileAnswer",
    "FileEnd",
    "FileOffer",
    "FileReceipt",
    "Frame",
    "KeyProof",
    "Kind",
    "MessageAck",
    "Ping",
    "Pong",
    "Resume",
    "TextMessage",
    "check_offer",
    "decode",
    "encode",
    "may_be_ignored",
    "parse_header",
    "sendable",
]

_HEADER = struct.Struct(">IB")
_BLOCK = struct.Struct(">IIQ32s")
HEADER_BYTES = _HEADER.size
BLOCK_HEADER_BYTES = _BLOCK.size
_IGNORABLE = 0x80


class Kind(IntEnum):
    """What a frame is."""

    KEY_PROOF = 0x01
    MESSAGE = 0x02
    MESSAGE_ACK = 0x03
    FILE_OFFER = 0x04
    FILE_ANSWER = 0x05
    FILE_END = 0x06
    FILE_RECEIPT = 0x07
    CANCEL = 0x08
    DONE = 0x09
    CLOSE = 0x0A
    PING = 0x0B
    PONG = 0x0C
    RESUME = 0x0D
    BLOCK = 0x40


@dataclass(frozen=True, slots=True)
class KeyProof:
    """The first frame on every channel, and the only one before the proof has passed. Its body is the signature."""

    signature: bytes


@dataclass(frozen=True, slots=True)
class TextMessage:
    """A signed line of chat; `sequence` counts from 1 for each direction of a session."""

    sequence: int
    sent_at_ms: int
    text: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class MessageAck:
    """Every message up to `sequence` has been shown."""

    sequence: int


@dataclass(frozen=True, slots=True)
class FileOffer:
    """A file the sender would like to send. Transfers are odd from the initiator, even from the responder."""

    transfer: int
    name: str
    size: int  # bytes
    mode: int  # POSIX permission bits
    mtime_ns: int  # since the epoch
    block_size: int  # bytes


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """The receiver takes a file or does not; `reason` is for people."""

    transfer: int
    accepted: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FileEnd:
    """All blocks are sent; `root` covers them, signed by the sender."""

    transfer: int
    root: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class FileReceipt:
    """The file is verified and stored, signed by the receiver."""

    transfer: int
    received_at_ms: int
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
    transfers: tuple[tuple[int, int], ...] = ()  # each file that its sender is receiving, and the block it wants next


Frame = (
    KeyProof
    | TextMessage
    | MessageAck
    | FileOffer
    | FileAnswer
    | FileEnd
    | FileReceipt
    | Cancel
    | Done
    | Close
    | Ping
    | Pong
    | Resume
)


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What stands before the data of a block. `file` numbers the files of a transfer from 0."""

    transfer: int
    file: int
    index: int
    digest: bytes  # BLAKE3 of the data, 32 bytes

    def write(self, buffer: memoryview, length: int) -> None:
        """Write the frame header and the block header for `length` bytes of data to the start of `buffer`."""
        _HEADER.pack_into(buffer, 0, BLOCK_HEADER_BYTES + length, Kind.BLOCK)
        _BLOCK.pack_into(buffer, HEADER_BYTES, self.transfer, self.file, self.index, self.digest)

    @classmethod
    def read(cls, data: bytes | memoryview) -> "BlockHeader":
        """Read the 48 bytes that stand before a block's data."""
        return cls(*_BLOCK.unpack_from(data))


def parse_header(data: bytes | memoryview) -> tuple[int, int]:
    """Return (kind, length of the body in bytes) from the 5 bytes of a frame's header.

    Raises `Malformed` for a body longer than its kind may have, or a block shorter than its header.
    """
    length, kind = _HEADER.unpack_from(data)
    if kind == Kind.BLOCK:
        if not BLOCK_HEADER_BYTES < length <= BLOCK_HEADER_BYTES + limits.MAX_BLOCK_SIZE:
            raise Malformed(f"a block of {length} bytes")
    elif length > (limits.MAX_PROOF_FRAME if kind == Kind.KEY_PROOF else limits.MAX_CONTROL_FRAME):
        raise Malformed(f"a frame of kind {kind:#04x} with {length} bytes")
    return kind, length


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
    match frame:
        case KeyProof(signature):
            return Kind.KEY_PROOF, signature
        case TextMessage(sequence, sent_at_ms, text, signature):
            message: Message = pb.TextMessage(sequence=sequence, sent_at_ms=sent_at_ms, text=text, signature=signature)
            kind = Kind.MESSAGE
        case MessageAck(sequence):
            kind, message = Kind.MESSAGE_ACK, pb.MessageAck(sequence=sequence)
        case FileOffer():
            kind = Kind.FILE_OFFER
            message = pb.FileOffer(
                transfer=frame.transfer,
                name=frame.name,
                size=frame.size,
                mode=frame.mode,
                mtime_ns=frame.mtime_ns,
                block_size=frame.block_size,
            )
        case FileAnswer(transfer, accepted, reason):
            kind, message = Kind.FILE_ANSWER, pb.FileAnswer(transfer=transfer, accepted=accepted, reason=reason)
        case FileEnd(transfer, root, signature):
            kind, message = Kind.FILE_END, pb.FileEnd(transfer=transfer, root=root, signature=signature)
        case FileReceipt(transfer, received_at_ms, signature):
            kind = Kind.FILE_RECEIPT
            message = pb.FileReceipt(transfer=transfer, received_at_ms=received_at_ms, signature=signature)
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
        case Kind.MESSAGE:
            message = pb.TextMessage.FromString(body)
            if len(message.text.encode()) > limits.MAX_TEXT_BYTES:
                raise Malformed(f"a message of more than {limits.MAX_TEXT_BYTES} bytes")
            return TextMessage(message.sequence, message.sent_at_ms, message.text, message.signature)
        case Kind.MESSAGE_ACK:
            return MessageAck(pb.MessageAck.FromString(body).sequence)
        case Kind.FILE_OFFER:
            return _file_offer(pb.FileOffer.FromString(body))
        case Kind.FILE_ANSWER:
            answer = pb.FileAnswer.FromString(body)
            return FileAnswer(answer.transfer, answer.accepted, _reason(answer.reason))
        case Kind.FILE_END:
            end = pb.FileEnd.FromString(body)
            if len(end.root) != limits.HASH_BYTES:
                raise Malformed(f"a file root of {len(end.root)} bytes")
            return FileEnd(end.transfer, end.root, end.signature)
        case Kind.FILE_RECEIPT:
            receipt = pb.FileReceipt.FromString(body)
            return FileReceipt(receipt.transfer, receipt.received_at_ms, receipt.signature)
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


def check_offer(offer: FileOffer) -> None:
    """Raise `Malformed` for an offer that no frame may carry."""
    if not limits.MIN_BLOCK_SIZE <= offer.block_size <= limits.MAX_BLOCK_SIZE:
        raise Malformed(f"a file offered in blocks of {offer.block_size} bytes")
    if offer.size > limits.MAX_FILE_BYTES:
        raise Malformed(f"a file of {offer.size} bytes")
    try:
        size = len(offer.name.encode())
    except UnicodeEncodeError:
        raise Malformed("a file name with lone surrogates") from None
    if size > limits.MAX_NAME_BYTES:
        raise Malformed(f"a file name of more than {limits.MAX_NAME_BYTES} bytes")


def _file_offer(body: pb.FileOffer) -> FileOffer:
    offer = FileOffer(body.transfer, body.name, body.size, body.mode, body.mtime_ns, body.block_size)
    check_offer(offer)
    return offer


def sendable(reason: str) -> str:
    """Return `reason` as a frame can carry it: cut to length, and a file name's stray bytes as question marks."""
    return reason.encode(errors="replace")[: limits.MAX_REASON_BYTES].decode(errors="ignore")


def _reason(text: str) -> str:
    if len(text.encode()) > limits.MAX_REASON_BYTES:
        raise Malformed(f"a reason of more than {limits.MAX_REASON_BYTES} bytes")
    return text
