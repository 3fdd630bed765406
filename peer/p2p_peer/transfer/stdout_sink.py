"""Writes the one file or stream of a transfer as it comes, in order: to standard output."""

from typing import Protocol

from p2p_core.errors import TransferFailed
from p2p_core.ledger import Ledger
from p2p_core.manifest import Manifest
from p2p_core.ranges import Ranges

from p2p_peer.transfer.block_writer import BlockWriter, Callbacks, Finished, unwritable

__all__ = ["StdoutSink", "Writable"]


class Writable(Protocol):
    """A binary file, open for writing."""

    def write(self, data: memoryview, /) -> int:
        """Write some of `data`, and return how many bytes. Raises `OSError`."""

    def flush(self) -> None:
        """Let all of it out. Raises `OSError`."""


class StdoutSink(BlockWriter):
    """Takes the blocks of a transfer that is a single file or stream. What is written cannot be taken back."""

    def __init__(self, manifest: Manifest, file: Writable, callbacks: Callbacks) -> None:
        """`file` is not closed here. Raises `TransferFailed` for a transfer of anything else."""
        if not len(manifest) == manifest.files == 1:
            raise TransferFailed(
                "only a single file or stream can go to standard output", advice="Receive it into a folder."
            )
        super().__init__(manifest, Ledger(manifest), callbacks)
        self._file = file
        self._written = 0

    def _store(self, entry: int, ordinal: int, offset: int, data: memoryview, digest: bytes) -> None:
        if offset != self._written:
            raise TransferFailed("the other side left out a part of it")
        try:
            while data:
                count = self._file.write(data)
                data, self._written = data[count:], self._written + count
        except OSError as error:
            raise unwritable("standard output cannot be written to", error) from error
        self._ledger.put(ordinal, digest)

    def _stored(self) -> None:
        try:
            self._file.flush()  # whoever reads it has what is verified
        except OSError as error:
            raise unwritable("standard output cannot be written to", error) from error

    def _drop(self, entry: int) -> None:
        pass

    def _finish(self, absent: Ranges) -> None:
        self._leave_out(absent)
        files = 0 if absent else 1
        self._callbacks.finished(Finished(self._ledger.root(), (), (), files, self._written, self._ledger))

    def _close(self) -> None:
        pass
