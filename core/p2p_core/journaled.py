"""What a journal says of a transfer, and what of it holds for a new offer. docs/protocol/transfer.md."""

from array import array
from collections.abc import Iterator
from itertools import zip_longest

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.ledger import Ledger
from p2p_core.manifest import TOP, EntryKind, Manifest
from p2p_core.wire.journal import (
    FILE_ID_BYTES,
    Begin,
    Blocks,
    Boot,
    Entries,
    Files,
    Forgotten,
    JournalUnusable,
    Name,
    Record,
    Side,
    Synced,
    entries_of,
)

__all__ = ["Journaled", "Replay"]

_GONE = -2  # what an entry has become that is not in the new manifest
_NONE = bytes(FILE_ID_BYTES)
_FILES_AT_ONCE = 1024


class Journaled:
    """What is known of a transfer's blocks and files."""

    def __init__(self, manifest: Manifest) -> None:
        """Begin with nothing."""
        self.manifest = manifest
        self.ledger = Ledger(manifest)
        self.names: dict[int, str] = {}  # given on arrival, by entry
        self._files = bytearray(len(manifest) * FILE_ID_BYTES)

    def file(self, entry: int) -> bytes | None:
        """What file an entry is, as `file_id` says it, if that is known."""
        known = bytes(self._files[entry * FILE_ID_BYTES : (entry + 1) * FILE_ID_BYTES])
        return None if known == _NONE else known

    def set_file(self, entry: int, is_file: bytes) -> None:
        """Note what file an entry is."""
        self._check(entry)
        self._files[entry * FILE_ID_BYTES : (entry + 1) * FILE_ID_BYTES] = is_file

    def set_name(self, entry: int, name: str) -> None:
        """Note the name that an entry was given."""
        self._check(entry)
        self.names[entry] = name

    def records(self) -> Iterator[Record]:
        """Yield the records of a new journal, behind its BEGIN, that says all this."""
        yield from entries_of(self.manifest)
        for entry, name in self.names.items():
            yield Name(entry, name)
        ids: list[tuple[int, bytes]] = []
        for entry in range(len(self.manifest)):
            if known := self.file(entry):
                ids.append((entry, known))
                if len(ids) == _FILES_AT_ONCE:
                    yield Files(tuple(ids))
                    ids.clear()
        if ids:
            yield Files(tuple(ids))
        for first, digests in self.ledger.known_runs():
            yield Blocks(first, digests)

    def carried_over(self, manifest: Manifest) -> "Journaled":
        """Return what of this holds for another manifest: entries are the same if their paths and kinds are.

        Of a file that has another size now, the blocks hold that have the same place and length in both.
        """
        carried = Journaled(manifest)
        if manifest.block_size != self.manifest.block_size:
            return carried
        moved = self._moved_to(manifest)
        for entry, name in self.names.items():
            if moved[entry] != _GONE:
                carried.names[moved[entry]] = name
        for entry, new in enumerate(moved):
            if new != _GONE and (known := self.file(entry)):
                carried.set_file(new, known)
        for first, digests in self.ledger.known_runs():
            self._carry_run(first, digests, moved, carried)
        return carried

    def _check(self, entry: int) -> None:
        if not 0 <= entry < len(self.manifest):
            raise LocalProtocolError(f"no entry {entry}")

    def _moved_to(self, manifest: Manifest) -> "array[int]":
        """Return for each entry which one of `manifest` it is."""
        moved = array("i")
        for entry in self.manifest:
            parent = TOP if entry.parent == TOP else moved[entry.parent]
            new = None if parent == _GONE else manifest.find(parent, entry.name)
            moved.append(_GONE if new is None or manifest.kind(new) is not entry.kind else new)
        return moved

    def _carry_run(self, first: int, digests: bytes, moved: "array[int]", carried: "Journaled") -> None:
        end = first + len(digests) // limits.HASH_BYTES
        ordinal = first
        while ordinal < end:
            entry = self.manifest.entry_of(ordinal)
            start = self.manifest.first_block(entry)
            is_stream = self.manifest.kind(entry) is EntryKind.STREAM
            entry_end = end if is_stream else min(end, start + self.manifest.block_count(entry))
            new = moved[entry]
            if new != _GONE:
                alike = end if is_stream else start + self._blocks_alike(entry, carried.manifest, new)
                at, until = (ordinal - first) * limits.HASH_BYTES, (min(entry_end, alike) - first) * limits.HASH_BYTES
                carried.ledger.put(carried.manifest.first_block(new) + ordinal - start, digests[at : max(at, until)])
            ordinal = entry_end

    def _blocks_alike(self, entry: int, manifest: Manifest, new: int) -> int:
        """How many blocks from the first on have the same length in two files."""
        size, new_size = self.manifest.size(entry), manifest.size(new)
        if size == new_size:
            return self.manifest.block_count(entry)
        return min(size, new_size) // manifest.block_size


