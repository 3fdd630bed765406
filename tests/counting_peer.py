"""`p2p-peer` that writes down which blocks it sends, and which ones it has verified and stored: see `counted`.

    python tests/counting_peer.py LOG arguments of p2p-peer

A line a record: when (ns of the monotonic clock, which all processes of a computer share), which process, what, and
blocks by the path of their file and their place in it. A process killed in the middle of a line leaves a torn one.

A block counts as sent before the pump has a byte of it, and as verified after the journal has it and, if it is all of
its file, the file has its name. So one that was sent after it was verified need not have been.
"""

import json
import os
import sys
import time
from typing import Final

from p2p_core import limits
from p2p_core.manifest import Manifest
from p2p_peer.cli.main import run_program

__all__ = ["END", "FORGOTTEN", "SENT", "VERIFIED"]

SENT: Final = "sent"
VERIFIED: Final = "verified"
FORGOTTEN: Final = "forgotten"  # what was verified is not there any more, or is about to be overwritten
END: Final = " ."  # of a record that is not torn


class _Log:
    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, what: str, manifest: Manifest, first: int, count: int) -> None:
        """Write a record of consecutive blocks, in one write."""
        blocks = []
        for ordinal in range(first, first + count):
            entry = manifest.entry_of(ordinal)
            place = ordinal - manifest.first_block(entry)
            blocks.append(("/".join(manifest.path(entry)), place, manifest.block_length(ordinal)))
        record = (time.monotonic_ns(), os.getpid(), what, blocks)
        os.write(self._file, f"\n{json.dumps(record)}{END}\n".encode())


def count_in(log: _Log) -> None:
    """Have the transfers of this process written down."""
    from p2p_peer.transfer.outgoing import OutgoingTransfers
    from p2p_peer.transfer.received_journal import ReceivedJournal
    from p2p_peer.transfer.sink import Sink

    next_block, commit, forget = OutgoingTransfers.next_block, Sink._commit, ReceivedJournal.forget

    def counted_next_block(self: OutgoingTransfers) -> memoryview | None:
        frame = next_block(self)
        if frame is not None:
            assert self._in_flight is not None
            outgoing, blocks = self._in_flight
            log.write(SENT, outgoing.tree.manifest, blocks.first, blocks.count)
        return frame

    def counted_commit(self: Sink) -> None:
        first, count = self._first, len(self._digests) // limits.HASH_BYTES
        commit(self)
        if count:
            log.write(VERIFIED, self._manifest, first, count)

    def counted_forget(self: ReceivedJournal, first: int, count: int) -> None:
        log.write(FORGOTTEN, self._known.manifest, first, count)
        forget(self, first, count)

    OutgoingTransfers.next_block = counted_next_block  # type: ignore[method-assign]
    Sink._commit = counted_commit  # type: ignore[method-assign]
    ReceivedJournal.forget = counted_forget  # type: ignore[method-assign]


if __name__ == "__main__":
    count_in(_Log(sys.argv.pop(1)))
    run_program()
