"""The transfers a session sends: offered at will; those that are accepted take turns, one frame of blocks each."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from p2p_core import limits
from p2p_core.errors import PunchwireError, Refused, SourceChanged, TransferFailed
from p2p_core.ledger import Ledger
from p2p_core.machines.session import SessionMachine
from p2p_core.printable import printable
from p2p_core.ranges import Ranges
from p2p_core.wire.frames import BlocksHeader

from p2p_peer.events import FileFailed, FileGrew, Phase, TransferBroken, TransferProgress, TransferStalled
from p2p_peer.transfer.progress import Progress
from p2p_peer.transfer.sent_journal import SentJournal
from p2p_peer.transfer.source import Grew, Source
from p2p_peer.transfer.tree import SourceTree

if TYPE_CHECKING:
    from p2p_peer.transfer.ready_blocks import ReadyBlocks

__all__ = ["Outgoing", "OutgoingTransfers"]

_CANNOT_BE_READ = "it cannot be read"  # as it is told there

Report = Callable[[TransferProgress | TransferStalled | FileFailed | FileGrew], None]


@dataclass(slots=True, eq=False)
class Outgoing:
    """One transfer of ours."""

    transfer: int
    tree: SourceTree
    journal: SentJournal | None
    progress: Progress
    theirs: Ledger  # what the other side has
    source: Source | None = None  # once it is accepted
    lost: set[int] = field(default_factory=set)  # entries that came to nothing, here or there
    moved_to: int = 0  # blocks before it have gone out at least once

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        return self.tree.manifest.label()

    def had_of(self, first: int, end: int) -> int:
        """How many bytes of these blocks the other side has said it has: others by the same numbers."""
        had = (ordinal for ordinal in range(first, end) if self.theirs.digest(ordinal) is not None)
        return sum(map(self.tree.manifest.block_length, had))


class OutgoingTransfers:
    """Gives the pump the blocks of all transfers in turn, and tells the machine of each."""

    def __init__(
        self, machine: SessionMachine, kick: Callable[[], None], report: Report, unwritten: Callable[[], int]
    ) -> None:
        """`kick` is called when there may be something to write; `unwritten` is how much of a frame still is."""
        self._machine, self._kick, self._report, self._unwritten = machine, kick, report, unwritten
        self._loop = asyncio.get_running_loop()
        self._transfers: dict[int, Outgoing] = {}
        self._turns: deque[Outgoing] = deque()  # that have blocks to send, the next one first
        self._in_flight: tuple[Outgoing, ReadyBlocks] | None = None
        self._stopped: list[tuple[Source, SentJournal | None]] = []  # that end; then the journal is to be closed

    def offer(self, tree: SourceTree, journal: SentJournal | None) -> int:
        """Offer what is in `tree`; return the transfer's number. Raises `LocalProtocolError`."""
        transfer = self._machine.offer(tree.manifest)
        look = partial(self._look, transfer)
        progress = Progress(transfer, tree.manifest, outgoing=True, report=self._report, look=look)
        self._transfers[transfer] = Outgoing(transfer, tree, journal, progress, Ledger(tree.manifest))
        return transfer

    def had(self, transfer: int, first: int, digests: bytes) -> None:
        """The other side has some blocks from an earlier try."""
        self._transfers[transfer].theirs.put(first, digests)

    def accepted(self, transfer: int, wanted: Ranges) -> None:
        """The other side takes a transfer, or some of it: read ahead, and send."""
        outgoing = self._transfers[transfer]
        span, known = outgoing.tree.manifest.span, outgoing.theirs.known_runs()
        there = sum(span(first, len(digests) // limits.HASH_BYTES) for first, digests in known)
        outgoing.progress.accepted(wanted, there)
        outgoing.source = Source(outgoing.tree, wanted, outgoing.theirs, outgoing.journal, self._from_thread)
        self._turns.append(outgoing)
        outgoing.source.start()
        for folder, error in outgoing.tree.unreadable:
            self._machine.file_failed(transfer, folder, _CANNOT_BE_READ)
            self._lose(outgoing, folder, error)

    def rewind(self, transfer: int, block: int) -> None:
        """On a new channel: blocks are to be sent again, from `block` on."""
        outgoing = self._transfers[transfer]
        assert outgoing.source is not None
        if outgoing not in self._turns:
            self._turns.append(outgoing)
        self._stopped.append((outgoing.source, None))
        outgoing.source = outgoing.source.rewound(block)
        outgoing.source.start()

    def verified(self, transfer: int, next_block: int) -> None:
        """The other side has every block before `next_block`."""
        source = self._transfers[transfer].source
        assert source is not None
        source.acknowledged(next_block)

    def lost_there(self, transfer: int, entry: int, reason: str) -> None:
        """The other side cannot store one file."""
        outgoing = self._transfers[transfer]
        assert outgoing.source is not None
        outgoing.source.drop(entry)
        why = f"the other side cannot store it: {printable(reason)}"
        self._lose(outgoing, entry, TransferFailed(why))

    def channel_lost(self) -> None:
        """What was going out has not come whole: the other side will ask for it, or gives up the transfer."""
        self._in_flight = None

    def refused(self, transfer: int, reason: str) -> TransferBroken:
        """The other side does not take a transfer; return the event to tell."""
        label = self._transfers[transfer].label
        self.drop(transfer)
        why = f": {printable(reason)}" if reason else ""
        error = Refused(f"the other side did not take {printable(label)}{why}")
        return TransferBroken(transfer, outgoing=True, label=label, error=error)

    def take(self, transfer: int) -> Outgoing:
        """The other side has stored a transfer: hand it over, and its journal with it, which nobody uses any more."""
        outgoing = self._transfers[transfer]
        self._let_go(outgoing, None)
        return outgoing

    def drop(self, transfer: int) -> str | None:
        """A transfer is over. Return its label; None if it is none of ours."""
        outgoing = self._transfers.get(transfer)
        if outgoing is None:
            return None
        self._let_go(outgoing, outgoing.journal)
        return outgoing.label

    def sweep(self) -> None:
        """Close the journals of transfers that are over: the same may be sent again."""
        stopped, self._stopped = self._stopped, []
        for source, journal in stopped:
            if not source.is_over:
                self._stopped.append((source, journal))
            elif journal is not None:
                journal.close()

    @property
    def has_news(self) -> bool:
        """Whether `go_on` would tell the machine something."""
        return any(map(self._has_news, self._transfers.values()))

    def go_on(self) -> None:
        """Tell the machine what has become of files, and which transfers have ended or failed."""
        for outgoing in tuple(self._transfers.values()):
            if outgoing.source is not None and self._has_news(outgoing):
                self._take_news(outgoing, outgoing.source)

    def next_block(self) -> memoryview | None:
        """Return the next frame of blocks, if one is ready."""
        if not self._machine.is_talking:
            return None
        for _ in range(len(self._turns)):
            outgoing = self._turns[0]
            self._turns.rotate(-1)
            assert outgoing.source is not None
            blocks = outgoing.source.take()
            if blocks is not None:
                self._machine.blocks_sent(outgoing.transfer, blocks.first, blocks.count)
                BlocksHeader(outgoing.transfer, blocks.first, blocks.length, blocks.digests).write(blocks.frame)
                self._in_flight = (outgoing, blocks)
                return blocks.frame
        return None

    def block_written(self) -> None:
        """What was returned last is written."""
        assert self._in_flight is not None
        (outgoing, blocks), self._in_flight = self._in_flight, None
        assert outgoing.source is not None
        outgoing.source.give_back(blocks)
        end = blocks.first + blocks.count
        if outgoing.transfer in self._transfers and end > outgoing.moved_to:  # else it was told before
            again = outgoing.moved_to - blocks.first
            told = outgoing.tree.manifest.span(blocks.first, again) if again > 0 else 0
            had = outgoing.had_of(max(outgoing.moved_to, blocks.first), end)
            outgoing.moved_to = end
            outgoing.progress.enter(Phase.MOVING)
            outgoing.progress.move(blocks.length - told, had)

    async def stop(self) -> None:
        """Let go of everything; returns when no thread is left."""
        for transfer in tuple(self._transfers):
            self.drop(transfer)
        for source, _ in self._stopped:
            await asyncio.to_thread(source.join)
        self.sweep()

    def _has_news(self, outgoing: Outgoing) -> bool:
        source = outgoing.source
        return source is not None and bool(source.notices or source.error or self._is_all_sent(outgoing, source))

    def _is_all_sent(self, outgoing: Outgoing, source: Source) -> bool:
        is_in_flight = self._in_flight is not None and self._in_flight[0] is outgoing
        return source.is_done and outgoing in self._turns and not is_in_flight

    def _let_go(self, outgoing: Outgoing, journal: SentJournal | None) -> None:
        """A transfer is over; `journal` is to be closed."""
        del self._transfers[outgoing.transfer]
        outgoing.progress.over()
        if outgoing in self._turns:
            self._turns.remove(outgoing)
        if outgoing.source is not None:
            outgoing.source.stop()
            self._stopped.append((outgoing.source, journal))
        elif journal is not None:
            journal.close()

    def _look(self, transfer: int) -> None:
        """See how far a transfer is: that blocks are hashed, or go out slowly, shows itself in no other way."""
        outgoing = self._transfers[transfer]
        assert outgoing.source is not None
        if self._in_flight is not None and self._in_flight[0] is outgoing:
            blocks = self._in_flight[1]
            if blocks.first >= outgoing.moved_to:
                had = outgoing.had_of(blocks.first, blocks.first + blocks.count)
                outgoing.progress.part(max(blocks.length - self._unwritten() - had, 0))
        elif outgoing.source.is_hashing:
            outgoing.progress.enter(Phase.HASHING)

    def _take_news(self, outgoing: Outgoing, source: Source) -> None:
        transfer = outgoing.transfer
        if source.notices:
            self._loop.call_soon(self._kick)  # they kept blocks back
        while source.notices:
            notice = source.notices.popleft()
            if isinstance(notice, Grew):
                path = "/".join(outgoing.tree.manifest.path(notice.entry))
                self._report(FileGrew(transfer, path, outgoing.tree.manifest.size(notice.entry)))
            else:
                # The sentence for our user has the whole path; the other side has no business with it.
                changed = isinstance(notice.error, SourceChanged)
                reason = "it changed while it was sent" if changed else _CANNOT_BE_READ
                self._machine.file_failed(transfer, notice.entry, reason)
                self._lose(outgoing, notice.entry, notice.error)
        if source.error is not None:
            self._machine.fail(transfer, source.error, "the files cannot be read")
        elif self._is_all_sent(outgoing, source):
            outgoing.progress.had(source.skipped_bytes)
            outgoing.progress.enter(Phase.VERIFYING)
            self._turns.remove(outgoing)
            if source.stream_size is not None:
                self._machine.stream_ended(transfer, source.stream_size)
            self._machine.all_sent(transfer, source.root, source.absent)

    def _lose(self, outgoing: Outgoing, entry: int, error: PunchwireError) -> None:
        if entry not in outgoing.lost:
            outgoing.lost.add(entry)
            path = "/".join(outgoing.tree.manifest.path(entry))
            self._report(FileFailed(outgoing.transfer, outgoing=True, path=path, error=error))

    def _from_thread(self) -> None:
        """Called in a source's thread as well: something may be ready."""
        self._loop.call_soon_threadsafe(self._kick)
