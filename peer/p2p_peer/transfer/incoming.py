"""The transfers a session receives: each accepted one has a sink of its own, opened and written in threads."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from p2p_core import limits
from p2p_core.errors import AlreadyThere, LocalProtocolError, PunchwireError, RemoteProtocolError, TransferFailed
from p2p_core.machines.session import SessionMachine
from p2p_core.manifest import TOP, EntryKind, Manifest
from p2p_core.printable import printable
from p2p_core.ranges import Ranges, ranges_of
from p2p_core.wire.frames import BlocksHeader, TransferEnd, TransferReceipt

from p2p_peer.events import (
    FileFailed,
    FilesKept,
    Phase,
    TransferBroken,
    TransferProgress,
    TransferReceived,
    TransferStalled,
)
from p2p_peer.transfer.archive import Archive
from p2p_peer.transfer.block_writer import BlockWriter, Callbacks, Finished
from p2p_peer.transfer.places import Place
from p2p_peer.transfer.progress import Progress
from p2p_peer.unfinished import Unfinished

__all__ = ["Incoming", "IncomingTransfers"]

Report = Callable[
    [TransferProgress | TransferStalled | FileFailed | FilesKept | TransferReceived | TransferBroken], None
]

_EXAMPLES = 3  # of files that are kept


@dataclass(slots=True, eq=False)
class Incoming:
    """One transfer of the other side's that was accepted, or is about to be."""

    transfer: int
    manifest: Manifest
    progress: Progress
    sink: BlockWriter | None = None  # once it is open
    end: TransferEnd | None = None  # the sender's, once all has come
    lost: set[int] = field(default_factory=set)  # entries that came to nothing, here or there
    staging: Path | None = None  # likewise: the folder that has what comes, until it has its names
    is_kept: bool = True  # what has come, when it comes to nothing

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return self.manifest.label()


@dataclass(frozen=True, slots=True)
class _Arriving:
    """The blocks whose data are being read."""

    sink: BlockWriter
    buffer: memoryview
    header: BlocksHeader


