"""The files a session receives: each accepted one has a sink of its own."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from p2p_core import limits
from p2p_core.errors import PunchwireError, RemoteProtocolError, TransferFailed
from p2p_core.machines.session import SessionMachine
from p2p_core.printable import printable
from p2p_core.wire.frame_reader import BlockStarts
from p2p_core.wire.frames import BlockHeader, FileOffer

from p2p_peer.events import FileProgress, FileReceived
from p2p_peer.transfer.progress import Progress
from p2p_peer.transfer.sink import FileSink, Stored

__all__ = ["IncomingFiles"]


@dataclass(frozen=True, slots=True)
class _Receiving:
    offer: FileOffer
    sink: FileSink
    progress: Progress


@dataclass(frozen=True, slots=True)
class _Arriving:
    """The block whose data is being read."""

    sink: FileSink
    buffer: memoryview
    header: BlockHeader
    length: int
    offset: int


class IncomingFiles:
    """Hands the pump buffers for blocks, and the sinks full ones; tells the machine what was verified and stored."""

    def __init__(
        self,
        machine: SessionMachine,
        provide: Callable[[memoryview], None],
        report: Callable[[FileProgress | FileReceived], None],
        go_on: Callable[[], None],
        broken: Callable[[PunchwireError], None],
    ) -> None:
        self._machine, self._provide, self._report = machine, provide, report
        self._go_on, self._broken = go_on, broken
        self._loop = asyncio.get_running_loop()
        self._offered: dict[int, str] = {}  # and not answered yet: names
        self._files: dict[int, _Receiving] = {}
        self._ended: list[FileSink] = []
        self._waiting: BlockStarts | None = None  # for a buffer
        self._arriving: _Arriving | None = None
        self._nowhere: memoryview | None = None
        self._being_stored: set[int] = set()
        self._afterwards: Callable[[], None] | None = None

    def offered(self, offer: FileOffer) -> None:
        """The other side offers a file."""
        self._offered[offer.transfer] = offer.name

    def accept(self, offer: FileOffer, folder: Path) -> None:
        """Take a file into `folder`. Raises `TransferFailed` when that cannot be; the other side is told."""
        transfer = offer.transfer
        if transfer not in self._offered:
            raise TransferFailed(f"{printable(offer.name)} is not offered any more")
        del self._offered[transfer]
        try:
            sink = FileSink(
                offer,
                folder,
                verified=partial(self._in_loop, self._on_verified, transfer),
                buffer_free=partial(self._in_loop, self._on_buffer_free),
                failed=partial(self._in_loop, self._on_failed, transfer),
            )
        except TransferFailed:
            self._machine.refuse_file(transfer, "it cannot be stored there")
            raise
        self._files[transfer] = _Receiving(offer, sink, Progress(transfer, offer.name, offer.size, self._report))
        self._machine.accept_file(transfer)

    def refuse(self, offer: FileOffer, reason: str) -> None:
        """Do not take a file; nothing happens when it is not offered any more."""
        if offer.transfer in self._offered:
            del self._offered[offer.transfer]
            self._machine.refuse_file(offer.transfer, reason)

    def block_starts(self, block: BlockStarts) -> memoryview | None:
        """Return the buffer for a block's data; None while its sink has none free."""
        if not self._machine.block_starts(block.header, block.length):
            return self._discarded(block)
        return self._buffer_for(block)

    def block_ended(self) -> bool:
        """The data of the block is there: hand it to its sink. Return whether anybody wants it."""
        arriving, self._arriving = self._arriving, None
        if arriving is None:
            return False
        self._machine.block_ends(arriving.header.transfer)
        arriving.sink.write(arriving.buffer, arriving.length, arriving.header.digest, arriving.offset)
        return True

    def channel_lost(self) -> None:
        """What came of a block that has not come whole is of no use: all of it will come again."""
        arriving, self._arriving, self._waiting = self._arriving, None, None
        if arriving is not None:
            arriving.sink.give_back(arriving.buffer)

    def store(self, transfer: int) -> None:
        """Every block and the root are verified: give the file its name."""
        self._being_stored.add(transfer)
        self._files[transfer].sink.store(partial(self._in_loop, self._on_stored, transfer))

    def once_stored(self, afterwards: Callable[[], None]) -> None:
        """Call `afterwards` when no file is just being given its name: it will be there, and is to be told of."""
        if self._being_stored:
            self._afterwards = afterwards
        else:
            afterwards()

    def drop(self, transfer: int) -> str | None:
        """A file was given up; what there is of it goes. Return its name; None if it is none of these."""
        name = self._offered.pop(transfer, None)
        receiving = self._files.pop(transfer, None)
        if receiving is not None:
            name = receiving.offer.name
            self._end(receiving.sink)
            self._on_buffer_free()
        return name

    def session_ended(self) -> None:
        """Nothing can be taken any more."""
        self._offered.clear()

    async def stop(self) -> None:
        """Let go of everything; returns when no thread and no temporary file is left."""
        for transfer in tuple(self._files):
            self._end(self._files.pop(transfer).sink)
        for sink in self._ended:
            await asyncio.to_thread(sink.join)

    def _buffer_for(self, block: BlockStarts) -> memoryview | None:
        receiving = self._files.get(block.header.transfer)
        if receiving is None:
            return self._discarded(block)
        buffer = receiving.sink.take()
        if buffer is None:
            self._waiting = block
            return None
        offset = block.header.index * receiving.offer.block_size
        self._arriving = _Arriving(receiving.sink, buffer, block.header, block.length, offset)
        return buffer[: block.length]

    def _discarded(self, block: BlockStarts) -> memoryview:
        """Return room for a block of a transfer that was given up while it was on its way."""
        self._arriving = None
        if self._nowhere is None:
            self._nowhere = memoryview(bytearray(limits.MAX_BLOCK_SIZE))
        return self._nowhere[: block.length]

    def _end(self, sink: FileSink) -> None:
        sink.discard()
        self._ended = [ended for ended in self._ended if not ended.is_over] + [sink]

    def _in_loop(self, function: Callable[..., None], *arguments: object) -> None:
        """Called in a sink's thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def _on_buffer_free(self) -> None:
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        buffer = self._buffer_for(waiting)
        if buffer is not None:
            self._provide(buffer)

    def _on_verified(self, transfer: int, digest: bytes) -> None:
        receiving = self._files.get(transfer)
        if receiving is None:
            return
        try:
            self._machine.block_verified(transfer, digest)
        except RemoteProtocolError as error:  # the root that came before does not fit
            self._broken(error)
            return
        receiving.progress.reached(self._machine.verified_bytes(transfer))
        self._go_on()

    def _on_failed(self, transfer: int, error: TransferFailed) -> None:
        self._machine.fail_file(transfer, error)
        self._go_on()
        self._storing_ended(transfer)

    def _on_stored(self, transfer: int, stored: Stored) -> None:
        receiving = self._files.pop(transfer, None)
        if receiving is not None:
            self._end(receiving.sink)
            self._machine.file_stored(transfer, time.time_ns() // 1_000_000)
            self._report(FileReceived(transfer, stored, receiving.progress.seconds))
            self._go_on()
        self._storing_ended(transfer)

    def _storing_ended(self, transfer: int) -> None:
        """A file has its name, or never will."""
        self._being_stored.discard(transfer)
        if self._afterwards is not None and not self._being_stored:
            self._afterwards()
            self._afterwards = None
