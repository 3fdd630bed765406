"""A source, and a way to wait for what its thread does."""

import os
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import Manifest
from p2p_core.ranges import Ranges
from p2p_core.wire.frames import BlocksHeader
from p2p_peer.transfer import tree as tree_module
from p2p_peer.transfer.ready_blocks import ReadyBlocks
from p2p_peer.transfer.sent_journal import SentJournal
from p2p_peer.transfer.source import Grew, Source, Unsent
from p2p_peer.transfer.tree import SourceTree, scan

from tests.programs import PATIENCE

__all__ = ["SIZE", "SourceReader", "open_descriptors", "small_blocks"]

SIZE = 4096


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `scan` cut files into blocks of SIZE."""
    monkeypatch.setattr(tree_module, "Manifest", partial(Manifest, SIZE))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class SourceReader:
    """Takes what a source gives, and checks what holds for all of it."""

    def __init__(
        self,
        what: SourceTree | Iterable[Path | str],
        wanted: Ranges = (),
        theirs: Ledger | None = None,
        journal: SentJournal | None = None,
        stdin: int = 0,
    ) -> None:
        self.news = threading.Semaphore(0)
        self.tree = what if isinstance(what, SourceTree) else scan(what)
        self.manifest = self.tree.manifest
        theirs = theirs or Ledger(self.manifest)
        self.source = Source(self.tree, wanted, theirs, journal, self.news.release, stdin=stdin)
        self.notices: list[Unsent | Grew] = []
        self.blocks: dict[int, bytes] = {}  # by ordinal
        self.counts: list[int] = []  # of blocks in each frame
        self._next = 0

    def start(self) -> "SourceReader":
        self.source.start()
        return self

    def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self.news.acquire(timeout=PATIENCE)

    def take(self) -> ReadyBlocks | None:
        """Take the next blocks, if any are ready, and keep their data."""
        blocks = self.source.take()
        if blocks is None:
            return None
        assert blocks.first >= self._next
        self._next = blocks.first + blocks.count
        self.counts.append(blocks.count)
        header = BlocksHeader(1, blocks.first, blocks.length, blocks.digests)
        assert header.room + blocks.length == len(blocks.frame)
        data = blocks.frame[header.room :]
        header.write(blocks.frame)  # must not touch the data
        for number in range(blocks.count):
            ordinal = blocks.first + number
            length = len(data) if ordinal >= self.manifest.blocks else self.manifest.block_length(ordinal)
            self.blocks[ordinal], data = bytes(data[:length]), data[length:]
            assert block_digest(self.blocks[ordinal]) == blocks.digests[32 * number : 32 * number + 32]
        assert not data
        return blocks

    def next(self) -> ReadyBlocks:
        """Wait for the next blocks."""
        taken: list[ReadyBlocks] = []

        def has_come() -> bool:
            blocks = self.take()
            if blocks is not None:
                taken.append(blocks)
            return blocks is not None

        self.wait_until(has_come)
        return taken[0]

    def drain(self) -> "SourceReader":
        """Take everything until the source is done, or broken."""
        self.wait_until(self._is_drained)
        self.source.join()
        assert self.source.is_over
        return self

    def _is_drained(self) -> bool:
        while (blocks := self.take()) is not None or self.source.notices:
            if blocks is not None:
                self.source.give_back(blocks)
                self.source.acknowledged(blocks.first + blocks.count)
            while self.source.notices:
                self.notices.append(self.source.notices.popleft())
        return self.source.is_done or self.source.error is not None

    def rewind(self, first: int) -> None:
        """Go on from block `first`, with another thread."""
        self.source = self.source.rewound(first)
        self._next = 0
        self.source.start()

    def content(self, entry: int) -> bytes:
        """What came of a file."""
        first = self.manifest.first_block(entry)
        if entry == self.manifest.stream:
            return b"".join(self.blocks[ordinal] for ordinal in sorted(self.blocks) if ordinal >= first)
        return b"".join(self.blocks[first + number] for number in range(self.manifest.block_count(entry)))

    @property
    def failed(self) -> dict[str, str]:
        """What was said of each file that is not sent, by name."""
        return {
            self.manifest.name(notice.entry): str(notice.error) for notice in self.notices if isinstance(notice, Unsent)
        }

    def end(self) -> None:
        self.source.stop()
        self.source.join()