class IncomingTransfers:
    """Hands the pump buffers for blocks, and the sinks full ones; tells the machine what was verified and stored."""

    def __init__(
        self,
        machine: SessionMachine,
        archive: Archive,
        unfinished: Unfinished,
        *,
        unread: Callable[[], int],
        provide: Callable[[memoryview], None],
        report: Report,
        go_on: Callable[[], None],
        broken: Callable[[PunchwireError], None],
    ) -> None:
        self._machine, self._archive, self._unfinished = machine, archive, unfinished
        self._unread, self._provide, self._report, self._go_on, self._broken = unread, provide, report, go_on, broken
        self._loop = asyncio.get_running_loop()
        self._offered: dict[int, Manifest] = {}  # and not answered yet
        self._transfers: dict[int, Incoming] = {}
        self._receipted: dict[int, BlockWriter] = {}  # that keep what they know until the other side has our receipt
        self._ended: list[BlockWriter] = []
        self._waiting: BlocksHeader | None = None  # for a buffer
        self._arriving: _Arriving | None = None
        self._nowhere: memoryview | None = None

    def offered(self, transfer: int, manifest: Manifest) -> None:
        """The other side offers files."""
        self._offered[transfer] = manifest

    def accept(self, transfer: int, place: Place, only: Collection[int] | None) -> None:
        """Take a transfer, or the entries `only`, to `place`. Raises `TransferFailed` when it is not offered any more.

        Raises `LocalProtocolError` for none of them, or what is not among the entries. The answer goes out once the
        place is open; when it cannot be, the transfer is refused and has failed.
        """
        manifest = self._offered.get(transfer)
        if manifest is None:
            raise TransferFailed("it is not offered any more")
        wanted = () if only is None else _with_folders(manifest, only)
        del self._offered[transfer]
        look = partial(self._look, transfer)
        progress = Progress(transfer, manifest, outgoing=False, report=self._report, look=look)
        incoming = self._transfers[transfer] = Incoming(transfer, manifest, progress)
        self._unfinished.begin(self._open(incoming, place, wanted))

    def refuse(self, transfer: int, reason: str) -> None:
        """Do not take a transfer; nothing happens when it is not offered any more."""
        if self._offered.pop(transfer, None) is not None:
            self._machine.refuse(transfer, reason)

    @property
    def opening(self) -> set[int]:
        """Transfers that our user has taken, and whose places are not open yet."""
        return {transfer for transfer, incoming in self._transfers.items() if incoming.sink is None}

    def forget(self, transfer: int) -> None:
        """A transfer is about to be given up by our user: what has come of it is to go."""
        if transfer in self._transfers:
            self._transfers[transfer].is_kept = False

    def block_starts(self, header: BlocksHeader) -> memoryview | None:
        """Return the buffer for the data of blocks; None while their sink has none free."""
        if not self._machine.blocks_start(header):
            return self._discarded(header)
        return self._buffer_for(header)

    def block_ended(self) -> bool:
        """The data of the blocks are there: hand them to their sink. Return whether anybody wants them."""
        arriving, self._arriving = self._arriving, None
        if arriving is None:
            return False
        header = arriving.header
        self._machine.blocks_end(header.transfer)
        arriving.sink.write(arriving.buffer, header.first, header.digests, header.length)
        return True

    def channel_lost(self) -> None:
        """What came of blocks that have not come whole is of no use: all of it will come again."""
        arriving, self._arriving, self._waiting = self._arriving, None, None
        if arriving is not None:
            arriving.sink.give_back(arriving.buffer)

    def lost_there(self, transfer: int, entry: int, reason: str) -> bool:
        """The sender cannot send a file, or not all of a folder. Return whether the transfer is one of these."""
        incoming = self._transfers.get(transfer)
        if incoming is None:
            return False
        assert incoming.sink is not None
        if incoming.manifest.kind(entry) is not EntryKind.FOLDER:  # what could be read of that comes
            incoming.sink.drop(entry)
        self._lose(incoming, entry, TransferFailed(f"the other side cannot send it: {printable(reason)}"))
        return True

    def stream_ended(self, transfer: int, size: int) -> None:
        """The sender's stream has ended."""
        sink = self._transfers[transfer].sink
        if sink is not None:
            sink.stream_ended(size)

    def arrived(self, transfer: int, end: TransferEnd) -> None:
        """All of a transfer has come: verify and store what is left, and sign for it."""
        incoming = self._transfers[transfer]
        assert incoming.sink is not None
        incoming.end = end
        incoming.progress.enter(Phase.VERIFYING)
        self._unfinished.hold()
        incoming.sink.finish(end.absent)

    def receipt_arrived(self, transfer: int) -> None:
        """The other side has our receipt: it will never ask again what has come."""
        sink = self._receipted.pop(transfer, None)
        if sink is not None:
            self._end(sink, keep=False)

    def drop(self, transfer: int, error: PunchwireError) -> None:
        """A transfer has come to nothing, because of `error`; nothing happens if it is none of these."""
        manifest = self._offered.pop(transfer, None)
        incoming = self._transfers.pop(transfer, None)
        if incoming is not None:
            self._report(_broken(incoming, error))
            self._let_go(incoming)
        elif manifest is not None:
            self._report(TransferBroken(transfer, outgoing=False, label=manifest.label(), error=error))

    def session_ended(self, error: PunchwireError) -> list[TransferBroken]:
        """Nothing can be taken any more; return what to tell of the transfers that come to nothing by that."""
        self._offered.clear()
        return [_broken(incoming, error) for incoming in self._transfers.values()]

    async def stop(self) -> None:
        """Let go of everything; returns when no thread is left."""
        for transfer in tuple(self._transfers):
            self._let_go(self._transfers.pop(transfer))
        for sink in self._receipted.values():
            self._end(sink, keep=True)
        for sink in self._ended:
            await asyncio.to_thread(sink.join)

    async def _open(self, incoming: Incoming, place: Place, wanted: Ranges) -> None:
        transfer = incoming.transfer
        callbacks = Callbacks(
            verified=partial(self._in_loop, self._on_verified, transfer),
            buffer_free=partial(self._in_loop, self._on_buffer_free),
            file_failed=partial(self._in_loop, self._on_file_failed, transfer),
            failed=partial(self._in_loop, self._on_failed, transfer),
            finished=partial(self._in_loop, self._on_finished, transfer),
        )
        try:
            opened = await asyncio.to_thread(place.open, incoming.manifest, wanted, self._archive.peer, callbacks)
        except TransferFailed as error:
            if self._transfers.pop(transfer, None) is not None:
                incoming.progress.over()
                is_there = isinstance(error, AlreadyThere)
                self._machine.refuse(transfer, "it is there already" if is_there else "it cannot be stored there")
                self._report(TransferBroken(transfer, outgoing=False, label=incoming.label, error=error))
                self._go_on()
            return
        if transfer not in self._transfers:  # given up meanwhile
            self._end(opened.sink, keep=incoming.is_kept)
            return
        incoming.sink, incoming.staging = opened.sink, opened.staging
        incoming.progress.accepted(opened.wanted, opened.there)
        self._machine.accept(transfer, opened.wanted, opened.have)
        if opened.kept:
            examples = tuple("/".join(incoming.manifest.path(entry)) for entry in opened.kept[:_EXAMPLES])
            self._report(FilesKept(transfer, len(opened.kept), examples))
        self._go_on()

    def _buffer_for(self, header: BlocksHeader) -> memoryview | None:
        incoming = self._transfers.get(header.transfer)
        if incoming is None or incoming.sink is None:
            return self._discarded(header)
        buffer = incoming.sink.take()
        if buffer is None:
            self._waiting = header
            return None
        self._arriving = _Arriving(incoming.sink, buffer, header)
        return buffer[: header.length]

    def _discarded(self, header: BlocksHeader) -> memoryview:
        """Return room for blocks of a transfer that was given up while they were on their way."""
        self._arriving = None
        if self._nowhere is None:
            self._nowhere = memoryview(bytearray(limits.MAX_BLOCK_SIZE))
        return self._nowhere[: header.length]

    def _let_go(self, incoming: Incoming) -> None:
        incoming.progress.over()
        if incoming.sink is not None:
            self._end(incoming.sink, keep=incoming.is_kept)
        if incoming.end is not None:
            self._unfinished.release()
        self._on_buffer_free()

    def _end(self, sink: BlockWriter, *, keep: bool) -> None:
        sink.discard(keep=keep)
        self._ended = [ended for ended in self._ended if not ended.is_over] + [sink]

    def _lose(self, incoming: Incoming, entry: int, error: PunchwireError) -> None:
        if entry not in incoming.lost:
            incoming.lost.add(entry)
            path = "/".join(incoming.manifest.path(entry))
            self._report(FileFailed(incoming.transfer, outgoing=False, path=path, error=error))

    def _in_loop(self, function: Callable[..., None], *arguments: object) -> None:
        """Called in a sink's thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def _look(self, transfer: int) -> None:
        """See how far a transfer is: that a block comes slowly shows itself in no other way."""
        incoming, arriving = self._transfers[transfer], self._arriving
        if arriving is not None and arriving.sink is incoming.sink:
            incoming.progress.part(arriving.header.length - self._unread())

    def _on_buffer_free(self) -> None:
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        buffer = self._buffer_for(waiting)
        if buffer is not None:
            self._provide(buffer)

    def _on_verified(self, transfer: int, next_block: int, length: int) -> None:
        incoming = self._transfers.get(transfer)
        if incoming is not None:
            self._machine.verified(transfer, next_block)
            incoming.progress.move(length)
            self._go_on()

    def _on_file_failed(self, transfer: int, entry: int, error: TransferFailed) -> None:
        incoming = self._transfers.get(transfer)
        if incoming is not None:
            self._machine.file_failed(transfer, entry, str(error))
            self._lose(incoming, entry, error)
            self._go_on()

    def _on_failed(self, transfer: int, error: TransferFailed) -> None:
        self._machine.fail(transfer, error)
        self._go_on()

    def _on_finished(self, transfer: int, finished: Finished) -> None:
        incoming = self._transfers.get(transfer)
        if incoming is None or incoming.sink is None:
            return
        try:
            receipt = self._machine.stored(transfer, finished.root, finished.missing, time.time_ns() // 1_000_000)
        except RemoteProtocolError as error:
            self._broken(error)
            return
        del self._transfers[transfer]
        incoming.progress.over()
        self._receipted[transfer] = incoming.sink
        if receipt is not None:
            self._unfinished.begin(self._file(incoming, finished, receipt))
        self._unfinished.release()
        self._go_on()

    async def _file(self, incoming: Incoming, finished: Finished, receipt: TransferReceipt) -> None:
        self._report(await asyncio.to_thread(self._archive.received, incoming, finished, receipt))


def _broken(incoming: Incoming, error: PunchwireError) -> TransferBroken:
    there, kept = incoming.progress.bytes, incoming.staging
    has_come = incoming.sink is not None and incoming.sink.has_come
    if kept is None or not incoming.is_kept or not has_come or not kept.exists():
        there, kept = 0, None
    return TransferBroken(incoming.transfer, False, incoming.label, error, kept, there)


def _with_folders(manifest: Manifest, only: Collection[int]) -> Ranges:
    """Return `only` with all that is in its folders, and the folders that these are in. Raises `LocalProtocolError`."""
    if not only or not all(0 <= entry < len(manifest) for entry in only):
        raise LocalProtocolError("nothing of it is wanted, or what was not offered: refuse it")
    wanted = bytearray(len(manifest))
    for entry in only:
        wanted[entry] = True
    for entry in range(len(manifest)):
        parent = manifest.parent(entry)
        if parent != TOP and wanted[parent]:
            wanted[entry] = True
    for entry in reversed(range(len(manifest))):
        parent = manifest.parent(entry)
        if parent != TOP and wanted[entry]:
            wanted[parent] = True
    return ranges_of(entry for entry, is_wanted in enumerate(wanted) if is_wanted)
