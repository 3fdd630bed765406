"""What tests send: entries, and the data of their files."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.ranges import Ranges, each
from p2p_core.wire.frames import BlocksHeader

__all__ = ["BLOCK_SIZE", "Content", "blocks_of", "content_of", "file", "folder", "link", "stream"]

BLOCK_SIZE = 4096


def blocks_of(data: bytes) -> list[bytes]:
    return [data[at : at + BLOCK_SIZE] for at in range(0, len(data), BLOCK_SIZE)]


def file(name: str, data: bytes, parent: int = TOP) -> tuple[Entry, bytes]:
    return Entry(EntryKind.FILE, parent, name, len(data), 0o644), data


def folder(name: str, parent: int = TOP) -> tuple[Entry, bytes]:
    return Entry(EntryKind.FOLDER, parent, name, mode=0o755), b""


def link(name: str, target: str, parent: int) -> tuple[Entry, bytes]:
    return Entry(EntryKind.LINK, parent, name, target=target), b""


def stream(data: bytes) -> tuple[Entry, bytes]:
    return Entry(EntryKind.STREAM, TOP, "stdin"), data


@dataclass(frozen=True, slots=True)
class Content:
    """A manifest, and every block of it by its ordinal."""

    manifest: Manifest
    blocks: tuple[bytes, ...]
    stream_size: int | None

    @classmethod
    def of(cls, *things: tuple[Entry, bytes]) -> "Content":
        manifest, blocks, stream_size = Manifest(BLOCK_SIZE), [], None
        for entry, data in things:
            manifest.add(entry)
            blocks += blocks_of(data)
            if entry.kind is EntryKind.STREAM:
                stream_size = len(data)
        return cls(manifest, tuple(blocks), stream_size)

    def left_out(self, wanted: Ranges, absent: Collection[int]) -> set[int]:
        """The entries whose content is not sent: they are not wanted, or absent."""
        unwanted = set(range(len(self.manifest))) - set(each(wanted)) if wanted else set()
        return unwanted | set(absent)

    def ledger(self, wanted: Ranges = (), absent: Collection[int] = ()) -> Ledger:
        """What is known of it when everything is known."""
        ledger = Ledger(self.manifest)
        left_out = self.left_out(wanted, absent)
        for entry in left_out:
            ledger.leave_out(entry)
        for ordinal, block in enumerate(self.blocks):
            ledger.put(ordinal, block_digest(block))
        if self.stream_size is not None and self.manifest.stream not in left_out:
            ledger.end_stream(self.stream_size)
        return ledger

    def batch(
        self, transfer: int, first: int, without: Collection[int] = (), has: Collection[int] = ()
    ) -> tuple[BlocksHeader, bytes] | None:
        """The next frame of blocks from `first` on; None behind the last block.

        `without` those of some entries, and without those that the other side `has`. As many small ones as a full block
        has room for; a stream's are one each.
        """
        data, digests, end = b"", b"", first
        while end < len(self.blocks):
            block, is_sent = self.blocks[end], end not in has and self.manifest.entry_of(end) not in without
            if digests and (not is_sent or end >= self.manifest.blocks or len(data) + len(block) > BLOCK_SIZE):
                break
            end += 1
            if is_sent:
                data, digests = data + block, digests + block_digest(block)
        return (BlocksHeader(transfer, end - len(digests) // 32, len(data), digests), data) if digests else None

    def batches(self, transfer: int, first: int = 0, without: Collection[int] = ()) -> list[tuple[BlocksHeader, bytes]]:
        """All of them, as they are sent."""
        found = []
        while (batch := self.batch(transfer, first, without)) is not None:
            found.append(batch)
            first = batch[0].first + batch[0].count
        return found

    def renamed(self, name: str) -> "Content":
        """The same with another name of its first entry."""
        first, *others = self.manifest
        manifest = Manifest(BLOCK_SIZE)
        for entry in (replace(first, name=name), *others):
            manifest.add(entry)
        return replace(self, manifest=manifest)


def content_of(what: "Content | bytes") -> Content:
    """A single file when there are only data."""
    return what if isinstance(what, Content) else Content.of(file("a.txt", what))
