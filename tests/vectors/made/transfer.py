"""Frames of a transfer, roots, receipts, journals and a conversation (transfer.md)."""

from collections.abc import Iterator

from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_core.ledger import Ledger, block_digest, file_root
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.proof import Role, sign
from p2p_core.receipt import Receipt, read_receipt, receipt_lines
from p2p_core.statements import Speaker
from p2p_core.wire import frames, journal
from p2p_peer.transfer.received_journal import staging_names
from p2p_peer.transfer.sent_journal import journal_names

from tests.keys import key
from tests.vectors.made.inputs import INITIATOR, ISSUED, MILLISECONDS, RESPONDER, Blocks, of
from tests.vectors.made.randomised import Randomised
from tests.vectors.made.session import SPEAKERS
from tests.vectors.made.talks import AGREEMENTS, Side, Steps, talk

_SIGNATURE, _HASH, _MISSING = of(0x05, 256), of(0x07), ((1, 1), (4, 1))
_ENTRIES = (
    Entry(EntryKind.FOLDER, TOP, "photos", mode=0o755),
    Entry(EntryKind.FILE, 0, "a.txt", 5, 0o644, ISSUED * 10**9),
    Entry(EntryKind.LINK, 0, "latest", target="a.txt"),
    Entry(EntryKind.FILE, 0, "b.txt", 7),
    Entry(EntryKind.STREAM, TOP, "stdin"),
)


FRAMES: dict[str, frames.Frame] = {
    "frame-transfer-offer": frames.TransferOffer(1, len(_ENTRIES), 12, 4096),
    "frame-entries": frames.Entries(1, _ENTRIES),
    "frame-have": frames.Have(1, 0, _HASH + of(0x08)),
    "frame-transfer-answer-all": frames.TransferAnswer(1, accepted=True),
    "frame-transfer-answer-some": frames.TransferAnswer(1, accepted=True, wanted=((0, 3), (4, 1))),
    "frame-transfer-answer-refused": frames.TransferAnswer(1, accepted=False, reason="no"),
    "frame-file-failed": frames.FileFailed(1, 3, "gone"),
    "frame-stream-end": frames.StreamEnd(1, 4097),
    "frame-verified": frames.Verified(1, 2),
    "frame-transfer-end": frames.TransferEnd(1, _HASH, ((3, 1),), _SIGNATURE),
    "frame-transfer-receipt": frames.TransferReceipt(1, MILLISECONDS, _MISSING, _SIGNATURE),
    "frame-cancel": frames.Cancel(1, "disk full"),
}
BLOCKS = b"hello", b"goodbye"


def _blocks(carried: int) -> bytes:
    """The frame of both blocks, with the first `carried` bytes of their data."""
    data = b"".join(BLOCKS)
    header = frames.BlocksHeader(1, 0, len(data), b"".join(map(block_digest, BLOCKS)))
    frame = bytearray(header.room) + data[:carried]
    header.write(memoryview(frame))
    return bytes(frame)


def _part(sent: int) -> bytes:
    """The frame with the rest of their data, behind the first `sent` bytes."""
    rest = b"".join(BLOCKS)[sent:]
    return frames.frame_header(frames.Kind.PART, len(rest)) + rest


def _root(*blocks: bytes) -> bytes:
    return file_root(map(block_digest, blocks), sum(map(len, blocks)), 4096)


def _transfer_root() -> bytes:
    manifest = Manifest(4096)
    for entry in _ENTRIES:
        manifest.add(entry)
    ledger = Ledger(manifest)
    ledger.put(0, block_digest(b"hello"))
    ledger.leave_out(3)
    ledger.put(2, block_digest(bytes(4096)) + block_digest(b"x"))
    ledger.end_stream(4097)
    return ledger.root()


def _journaled() -> Manifest:
    manifest = Manifest()
    manifest.add(Entry(EntryKind.FOLDER, TOP, "b", mode=0o755, mtime_ns=ISSUED * 10**9))
    manifest.add(Entry(EntryKind.FILE, 0, "f", 3, 0o644, ISSUED * 10**9))
    return manifest


JOURNAL: tuple[journal.Record, ...] = (
    journal.Begin(journal.Side.RECEIVED, PeerId(INITIATOR), 2**20),
    journal.Boot(b"a boot"),
    *journal.entries_of(_journaled()),
    journal.Name(0, "b (1)"),
    journal.Files(((1, journal.file_id(1000, 3, ISSUED * 10**9)),)),
    journal.Blocks(0, block_digest(b"abc")),
    journal.Synced(274),
    journal.Forgotten(0, 1),
)


SENT_JOURNAL: tuple[journal.Record, ...] = (
    journal.Begin(journal.Side.SENT, PeerId(RESPONDER), 2**20),
    *journal.entries_of(_journaled()),
    journal.Files(((1, journal.file_id(1000, 3, ISSUED * 10**9, ISSUED * 10**9 + 5)),)),
    journal.Blocks(0, block_digest(b"abc")),
)


def _journal(records: tuple[journal.Record, ...]) -> bytes:
    salt = bytes(range(16))
    return journal.JournalWriter.start(salt) + journal.JournalWriter(salt).encode(*records)


