"""What a transfer is made of: files, folders, links and at most one stream, in order, and how they are cut into blocks.

A block is up to `block_size` bytes of one file. The blocks of all files are numbered through in the order of the
entries; that number is a block's ordinal. Empty files, folders and links have no blocks; those of a stream, which is
the last entry, go on behind all others without bound. docs/protocol/transfer.md.

An entry takes some 50 bytes and its name: a transfer may have a million, so they stand in columns.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.link_targets import link_stays_inside

__all__ = ["TOP", "Entry", "EntryKind", "Manifest"]

TOP = -1  # the parent of entries that are in no folder
_MODE_BITS = 0o777
_FREE = 2**32 - 1  # a slot of the table of names that holds no entry


class EntryKind(IntEnum):
    """What an entry is."""

    FILE = 0
    FOLDER = 1
    LINK = 2
    STREAM = 3  # a file whose size shows at its end: standard input


_KINDS = tuple(EntryKind)
_FILE, _FOLDER, _LINK, _STREAM = _KINDS  # the class takes 0.1 µs to give one out
_CONTENT = (_FILE, _STREAM)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is sent. All of it is somebody's word: the name is a suggestion."""

    kind: EntryKind
    parent: int  # index of the folder it is in, an entry before it; TOP for none
    name: str  # one component of a path
    size: int = 0  # bytes; of a FILE
    mode: int = 0  # permission bits
    mtime_ns: int = 0  # since 1970
    target: str = ""  # of a LINK: relative, with "/" between components


