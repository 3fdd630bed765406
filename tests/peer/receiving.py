"""A tree that is received by a sink, step by step, and what the sink says of it."""

import os
import queue
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_core import limits
from p2p_core.errors import TransferFailed
from p2p_core.identity import PeerId
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.ranges import Ranges, each, ranges_of
from p2p_peer.transfer.block_writer import Callbacks, Finished
from p2p_peer.transfer.places import Folder, Opened
from p2p_peer.transfer.target import Overwrite

from tests.peer.pair import PATIENCE

__all__ = ["BLOCK", "MTIME", "PEER", "Receiving", "Sent", "contents", "staging_folders"]

BLOCK = limits.MIN_BLOCK_SIZE
MTIME = 1_600_000_000_123_456_789
PEER = PeerId(bytes(32))


@dataclass
class Sent:
    """What a sender has: entries, and the content of the files."""

    manifest: Manifest = field(default_factory=lambda: Manifest(BLOCK))
    content: dict[int, bytes] = field(default_factory=dict)

    def file(self, name: str, content: bytes = b"", parent: int = TOP, *, mode: int = 0o644, mtime: int = MTIME) -> int:
        """Add a file."""
        entry = self.manifest.add(Entry(EntryKind.FILE, parent, name, len(content), mode, mtime))
        self.content[entry] = content
        return entry

    def folder(self, name: str, parent: int = TOP, *, mode: int = 0o755, mtime: int = MTIME) -> int:
        """Add a folder."""
        return self.manifest.add(Entry(EntryKind.FOLDER, parent, name, 0, mode, mtime))

    def link(self, name: str, target: str, parent: int) -> int:
        """Add a symbolic link."""
        return self.manifest.add(Entry(EntryKind.LINK, parent, name, 0, 0o777, MTIME, target))

    def stream(self, content: bytes, name: str = "stdin") -> int:
        """Add a stream."""
        entry = self.manifest.add(Entry(EntryKind.STREAM, TOP, name, 0, 0o600, MTIME))
        self.content[entry] = content
        return entry

    def data(self, ordinal: int) -> bytes:
        """Return a block."""
        entry, offset = self.manifest.entry_of(ordinal), self.manifest.offset_in_file(ordinal)
        return self.content[entry][offset : offset + BLOCK]

    @property
    def blocks(self) -> int:
        """How many blocks there are, with a stream's."""
        stream = self.manifest.stream
        return self.manifest.blocks + (0 if stream is None else -(-len(self.content[stream]) // BLOCK))

    def root(self, absent: Ranges = ()) -> bytes:
        """Return the root over all but the files of `absent`."""
        ledger = Ledger(self.manifest)
        if self.manifest.stream is not None:
            ledger.end_stream(len(self.content[self.manifest.stream]))
        for ordinal in range(self.blocks):
            ledger.put(ordinal, block_digest(self.data(ordinal)))
        for entry in each(absent):
            ledger.leave_out(entry)
        return ledger.root()


class Receiving:
    """A sink for what is sent, its thread, and what it calls back."""

    def __init__(
        self,
        sent: Sent,
        folder: Path,
        overwrite: Overwrite = Overwrite.RENAME,
        *,
        in_place: bool = False,
        wanted: Ranges = (),
        peer: PeerId = PEER,
    ) -> None:
        self.sent, self.manifest = sent, sent.manifest
        self.said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.lost: dict[int, str] = {}
        self.verified = 0
        self.buffer_free = threading.Semaphore(0)
        callbacks = Callbacks(
            verified=lambda next_block, length: self.said.put((next_block, length)),
            buffer_free=self.buffer_free.release,
            file_failed=lambda entry, error: self.lost.setdefault(entry, str(error)),
            failed=self.said.put,
            finished=self.said.put,
        )
        self.opened: Opened = Folder(folder, overwrite, in_place).open(self.manifest, wanted, peer, callbacks)
        self.sink = self.opened.sink
        self.is_ended = False

    @property
    def have(self) -> set[int]:
        """The blocks that need not be sent, by ordinal: those of which the receiver has the right hash."""
        known = {}
        for first, digests in self.opened.have:
            for at in range(len(digests) // 32):
                known[first + at] = digests[32 * at : 32 * at + 32]
        return {o for o in range(self.sent.blocks) if known.get(o) == block_digest(self.sent.data(o))}

    def hear(self) -> Any:
        """Wait for what the sink says next."""
        return self.said.get(timeout=PATIENCE)

    def wait(self, words: int) -> None:
        """Wait until the sink has said so many words that nobody has heard, or has ended without."""
        while self.said.qsize() < words and not self.sink.is_over:
            time.sleep(0.0001)

    def put(self, first: int, count: int = 1, digests: bytes | None = None) -> None:
        """Give the sink consecutive blocks; what becomes of it is for `hear`."""
        parts = [self.sent.data(first + at) for at in range(count)]
        buffer = self.sink.take()
        while buffer is None:
            assert self.buffer_free.acquire(timeout=PATIENCE)
            buffer = self.sink.take()
        data = b"".join(parts)
        buffer[: len(data)] = data
        self.sink.write(buffer, first, digests or b"".join(map(block_digest, parts)), len(data))

    def send(self, ordinals: Collection[int], batch: int = 1) -> TransferFailed | None:
        """Give the sink blocks, `batch` consecutive ones at once, and wait for each; return why it failed."""
        for first, count in ranges_of(sorted(ordinals)):
            at = first
            while at < first + count:
                some = 1 if at >= self.manifest.blocks else min(batch, first + count - at)  # a stream's come one by one
                some = some if at >= self.manifest.blocks else min(some, self.manifest.blocks - at)
                self.put(at, some)
                said = self.hear()
                if isinstance(said, TransferFailed):
                    return said
                at += some
                assert said[0] == at
        return None

    def send_rest(self, batch: int = 1) -> TransferFailed | None:
        """Give the sink every block of a wanted entry that it has not."""
        wanted = set(each(self.opened.wanted)) if self.opened.wanted else set(range(len(self.manifest)))
        due = {o for o in range(self.sent.blocks) if self.manifest.entry_of(o) in wanted}
        return self.send(due - self.have, batch)

    def finish(self, absent: Ranges = ()) -> Finished | TransferFailed:
        """All was sent: let the sink store it."""
        if self.manifest.stream is not None:
            self.sink.stream_ended(len(self.sent.content[self.manifest.stream]))
        self.sink.finish(absent)
        said: Finished | TransferFailed = self.hear()
        return said

    def all(self, batch: int = 1) -> Finished:
        """Receive everything that is wanted and end it."""
        wanted = set(each(self.opened.wanted)) if self.opened.wanted else set(range(len(self.manifest)))
        assert self.send_rest(batch) is None
        absent = ranges_of(e for e in range(len(self.manifest)) if e not in wanted and self.manifest.is_file(e))
        finished = self.finish(absent)
        assert isinstance(finished, Finished), finished
        assert finished.root == self.sent.root(absent)
        self.end(keep=False)
        return finished

    def end(self, *, keep: bool) -> None:
        """End the thread."""
        self.sink.discard(keep=keep)
        self.sink.join()
        assert self.sink.is_over
        self.is_ended = True


def contents(folder: Path) -> dict[str, bytes | str | None]:
    """All that is in a folder: the bytes of files, the targets of links, None for folders."""
    found: dict[str, bytes | str | None] = {}
    for path in _below(folder):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = os.readlink(path)
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


def staging_folders(folder: Path) -> list[Path]:
    """The staging folders in a target folder."""
    return sorted(folder.glob(".punchwire-*"))


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)
