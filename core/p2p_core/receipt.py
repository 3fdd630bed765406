"""A receipt: everything that was in a transfer, and what both sides signed about it. docs/protocol/transfer.md.

It is text, in lines of JSON: one object, then an array for each entry of the transfer. Reading one believes nothing: a
receipt may come from anybody.
"""

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from p2p_core import limits
from p2p_core.errors import Malformed, ProofFailed, PunchwireError, ReceiptUnreadable
from p2p_core.identity import PeerId, RSAPublicKey, load_public_key, public_pem
from p2p_core.ledger import LEFT_OUT, Ledger, transfer_root
from p2p_core.manifest import Entry, EntryKind, Manifest
from p2p_core.proof import Role, verify_signature
from p2p_core.ranges import Ranges
from p2p_core.statements import Speaker

__all__ = ["MAX_LINE_BYTES", "Receipt", "WholeReceipt", "read_receipt", "receipt_lines"]

MAX_LINE_BYTES = 4 * 1024 * 1024  # as many ranges as a frame carries, ten times over
_VERSION = 1
_DIRECTIONS = {True: "sent", False: "received"}
_U32, _U64 = 2**32 - 1, 2**64 - 1
_Value = TypeVar("_Value", str, int, list)  # type: ignore[type-arg]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was signed: by the sender that `root` is all it sent, by the receiver what it has stored of that."""

    outgoing: bool  # whether the sender stored this, or the receiver
    session_id: bytes
    sender: RSAPublicKey
    receiver: RSAPublicKey
    sender_role: Role
    transfer: int
    block_size: int
    root: bytes
    received_at_ms: int  # by the receiver's clock
    missing: Ranges  # entries that the receiver has not stored
    sender_signature: bytes
    receiver_signature: bytes

    def check(self) -> None:
        """Raise `ProofFailed` unless both have signed it."""
        sender, receiver = PeerId.of(self.sender), PeerId.of(self.receiver)
        of_sender = Speaker(self.session_id, sender, receiver, self.sender_role)
        of_receiver = Speaker(self.session_id, receiver, sender, self.sender_role.other)
        sent = of_sender.transfer_root(self.transfer, self.root)
        stored = of_receiver.transfer_receipt(self.transfer, self.root, self.missing, self.received_at_ms)
        verify_signature(self.sender, sent, self.sender_signature)
        verify_signature(self.receiver, stored, self.receiver_signature)


@dataclass(frozen=True, slots=True)
class WholeReceipt:
    """A receipt that holds, and the entries that it is for."""

    receipt: Receipt
    manifest: Manifest
    leaves: bytes  # 32 for each entry, zeros for those without content

    def find(self, root: bytes) -> Iterator[int]:
        """Yield the entries whose content has `root` (`ledger.file_root`), which covers its size."""
        at = self.leaves.find(root)
        while at >= 0:
            if at % limits.HASH_BYTES == 0:
                yield at // limits.HASH_BYTES
            at = self.leaves.find(root, at + 1)

    def is_missing(self, entry: int) -> bool:
        """Say whether the receiver has not stored an entry."""
        missing = self.receipt.missing
        place = bisect_right(missing, (entry, limits.MAX_ENTRIES)) - 1
        return place >= 0 and entry < sum(missing[place])


def receipt_lines(receipt: Receipt, manifest: Manifest, ledger: Ledger) -> Iterator[str]:
    """Yield the lines of a receipt for a transfer that is over."""
    header = {
        "version": _VERSION,
        "direction": _DIRECTIONS[receipt.outgoing],
        "sender": str(PeerId.of(receipt.sender)),
        "receiver": str(PeerId.of(receipt.receiver)),
        "received_at_ms": receipt.received_at_ms,
        "session": receipt.session_id.hex(),
        "sender_role": receipt.sender_role.value,
        "transfer": receipt.transfer,
        "block_size": receipt.block_size,
        "root": receipt.root.hex(),
        "missing": receipt.missing,
        "sender_signature": receipt.sender_signature.hex(),
        "receiver_signature": receipt.receiver_signature.hex(),
        "sender_key": public_pem(receipt.sender).decode(),
        "receiver_key": public_pem(receipt.receiver).decode(),
    }
    yield json.dumps(header) + "\n"
    for index, entry in enumerate(manifest):
        name, target = json.dumps(entry.name), json.dumps(entry.target)  # all at once would take twice as long
        size, leaf = ledger.size(index), ledger.leaf(index).hex()
        yield (
            f'[{int(entry.kind)}, {entry.parent}, {name}, {size}, {entry.mode}, {entry.mtime_ns}, {target}, "{leaf}"]\n'
        )