class Manifest:
    """The entries of one transfer, and where each block of them is. Grows by `add` only."""

    def __init__(self, block_size: int = limits.MAX_BLOCK_SIZE) -> None:
        if not limits.MIN_BLOCK_SIZE <= block_size <= limits.MAX_BLOCK_SIZE:
            raise Malformed(f"blocks of {block_size} bytes")
        self.block_size = block_size
        self.files = 0  # FILE and STREAM entries
        self.stream: int | None = None  # the entry that is one
        self._kinds = bytearray()
        self._parents = array("i")
        self._depths = array("H")  # folders above it
        self._modes = array("H")
        self._mtimes = array("q")
        # The next three have one item more than there are entries: where the next one begins.
        self._starts = array("q", [0])  # in the bytes of all files, one behind the other
        self._firsts = array("I", [0])  # first ordinal
        self._text_starts = array("I", [0])  # in `_texts`
        self._texts = bytearray()  # a name; of a link the name, NUL, target
        self._top = array("I")  # entries that are in no folder
        self._hashes = array("I")  # of parent and name
        self._taken = array("I", [_FREE] * 8)  # hash table of entries by these, open addressing

    def add(self, entry: Entry) -> int:
        """Append an entry and return its index. Raises `Malformed` for one that no transfer may have."""
        index = len(self._kinds)
        kind, size, parent = entry.kind, entry.size, entry.parent
        if index >= limits.MAX_ENTRIES:
            raise Malformed(f"more than {limits.MAX_ENTRIES} files and folders")
        if self.stream is not None:
            raise Malformed("an entry behind a stream")
        if parent != TOP and not (0 <= parent < index and self._kinds[parent] == _FOLDER):
            raise Malformed(f"entry {index} is in {parent}, which is no folder before it")
        depth = 0 if parent == TOP else self._depths[parent] + 1
        if depth > limits.MAX_DEPTH:
            raise Malformed(f"more than {limits.MAX_DEPTH} folders in one another")
        if not 0 <= entry.mode <= _MODE_BITS or not 0 <= entry.mtime_ns <= limits.MAX_FILE_BYTES:
            raise Malformed(f"entry {index} has mode {entry.mode:#o} and time {entry.mtime_ns}")
        text = _text(entry, depth)
        if len(self._texts) + len(text) > limits.MAX_MANIFEST_BYTES:
            raise Malformed(f"more than {limits.MAX_MANIFEST_BYTES} bytes of names")
        if size < 0 or (size and kind is not _FILE):
            raise Malformed(f"entry {index}, a {kind.name}, with a size of {size}")
        total_bytes = self._starts[-1] + size
        if total_bytes > limits.MAX_FILE_BYTES:
            raise Malformed(f"a transfer of {total_bytes} bytes")
        blocks = self._firsts[-1] + -(-size // self.block_size)
        if blocks > limits.MAX_BLOCKS:
            raise Malformed(f"a transfer of {blocks} blocks")
        self._take_name(parent, entry.name)
        self._kinds.append(kind)
        self._parents.append(parent)
        self._depths.append(depth)
        self._modes.append(entry.mode)
        self._mtimes.append(entry.mtime_ns)
        self._texts += text
        self._text_starts.append(len(self._texts))
        self._starts.append(total_bytes)
        self._firsts.append(blocks)
        if parent == TOP:
            self._top.append(index)
        self.files += kind in _CONTENT
        if kind is _STREAM:
            self.stream = index
        return index

    def __len__(self) -> int:
        return len(self._kinds)

    def __getitem__(self, index: int) -> Entry:
        name, _, target = self._text(index).partition("\0")
        return Entry(
            _KINDS[self._kinds[index]],
            self._parents[index],
            name,
            self._starts[index + 1] - self._starts[index],
            self._modes[index],
            self._mtimes[index],
            target,
        )

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self._kinds)))

    @property
    def total_bytes(self) -> int:
        """Bytes of all files, without a stream's."""
        return self._starts[-1]

    @property
    def name_bytes(self) -> int:
        """Bytes of all names and links' targets."""
        return len(self._texts)

    @property
    def blocks(self) -> int:
        """How many ordinals there are before a stream's."""
        return self._firsts[-1]

    def kind(self, index: int) -> EntryKind:
        """What an entry is."""
        return _KINDS[self._kinds[index]]

    def is_file(self, index: int) -> bool:
        """Whether an entry is a FILE or a STREAM: has content of its own."""
        return self._kinds[index] in _CONTENT

    def parent(self, index: int) -> int:
        """The folder that an entry is in, or TOP."""
        return self._parents[index]

    def name(self, index: int) -> str:
        """The name of an entry."""
        return self._text(index).partition("\0")[0]

    def size(self, index: int) -> int:
        """Bytes of an entry; 0 for all but files."""
        return self._starts[index + 1] - self._starts[index]

    def mode(self, index: int) -> int:
        """The permission bits of an entry."""
        return self._modes[index]

    def mtime_ns(self, index: int) -> int:
        """When an entry was changed last, in ns since 1970."""
        return self._mtimes[index]

    def first_block(self, index: int) -> int:
        """The first ordinal of an entry, or the one that it would have."""
        return self._firsts[index]

    def block_count(self, index: int) -> int:
        """How many blocks an entry has; 0 for all but files that are not empty."""
        return self._firsts[index + 1] - self._firsts[index]

    def entry_of(self, ordinal: int) -> int:
        """The entry that a block belongs to. Raises `LookupError` if there is no such block."""
        if 0 <= ordinal < self.blocks:
            return bisect_right(self._firsts, ordinal) - 1
        if self.stream is None or ordinal < 0:
            raise LookupError(f"no block {ordinal}")
        return self.stream

    def block_length(self, ordinal: int) -> int:
        """How many bytes a block of a file has."""
        return self.span(ordinal, 1)

    def offset_in_file(self, ordinal: int) -> int:
        """Where in its file, or in the stream, a block begins."""
        return (ordinal - self._firsts[self.entry_of(ordinal)]) * self.block_size

    def span(self, first: int, count: int) -> int:
        """How many bytes `count` consecutive blocks of files have."""
        if not 0 <= first <= first + count <= self.blocks:
            raise LocalProtocolError(f"blocks {first} to {first + count} of {self.blocks}")
        return self._position(first + count) - self._position(first)

    def path(self, index: int) -> tuple[str, ...]:
        """The names of an entry's folders, from the top, and its own."""
        names = [self.name(index)]
        while (index := self._parents[index]) != TOP:
            names.append(self.name(index))
        return tuple(reversed(names))

    def top_level(self) -> list[int]:
        """The entries that are in no folder."""
        return list(self._top)

    def find(self, parent: int, name: str) -> int | None:
        """The entry of that name in a folder, or at the TOP, if there is one."""
        index = self._taken[self._slot(parent, name, _hash(parent, name))]
        return None if index == _FREE else index

    def label(self) -> str:
        """What the transfer is called, for people. Names are in it as they came: make it printable."""
        if not self._top:
            return "nothing"
        first = self._top[0]
        folder = self.kind(first) is EntryKind.FOLDER
        name = "standard input" if first == self.stream else self.name(first) + "/" * folder
        if len(self._top) > 1:
            return f"{name} and {len(self._top) - 1} more"
        return f"{name} ({self.files} file{'s' * (self.files != 1)})" if folder else name

    def _text(self, index: int) -> str:
        return self._texts[self._text_starts[index] : self._text_starts[index + 1]].decode()

    def _position(self, ordinal: int) -> int:
        """Where a block begins in the bytes of all files; that of the ordinal behind the last is their end."""
        if ordinal == self.blocks:
            return self.total_bytes
        index = bisect_right(self._firsts, ordinal) - 1
        return self._starts[index] + (ordinal - self._firsts[index]) * self.block_size

    def _take_name(self, parent: int, name: str) -> None:
        """Note that the entry to come has this name. Raises `Malformed` if another in the same folder has it."""
        if 2 * len(self._kinds) >= len(self._taken):
            self._enlarge_table()
        key = _hash(parent, name)
        slot = self._slot(parent, name, key)
        if self._taken[slot] != _FREE:
            raise Malformed("two entries of one name in the same folder")
        self._taken[slot] = len(self._kinds)
        self._hashes.append(key)

    def _enlarge_table(self) -> None:
        taken = self._taken = array("I", [_FREE]) * (2 * len(self._taken))
        mask = len(taken) - 1
        for index, key in enumerate(self._hashes):
            slot = key & mask
            while taken[slot] != _FREE:
                slot = (slot + 1) & mask
            taken[slot] = index

    def _slot(self, parent: int, name: str, key: int) -> int:
        """Where the entry of that name, which has this hash, is in the table, or may be put."""
        taken, mask = self._taken, len(self._taken) - 1
        slot = key & mask
        while (other := taken[slot]) != _FREE and not (
            self._hashes[other] == key and self._parents[other] == parent and self.name(other) == name
        ):
            slot = (slot + 1) & mask
        return slot


def _hash(parent: int, name: str) -> int:
    """32 bits that differ from run to run: nobody can make them collide."""
    return hash(f"{parent}/{name}") & 0xFFFFFFFF


def _text(entry: Entry, depth: int) -> bytes:
    """Return what is kept of an entry's name and target. Raises `Malformed`."""
    name, target = entry.name, entry.target
    try:
        text = name.encode()
        led = target.encode()
    except UnicodeEncodeError:
        raise Malformed("a name that is no text") from None
    if not 0 < len(text) <= limits.MAX_NAME_BYTES or "/" in name or "\0" in name or name in (".", ".."):
        raise Malformed(f"an entry with the name {name[:80]!r}")
    if entry.kind is not _LINK:
        if target:
            raise Malformed("a target of what is no link")
        return text
    if not 0 < len(led) <= limits.MAX_TARGET_BYTES or "\0" in target or not link_stays_inside(depth, target):
        raise Malformed(f"a link that leads to {target[:80]!r}")
    return text + b"\0" + led
