"""Where a transfer can be received: into a folder, or to an open file."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from p2p_core.errors import AlreadyThere
from p2p_core.identity import PeerId
from p2p_core.manifest import Manifest
from p2p_core.ranges import Ranges, ranges_of

from p2p_peer.transfer.block_writer import BlockWriter, Callbacks, unwritable
from p2p_peer.transfer.sink import Sink
from p2p_peer.transfer.staging import Staging
from p2p_peer.transfer.stdout_sink import StdoutSink, Writable
from p2p_peer.transfer.stock import State, Stock, take_stock
from p2p_peer.transfer.target import Overwrite, Target

__all__ = ["Folder", "Opened", "Output", "Place"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A place that is ready for a transfer."""

    sink: BlockWriter  # runs already
    wanted: Ranges  # entries; () is all
    have: tuple[tuple[int, bytes], ...]  # runs of blocks that are there already, with their hashes
    there: int  # bytes of these
    kept: tuple[int, ...] = ()  # entries that are not wanted any more, as files of their names are there
    staging: Path | None = None  # the folder that has what comes, until it has its names


class Place(Protocol):
    """Where a transfer is received."""

    def open(self, manifest: Manifest, wanted: Ranges, peer: PeerId, callbacks: Callbacks) -> Opened:
        """Get ready for the entries `wanted`, () for all, of what `peer` offers. May take a while.

        Raises `TransferFailed`.
        """


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder, and what becomes of what is in it."""

    path: Path
    overwrite: Overwrite = Overwrite.RENAME
    in_place: bool = False

    def open(self, manifest: Manifest, wanted: Ranges, peer: PeerId, callbacks: Callbacks) -> Opened:
        """Get ready, with what is there of an earlier try. Raises `TransferFailed`."""
        with contextlib.ExitStack() as undo:
            try:
                target = Target(self.path, manifest, self.overwrite)
                undo.callback(target.close)
                staging = Staging.open(target.root, peer, manifest)
                undo.callback(staging.abandon)
                target.journal_to(staging.journal)
                stock = take_stock(target, staging, wanted)
                if stock.kept and not _is_any_file_wanted(manifest, stock):
                    raise AlreadyThere("everything that was offered is there already")
            except OSError as error:
                raise unwritable(f"{self.path} cannot be written to", error) from error
            have = tuple(staging.journal.ledger.known_runs())
            sink = Sink(target, staging, stock, callbacks, in_place=self.in_place)
            undo.pop_all()
        sink.start()
        if stock.kept:
            wanted = ranges_of(entry for entry in range(len(manifest)) if stock.states[entry] != State.UNWANTED)
        return Opened(sink, wanted, have, stock.bytes, stock.kept, self.path.absolute() / staging.name)


def _is_any_file_wanted(manifest: Manifest, stock: Stock) -> bool:
    return any(manifest.is_file(entry) and stock.states[entry] != State.UNWANTED for entry in range(len(manifest)))


@dataclass(frozen=True, slots=True)
class Output:
    """An open file, for a transfer that is one file."""

    file: Writable

    def open(self, manifest: Manifest, wanted: Ranges, peer: PeerId, callbacks: Callbacks) -> Opened:
        """Get ready. Raises `TransferFailed` if it is more than one file, or none."""
        sink = StdoutSink(manifest, self.file, callbacks)
        sink.start()
        return Opened(sink, wanted, (), 0)