def _staging_name() -> str:
    offered = Manifest()
    for name in ("b", "a"):
        offered.add(Entry(EntryKind.FILE, TOP, name))
    return next(staging_names(PeerId(INITIATOR), offered))


def blocks() -> Blocks:
    return {
        **{name: frames.encode(frame) for name, frame in FRAMES.items()},
        "frame-blocks": _blocks(12),
        "frame-blocks-begun": _blocks(3),
        "frame-part": _part(3),
        "root-hello": _root(b"hello"),
        "root-two-blocks": _root(bytes(4096), b"x"),
        "root-empty": _root(),
        "root-transfer": _transfer_root(),
        "statement-transfer-root": SPEAKERS[Role.INITIATOR].transfer_root(1, _transfer_root()),
        "statement-transfer-receipt": SPEAKERS[Role.RESPONDER].transfer_receipt(
            1, _transfer_root(), _MISSING, MILLISECONDS
        ),
        "journal-received": _journal(JOURNAL),
        "journal-sent": _journal(SENT_JOURNAL),
        "staging-name": _staging_name(),
        "journal-sent-name": next(journal_names(PeerId(RESPONDER), (b"/home/zoe/a", b"/home/zoe/b"))),
    }


# A conversation: `_SENT` goes over, of which the receiver has the first block.

_SENT = (
    Entry(EntryKind.FOLDER, TOP, "photos", mode=0o755),
    Entry(EntryKind.FILE, 0, "a.txt", 5, 0o644, ISSUED * 10**9),
    Entry(EntryKind.FILE, 0, "b.txt", 7, 0o644, ISSUED * 10**9),
    Entry(EntryKind.STREAM, TOP, "stdin"),
)
_DATA = b"hello", b"goodbye", b"piped"


def _offered() -> Manifest:
    manifest = Manifest(4096)
    for entry in _SENT:
        manifest.add(entry)
    return manifest


def _sent() -> Ledger:
    ledger = Ledger(_offered())
    ledger.put(0, b"".join(map(block_digest, _DATA)))
    ledger.end_stream(len(_DATA[2]))
    return ledger


def _block(number: int, carried: int) -> bytes:
    """The frame of one block, with the first `carried` bytes of it."""
    header = frames.BlocksHeader(1, number, len(_DATA[number]), block_digest(_DATA[number]))
    frame = bytearray(header.room) + _DATA[number][:carried]
    header.write(memoryview(frame))
    return bytes(frame)


def _offer(sender: Side) -> Iterator[bytes]:
    sender.machine.on_deadline(0.0)
    sender.machine.offer(_offered())
    yield from sender.says()


def _accept(receiver: Side) -> Iterator[bytes]:
    assert receiver.ledger is not None
    receiver.ledger.put(0, block_digest(_DATA[0]))
    receiver.machine.accept(1, (), [(0, block_digest(_DATA[0]))])
    receiver.machine.on_deadline(0.0)
    yield from receiver.says()


def _send(sender: Side) -> Iterator[bytes]:
    yield from sender.says()
    sender.machine.blocks_sent(1, 1, 1)
    yield _block(1, 3)
    sender.machine.on_deadline(5.0)
    yield from sender.says()
    yield frames.frame_header(frames.Kind.PART, 4) + _DATA[1][3:]
    sender.machine.blocks_sent(1, 2, 1)
    yield _block(2, 5)
    sender.machine.stream_ended(1, 5)
    sender.machine.all_sent(1, _sent().root(), ())
    yield from sender.says()


def _store(receiver: Side) -> Iterator[bytes]:
    assert receiver.ledger is not None
    receiver.machine.stored(1, receiver.ledger.root(), (), MILLISECONDS)
    yield from receiver.says()


CONVERSATION: Steps = (
    (Role.INITIATOR, _offer),
    (Role.RESPONDER, _accept),
    (Role.INITIATOR, _send),
    (Role.RESPONDER, _store),
)


# Its receipt, as the sender keeps it. It is signed apart from the conversation.


def _receipt(root_signature: bytes, receipt_signature: bytes) -> bytes:
    ledger = _sent()
    kept = Receipt(
        outgoing=True,
        session_id=AGREEMENTS[Role.INITIATOR].session_id,
        sender=key(0).public_key(),
        receiver=key(1).public_key(),
        sender_role=Role.INITIATOR,
        transfer=1,
        block_size=4096,
        root=ledger.root(),
        received_at_ms=MILLISECONDS,
        missing=(),
        sender_signature=root_signature,
        receiver_signature=receipt_signature,
    )
    return "".join(receipt_lines(kept, _offered(), ledger)).encode()


def _make_receipt() -> bytes:
    sender, receiver = (Speaker.of(AGREEMENTS[Role.INITIATOR], role) for role in Role)
    root = _sent().root()
    return _receipt(
        sign(key(0), sender.transfer_root(1, root)),
        sign(key(1), receiver.transfer_receipt(1, root, (), MILLISECONDS)),
    )


def _check_receipt(text: bytes) -> None:
    read = read_receipt(text.splitlines(keepends=True)).receipt
    if text != _receipt(read.sender_signature, read.receiver_signature):
        raise Malformed("a receipt of something else")


RANDOMISED = {
    "talk-transfer": talk(CONVERSATION, proved=True),
    "receipt": Randomised(_make_receipt, _check_receipt),
}
