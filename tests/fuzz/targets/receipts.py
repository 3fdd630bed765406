"""Receipts, and what is remembered of peers and mediators."""

from p2p_core.errors import Malformed, ReceiptUnreadable
from p2p_core.receipt import MAX_LINE_BYTES, WholeReceipt, read_receipt, receipt_lines
from p2p_peer.cli.trust import _date
from p2p_peer.remembered import Remembered, name_fault, read_remembered
from p2p_peer.transfer.receipts import load_receipt

from tests.core.signed_receipt import signed, transfer
from tests.fuzz.shapes import chosen, file_of, shown
from tests.fuzz.target import Target

_ID = "a" * 51 + "q"


def _receipt() -> bytes:
    manifest, ledger = transfer()
    return "".join(receipt_lines(signed(ledger.root()), manifest, ledger)).encode()


def _of_another_transfer() -> bytes:
    """Return a receipt whose lines are all read: its root is not theirs."""
    manifest, ledger = transfer()
    return "".join(receipt_lines(signed(bytes(32)), manifest, ledger)).encode()


def _parsed(data: bytes) -> WholeReceipt:
    """Read it out of a file, or line by line as a file gives it."""
    way, data = chosen(data, 8)
    if not way:
        return load_receipt(file_of(data, "receipt"))
    return read_receipt(line[: MAX_LINE_BYTES + 1] for line in data.splitlines(keepends=True))


def _receipt_holds(whole: WholeReceipt) -> None:
    """It is what was signed: nobody can change one so that it still is one."""
    manifest, ledger = transfer()
    assert list(whole.manifest) == list(manifest)
    assert whole.receipt.root == ledger.root()
    for entry in range(len(manifest)):
        whole.is_missing(entry)
    shown("".join(map(str, list(whole.find(whole.leaves[:32])))))


def _remembered_holds(read: Remembered) -> None:
    """What was read is written, and read as the same again; and it can be listed."""
    assert read_remembered(read.text()) == read
    for peer in read.peers.values():
        assert peer.name is None or name_fault(peer.name) is None
        for text in (peer.name or "", *peer.targets, _date(peer.first_met), _date(peer.last_met)):
            shown(text)
        assert read.peers[peer.id] is peer


def _trust() -> list[bytes]:
    peer = '{"name": "bob", "targets": ["192.0.2.1:1"], "verified": true, "first_met": 1, "last_met": 2}'
    whole = f'{{"version": 1, "mediators": {{"m.example:54700": "{_ID}"}}, "peers": {{"{_ID}": {peer}}}}}'
    return [whole.encode(), b'{"version": 1, "mediators": {}, "peers": {}}', b'{"version": 2}', b"[" * 2000]


TARGETS = (
    Target(
        name="receipt",
        of=("p2p_core.receipt.read_receipt", "p2p_peer.transfer.receipts.load_receipt"),
        parse=_parsed,
        raises=(ReceiptUnreadable,),
        seeds=lambda: [way + receipt for way in (b"\0", b"\1") for receipt in (_receipt(), _of_another_transfer())],
        holds=_receipt_holds,
    ),
    Target(
        name="trust-store",
        of=("p2p_peer.remembered.read_remembered",),
        parse=read_remembered,
        raises=(Malformed,),
        seeds=_trust,
        holds=_remembered_holds,
    ),
)
