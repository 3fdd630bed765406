"""What is kept of transfers that are over: a receipt of each, and a line in the history."""

import json
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from p2p_core.errors import ReceiptUnreadable, UsageError
from p2p_core.identity import PeerId
from p2p_core.ledger import Ledger
from p2p_core.manifest import Manifest
from p2p_core.receipt import MAX_LINE_BYTES, Receipt, WholeReceipt, read_receipt, receipt_lines

from p2p_peer.private_file import PrivateFile, check_our_folder, make_folder
from p2p_peer.regular_files import open_regular

__all__ = ["HISTORY", "RECEIPTS", "PastTransfer", "add_to_history", "load_receipt", "store_receipt"]

RECEIPTS = "receipts"
HISTORY = "history.jsonl"
_ANOTHER_FOLDER = "Give --state-dir a folder that you may write to, and that has room."


@dataclass(frozen=True, slots=True)
class PastTransfer:
    """What the history tells of a transfer."""

    outgoing: bool
    peer: PeerId
    label: str
    files: int
    size: int  # bytes
    failed: int  # files that did not arrive
    receipt: Path | None


def store_receipt(state_dir: Path, receipt: Receipt, manifest: Manifest, ledger: Ledger) -> Path:
    """Write a receipt into the folder `receipts` and return its path. Raises `UsageError` if that cannot be done.

    It is there whole, or not at all. With 100 000 entries it takes seconds. Where others can write, `NotPrivate`.
    """
    folder = state_dir / RECEIPTS
    direction, peer = ("sent", receipt.receiver) if receipt.outgoing else ("received", receipt.sender)
    session = receipt.session_id[:4].hex()
    name = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{direction}-{PeerId.of(peer).short}-{session}"
    path = folder / f"{name}-{receipt.transfer}.jsonl"
    try:
        make_folder(folder)
        check_our_folder(state_dir)
        check_our_folder(folder)
        descriptor, temporary = tempfile.mkstemp(dir=folder, prefix=".")  # mkstemp makes it 0600
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.writelines(receipt_lines(receipt, manifest, ledger))
                file.flush()
                os.fsync(descriptor)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}", advice=_ANOTHER_FOLDER) from error
    return path


def load_receipt(path: Path) -> WholeReceipt:
    """Read a receipt and check it. Raises `ReceiptUnreadable`."""
    try:
        with open_regular(path) as file:
            return read_receipt(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""))
    except OSError as error:
        raise ReceiptUnreadable(f"{path} cannot be read: {error.strerror}") from error
    except ReceiptUnreadable as error:
        raise ReceiptUnreadable(f"{path} cannot be used: {error}", advice=error.advice) from error


def add_to_history(state_dir: Path, past: PastTransfer) -> None:
    """Append a line about a transfer that is over. Raises `UsageError` if that cannot be done.

    Where others can write, that is `NotPrivate`.
    """
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "direction": "sent" if past.outgoing else "received",
        "peer": str(past.peer),
        "label": past.label,
        "files": past.files,
        "bytes": past.size,
        "failed": past.failed,
        "receipt": None if past.receipt is None else str(past.receipt),
    }
    path = state_dir / HISTORY
    try:
        PrivateFile(path).append(json.dumps(line).encode() + b"\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be written to: {error.strerror}", advice=_ANOTHER_FOLDER) from error