def read_receipt(lines: Iterable[bytes]) -> WholeReceipt:
    """Read a receipt and check it; of a line, MAX_LINE_BYTES + 1 bytes are enough.

    Raises `ReceiptUnreadable` for one that cannot be read, of which lines are not there, or that was changed.
    """
    numbered = enumerate(lines, 1)
    receipt = _header(next(numbered, (1, b""))[1])
    manifest = Manifest(receipt.block_size)
    leaves = bytearray()

    def entries() -> Iterator[tuple[Entry, int, bytes]]:
        for number, line in numbered:
            entry, size, leaf = _entry(line, number)
            try:
                manifest.add(entry)
            except Malformed as error:
                raise _alien(number) from error
            leaves.extend(leaf or LEFT_OUT)
            yield entry, size, leaf

    if transfer_root(entries(), receipt.block_size) != receipt.root:
        raise ReceiptUnreadable("lines of it are missing or were changed")
    try:
        receipt.check()
    except ProofFailed as error:
        raise ReceiptUnreadable("it was changed, or its signatures are not those of its two keys") from error
    return WholeReceipt(receipt, manifest, bytes(leaves))


def _header(line: bytes) -> Receipt:
    header = _json(line, 1)
    if not isinstance(header, dict) or "sender_signature" not in header:
        raise _alien(1)
    if header.get("version") != _VERSION:
        raise ReceiptUnreadable(
            "it is of another version of Punchwire",
            advice="Update Punchwire, or check it with the version that wrote it.",
        )
    try:
        receipt = Receipt(
            {name: outgoing for outgoing, name in _DIRECTIONS.items()}[_typed(header["direction"], str)],
            _hash(header["session"]),
            load_public_key(_typed(header["sender_key"], str).encode()),
            load_public_key(_typed(header["receiver_key"], str).encode()),
            Role(header["sender_role"]),
            _number(header["transfer"], _U32),
            _number(header["block_size"], limits.MAX_BLOCK_SIZE),
            _hash(header["root"]),
            _number(header["received_at_ms"], _U64),
            _ranges(header["missing"]),
            bytes.fromhex(_typed(header["sender_signature"], str)),
            bytes.fromhex(_typed(header["receiver_signature"], str)),
        )
        Manifest(receipt.block_size)  # it refuses what no transfer has
        ids = [str(PeerId.of(key)) for key in (receipt.sender, receipt.receiver)]
        if [header["sender"], header["receiver"]] != ids:
            raise _alien(1)
    except (LookupError, ValueError, TypeError, PunchwireError) as error:
        raise _alien(1) from error
    return receipt


def _entry(line: bytes, number: int) -> tuple[Entry, int, bytes]:
    """Return an entry, its size, which of a stream is not in it, and its leaf."""
    try:
        fields = _typed(_json(line, number), list)
        kind, parent, name, size, mode, mtime_ns, target, leaf = fields
        kind = EntryKind(_typed(kind, int))
        size = _number(size, limits.MAX_FILE_BYTES)
        known = 0 if kind is EntryKind.STREAM else size
        entry = Entry(
            kind,
            _typed(parent, int),
            _typed(name, str),
            known,
            _typed(mode, int),
            _typed(mtime_ns, int),
            _typed(target, str),
        )
        has_content = kind in (EntryKind.FILE, EntryKind.STREAM)
        return entry, size, _hash(leaf) if has_content else _nothing(leaf)
    except (ValueError, TypeError) as error:
        raise _alien(number) from error


def _json(line: bytes, number: int) -> Any:
    if len(line) > MAX_LINE_BYTES:
        raise _alien(number)
    try:
        return json.loads(line.decode())
    except (ValueError, RecursionError) as error:  # the latter for brackets in brackets in brackets
        raise _alien(number) from error


def _alien(number: int) -> ReceiptUnreadable:
    return ReceiptUnreadable("it is no receipt" if number == 1 else f"its line {number} is none of a receipt")


def _typed(value: Any, kind: type[_Value]) -> _Value:
    if type(value) is not kind:  # True is an int otherwise
        raise TypeError
    return value


def _number(value: Any, most: int) -> int:
    number = _typed(value, int)
    if not 0 <= number <= most:
        raise ValueError
    return number


def _hash(value: Any) -> bytes:
    found = bytes.fromhex(_typed(value, str))
    if len(found) != limits.HASH_BYTES:
        raise ValueError
    return found


def _nothing(value: Any) -> bytes:
    if value != "":
        raise ValueError
    return b""


def _ranges(value: Any) -> Ranges:
    ranges: list[tuple[int, int]] = []
    for item in _typed(value, list):
        first, count = _typed(item, list)
        ranges.append((_number(first, limits.MAX_ENTRIES), _number(count, limits.MAX_ENTRIES)))
    if any(sum(one) >= other[0] for one, other in pairwise(ranges)):
        raise ValueError
    return tuple(ranges)
