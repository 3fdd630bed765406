"""`p2p-peer verify RECEIPT FILE`: whether a file is what was transferred, and what its receipt says of that."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from p2p_core.errors import FileDiffers, PunchwireError, UsageError
from p2p_core.identity import PeerId
from p2p_core.ledger import block_digest, file_root
from p2p_core.printable import printable
from p2p_core.receipt import WholeReceipt

from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.rows import in_rows
from p2p_peer.cli.sentences import print_error
from p2p_peer.regular_files import open_regular
from p2p_peer.transfer.receipts import load_receipt

__all__ = ["verify"]


def verify(options: argparse.Namespace) -> int:
    """Check, print what was found, and return the exit code."""
    try:
        whole = load_receipt(options.receipt)
        size, root = _content(options.file, whole.receipt.block_size)
        entry = _entry(whole, root, options.file)
    except PunchwireError as error:
        if options.json:
            found = {"verified": False, "code": error.code, "message": str(error), "advice": error.advice}
            print(json.dumps(found))
        else:
            print_error(error)
        return exit_code(error)
    if options.json:
        print(json.dumps(_object(whole, entry, size)))
    else:
        lines = map(printable, _lines(whole, entry, size, options.file))
        columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(lines if columns is None else (in_rows(line, columns) for line in lines)))  # others chose names
    return 0


def _content(path: Path, block_size: int) -> tuple[int, bytes]:
    """Return size and root of a file."""
    size, digests = 0, bytearray()
    buffer = memoryview(bytearray(block_size))
    try:
        with open_regular(path) as file:
            while count := file.readinto(buffer):  # buffered: a whole block, but for the last one
                size += count
                digests += block_digest(buffer[:count])
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", advice="Name a file that you may read.") from error
    return size, file_root((bytes(digests),), size, block_size)


def _entry(whole: WholeReceipt, root: bytes, path: Path) -> int:
    """Return the entry that has this content, the one of the same name if there are several. Raises `FileDiffers`."""
    same = list(whole.find(root))
    stored = [entry for entry in same if not whole.is_missing(entry)]
    if stored:
        return next((entry for entry in stored if whole.manifest.name(entry) == path.name), stored[0])
    if same:
        raise FileDiffers(f"{path} was sent, but the receiver has signed that it did not store it")
    raise FileDiffers(f"{path} is not what was {_done(whole)}: the receipt has no file with this content")


def _done(whole: WholeReceipt) -> str:
    return "sent" if whole.receipt.outgoing else "received"


def _object(whole: WholeReceipt, entry: int, size: int) -> dict[str, Any]:
    receipt = whole.receipt
    return {
        "verified": True,
        "path": "/".join(whole.manifest.path(entry)),
        "size": size,
        "direction": _done(whole),
        "sender": str(PeerId.of(receipt.sender)),
        "receiver": str(PeerId.of(receipt.receiver)),
        "received_at_ms": receipt.received_at_ms,
    }


def _lines(whole: WholeReceipt, entry: int, size: int, path: Path) -> Iterator[str]:
    receipt = whole.receipt
    yield f"{path} is what was {_done(whole)} as {'/'.join(whole.manifest.path(entry))}, {size} bytes"
    yield f"sender    {PeerId.of(receipt.sender)}"
    yield f"receiver  {PeerId.of(receipt.receiver)}"
    yield f"stored    {_time(receipt.received_at_ms)} by the receiver's clock"


def _time(milliseconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):  # whatever the receiver liked to sign
        return f"{milliseconds} ms after 1970"