class Replay:
    """Takes the records of a journal in order; knows at the end what they say of a new offer's transfer."""

    def __init__(self, begin: Begin, manifest: Manifest) -> None:
        """`begin` is what the journal has to begin with, its block size apart."""
        self.is_same = False  # the journal is of this very manifest: one can go on in it
        self._begin, self._manifest = begin, manifest
        self._block_size = 0
        self._entries: list[Entries] = []
        self._known: Journaled | None = None
        self._boot = b""
        self._unsynced: list[tuple[int, int, int]] = []  # where the record ends; first block, count

    def take(self, record: Record, end: int) -> None:
        """Take the next record, which ends at `end`. Raises `JournalUnusable` if it cannot be of this transfer."""
        if isinstance(record, Begin) is bool(self._block_size):
            raise JournalUnusable("it does not begin, or begins twice")
        try:
            self._take(record, end)
        except (LocalProtocolError, Malformed) as error:
            raise _impossible(error) from None

    def finish(self, boot: bytes = b"") -> Journaled:
        """Return what holds now. `boot` is what a BOOT record would say now; only a received journal has any.

        Raises as `take` does.
        """
        try:
            if self._boot != boot or not boot:
                self._lose_unsynced()
            known = self._journaled()
            return known if self.is_same else known.carried_over(self._manifest)
        except (LocalProtocolError, Malformed) as error:
            raise _impossible(error) from None

    def _take(self, record: Record, end: int) -> None:
        match record:
            case Begin(side, peer, block_size):
                if (side, peer) != (self._begin.side, self._begin.peer):
                    raise JournalUnusable("it is the journal of another transfer")
                self._block_size = block_size
            case Entries():
                if self._known is not None:
                    raise JournalUnusable("it has entries behind blocks")
                self._entries.append(record)
            case Boot(boot):
                if boot != self._boot or not boot:
                    self._lose_unsynced()
                self._boot = boot
            case Synced(until):
                self._unsynced = [blocks for blocks in self._unsynced if blocks[0] > until]
            case Blocks(first, digests):
                self._journaled().ledger.put(first, digests)
                if self._begin.side is Side.RECEIVED:  # what was read does not depend on what was written
                    self._unsynced.append((end, first, record.count))
            case Forgotten(first, count):
                self._journaled().ledger.forget(first, count)
            case Files(ids):
                known = self._journaled()
                for entry, is_file in ids:
                    known.set_file(entry, is_file)
            case Name(entry, name):
                self._journaled().set_name(entry, name)

    def _journaled(self) -> Journaled:
        """Return what is known so far; the manifest that it is of is complete with the first use."""
        if self._known is None:
            manifest = self._manifest
            self.is_same = self._block_size == manifest.block_size and all(
                ours == theirs for ours, theirs in zip_longest(entries_of(manifest), self._entries)
            )
            if not self.is_same:
                manifest = Manifest(self._block_size or manifest.block_size)
                for entries in self._entries:
                    entries.add_to(manifest)
            self._entries.clear()
            self._known = Journaled(manifest)
        return self._known

    def _lose_unsynced(self) -> None:
        """The computer was started again: blocks that were not on the disk are not there, nor what was there before."""
        for _, first, count in self._unsynced:
            self._journaled().ledger.forget(first, count)
        self._unsynced.clear()


def _impossible(error: Exception) -> JournalUnusable:
    return JournalUnusable(f"it speaks of what cannot be: {error}")
