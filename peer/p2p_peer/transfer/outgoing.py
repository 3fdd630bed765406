"""The files a session sends: offered at will, sent one after the other as they are accepted."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from p2p_core import limits
from p2p_core.errors import Refused, SourceChanged
from p2p_core.machines.session import SessionMachine
from p2p_core.wire.frames import BlockHeader

from p2p_peer.events import FileProgress, FileSent
from p2p_peer.transfer.progress import Progress
from p2p_peer.transfer.source import FileSource, OpenFile, ReadyBlock

__all__ = ["OutgoingFiles"]


@dataclass(slots=True)
class _Sending:
    """A file that was accepted."""

    transfer: int
    file: OpenFile
    source: FileSource
    progress: Progress
    started: bool = False
    ended: bool = False


class OutgoingFiles:
    """Gives the pump the blocks of one file after the other, and tells the machine of each."""

    def __init__(
        self, machine: SessionMachine, kick: Callable[[], None], report: Callable[[FileProgress], None]
    ) -> None:
        self._machine, self._kick, self._report = machine, kick, report
        self._loop = asyncio.get_running_loop()
        self._files: dict[int, OpenFile] = {}
        self._accepted: dict[int, _Sending] = {}
        self._waiting: deque[int] = deque()  # accepted, in turn; the first is being sent
        self._in_flight: tuple[_Sending, ReadyBlock, int] | None = None  # and how much of the file it completes, bytes
        self._stopped: list[FileSource] = []

    def offered(self, transfer: int, file: OpenFile) -> None:
        """`file` was offered as `transfer`."""
        self._files[transfer] = file

    def accepted(self, transfer: int) -> None:
        """The other side takes a file: read ahead if it is its turn."""
        file = self._files[transfer]
        progress = Progress(transfer, file.name, file.size, self._report)
        self._accepted[transfer] = _Sending(transfer, file, self._source(file), progress)
        self._waiting.append(transfer)
        self._start_first()

    def rewind(self, transfer: int, block: int) -> None:
        """On a new channel: a file's blocks are to be sent again, from `block` on."""
        sending = self._accepted[transfer]
        self._stop(sending)
        sending.source = self._source(sending.file, block)
        sending.started = sending.ended = False
        if transfer not in self._waiting:
            self._waiting.append(transfer)
        self._start_first()

    def channel_lost(self) -> None:
        """The block that was going out has not come whole: the other side will ask for it, or gives up the file."""
        self._in_flight = None

    def refused(self, transfer: int, reason: str) -> Refused:
        """The other side does not take a file; return the error to raise."""
        file = self._files.pop(transfer)
        file.close()
        return Refused(f"the other side did not take {file.name}" + (f": {reason}" if reason else ""))

    def sent(self, transfer: int) -> FileSent:
        """The other side has stored a file; return the event to tell."""
        file, sending = self._files.pop(transfer), self._accepted.pop(transfer)
        file.close()
        return FileSent(transfer, file.name, file.size, sending.progress.seconds)

    def drop(self, transfer: int) -> None:
        """A file was given up."""
        file = self._files.pop(transfer, None)
        sending = self._accepted.pop(transfer, None)
        if sending is not None:
            self._stop(sending)
            self._take_from_turn(transfer)
        if file is not None:
            file.close()

    @property
    def has_news(self) -> bool:
        """Whether `go_on` would tell the machine something."""
        sending = self._current()
        return sending is not None and (sending.source.error is not None or self._is_all_sent(sending))

    def go_on(self) -> None:
        """Tell the machine that the current file has ended, or failed, and begin the next."""
        sending = self._current()
        if sending is None:
            return
        if sending.source.error is not None:
            # The sentence for our user has the whole path; the other side has no business with it.
            changed = isinstance(sending.source.error, SourceChanged)
            reason = "the file changed while it was sent" if changed else "the file cannot be read"
            self._machine.fail_file(sending.transfer, sending.source.error, reason)
        elif self._is_all_sent(sending):
            sending.ended = True
            self._machine.file_ended(sending.transfer)
            self._stop(sending)
            self._take_from_turn(sending.transfer)

    def next_block(self) -> memoryview | None:
        """Return the next block, frame header and all, if it is ready."""
        sending = self._current() if self._machine.is_talking else None
        block = sending.source.take() if sending is not None else None
        if sending is None or block is None:
            return None
        index = self._machine.block_sent(sending.transfer, block.digest, block.length)
        BlockHeader(sending.transfer, 0, index, block.digest).write(block.frame, block.length)
        self._in_flight = (sending, block, index * limits.MAX_BLOCK_SIZE + block.length)
        return block.frame

    def block_written(self) -> None:
        """The block returned last is written."""
        assert self._in_flight is not None
        (sending, block, reached), self._in_flight = self._in_flight, None
        sending.source.give_back(block)
        if sending.transfer in self._accepted:  # else it was given up while the block went out
            sending.progress.reached(reached)

    async def stop(self) -> None:
        """Let go of every file; returns when no thread is left."""
        for transfer in tuple(self._files):
            self.drop(transfer)
        for source in self._stopped:
            await asyncio.to_thread(source.join)

    def _current(self) -> _Sending | None:
        return self._accepted.get(self._waiting[0]) if self._waiting else None

    def _is_all_sent(self, sending: _Sending) -> bool:
        return sending.source.is_done and self._in_flight is None and not sending.ended

    def _source(self, file: OpenFile, first: int = 0) -> FileSource:
        return FileSource(file, limits.MAX_BLOCK_SIZE, self._something_is_ready, first)

    def _start_first(self) -> None:
        sending = self._current()
        if sending is not None and not sending.started:
            sending.started = True
            sending.source.start()

    def _stop(self, sending: _Sending) -> None:
        sending.source.stop()
        if sending.started:
            self._stopped = [source for source in self._stopped if not source.is_over] + [sending.source]

    def _take_from_turn(self, transfer: int) -> None:
        if transfer in self._waiting:
            self._waiting.remove(transfer)
            self._start_first()

    def _something_is_ready(self) -> None:
        """Called in the source's thread."""
        self._loop.call_soon_threadsafe(self._kick)
