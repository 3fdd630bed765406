"""A transfer of every kind of entry, and a receipt that both sides signed for it."""

from p2p_core import limits
from p2p_core.identity import PeerId
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.proof import Role, sign
from p2p_core.ranges import Ranges
from p2p_core.receipt import Receipt
from p2p_core.statements import Speaker

from tests.keys import key

__all__ = ["BLOCK", "CONTENT", "ENTRIES", "IDS", "SESSION", "signed", "transfer"]

BLOCK = limits.MIN_BLOCK_SIZE
SESSION = bytes(range(32))
SENDER, RECEIVER = key(0), key(1)
IDS = PeerId.of(SENDER.public_key()), PeerId.of(RECEIVER.public_key())
ENTRIES = (
    Entry(EntryKind.FOLDER, TOP, "photos", mode=0o755),
    Entry(EntryKind.FILE, 0, "ü\n.jpg", BLOCK + 1, 0o644, 1_700_000_000_000_000_000),
    Entry(EntryKind.LINK, 0, "latest", target="ü\n.jpg"),
    Entry(EntryKind.FILE, 0, "left out", 7),
    Entry(EntryKind.FILE, 0, "copy", BLOCK + 1),
    Entry(EntryKind.STREAM, TOP, "stdin"),
)
CONTENT = {1: bytes(BLOCK) + b"x", 4: bytes(BLOCK) + b"x", 5: b"end"}  # of those that have any


def transfer() -> tuple[Manifest, Ledger]:
    """Return what the sender knows at the end: one file was left out."""
    manifest = Manifest(BLOCK)
    for entry in ENTRIES:
        manifest.add(entry)
    ledger = Ledger(manifest)
    ledger.leave_out(3)
    ledger.end_stream(len(CONTENT[5]))
    for entry, content in CONTENT.items():
        blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
        ledger.put(manifest.first_block(entry), b"".join(map(block_digest, blocks)))
    return manifest, ledger


def signed(
    root: bytes, missing: Ranges = ((4, 1),), received_at_ms: int = 1_700_000_000_123, *, outgoing: bool = False
) -> Receipt:
    """Return the receipt of a transfer from key 0 to key 1."""
    sent = Speaker(SESSION, *IDS, Role.RESPONDER).transfer_root(2, root)
    stored = Speaker(SESSION, *IDS[::-1], Role.INITIATOR).transfer_receipt(2, root, missing, received_at_ms)
    return Receipt(
        outgoing=outgoing,
        session_id=SESSION,
        sender=SENDER.public_key(),
        receiver=RECEIVER.public_key(),
        sender_role=Role.RESPONDER,
        transfer=2,
        block_size=BLOCK,
        root=root,
        received_at_ms=received_at_ms,
        missing=missing,
        sender_signature=sign(SENDER, sent),
        receiver_signature=sign(RECEIVER, stored),
    )
