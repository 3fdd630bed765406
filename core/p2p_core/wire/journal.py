"""The journal of a transfer: what is known of it, in a file that is only ever appended to. docs/protocol/transfer.md.

    0   "PWJ", version 1
    4   salt, 16 random bytes
    20  records: u32 length of the body | u8 kind | body | link, 8 bytes

A record's link is the start of BLAKE3 over the link before it (of the first one: the salt), its kind and its body. So a
record counts only if it and all before it are as they were written, in this file: what a crash left half written, or a
disk damaged, ends the journal there. Both sides have the same records, numbers big-endian:

    1 BEGIN      u8 side: 1 received, 2 sent | the other side's peer id, 32 bytes | u32 block size
    2 ENTRIES    up to 256 of the manifest, in order, as `entries` packs them
    3 NAME       u32 entry | the name it was given on arrival, UTF-8
    4 FILES      any number of: u32 entry | what file it is, see `file_id`
    5 BLOCKS     u32 first ordinal | hashes, 32 bytes each
    6 FORGOTTEN  u32 first ordinal | u32 count: what was said of these blocks counts no more
    7 BOOT       what the computer calls the time since it started: up to 64 bytes
    8 SYNCED     u64 offset in the journal: what was said before that is on the disk
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from blake3 import blake3

from p2p_core import limits
from p2p_core.errors import TransferFailed
from p2p_core.fields import u32
from p2p_core.identity import PeerId
from p2p_core.manifest import Manifest
from p2p_core.wire import entries

__all__ = [
    "FILE_ID_BYTES",
    "SALT_BYTES",
    "Begin",
    "Blocks",
    "Boot",
    "Entries",
    "Files",
    "Forgotten",
    "JournalReader",
    "JournalUnusable",
    "JournalWriter",
    "Name",
    "Record",
    "Side",
    "Synced",
    "entries_of",
    "file_id",
]

SALT_BYTES = 16
_MAGIC = b"PWJ"
_VERSION = 1
_START = len(_MAGIC) + 1 + SALT_BYTES
_HEADER = struct.Struct(">IB")
_LINK = 8  # bytes; against damage, not against people: whoever may write here may write the files themselves
_MAX_BODY = 2 * 1024 * 1024  # of ENTRIES: 256 links with the longest names and targets have 1.3 MB
_ENTRIES_AT_ONCE = 256
_BEGIN = struct.Struct(f">B{limits.PEER_ID_BYTES}sI")
_NUMBER = struct.Struct(">I")
_FORGOTTEN = struct.Struct(">II")
_SYNCED = struct.Struct(">Q")
_FILE_ID = struct.Struct(">QQqq")
FILE_ID_BYTES = _FILE_ID.size
_FILE = struct.Struct(f">I{FILE_ID_BYTES}s")
_MAX_BOOT = 64


class JournalUnusable(TransferFailed):
    """What stands where a journal should be is none that this program can go on with. It is left alone."""


class Kind(IntEnum):
    """What a record says."""

    BEGIN = 1
    ENTRIES = 2
    NAME = 3
    FILES = 4
    BLOCKS = 5
    FORGOTTEN = 6
    BOOT = 7
    SYNCED = 8


class Side(IntEnum):
    """Whose journal it is."""

    RECEIVED = 1
    SENT = 2


@dataclass(frozen=True, slots=True)
class Begin:
    """The first record: the other side of the transfer, and how its files are cut."""

    side: Side
    peer: PeerId
    block_size: int  # bytes

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.BEGIN, _BEGIN.pack(self.side, self.peer, self.block_size)


@dataclass(frozen=True, slots=True)
class Entries:
    """The next entries of the manifest, as `entries_of` makes them: equal manifests have equal bytes."""

    body: bytes

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.ENTRIES, self.body

    def add_to(self, manifest: Manifest) -> None:
        """Append the entries to `manifest`. Raises `Malformed`."""
        for entry in entries.unpack(self.body):
            manifest.add(entry)


@dataclass(frozen=True, slots=True)
class Name:
    """The name that an entry was given on arrival, where it is another than was suggested."""

    entry: int
    name: str

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.NAME, u32(self.entry) + self.name.encode()


@dataclass(frozen=True, slots=True)
class Files:
    """What files some entries are: sent, as they were when read; received, as they are at their place."""

    ids: tuple[tuple[int, bytes], ...]  # entry, and what `file_id` says

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.FILES, b"".join(_FILE.pack(entry, is_file) for entry, is_file in self.ids)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The hashes of consecutive blocks: sent, as they were read; received, verified and written."""

    first: int  # ordinal
    digests: bytes

    @property
    def count(self) -> int:
        """How many blocks."""
        return len(self.digests) // limits.HASH_BYTES

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.BLOCKS, u32(self.first) + self.digests


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was said of these blocks counts no more: they will be overwritten, or are not there."""

    first: int  # ordinal
    count: int

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.FORGOTTEN, _FORGOTTEN.pack(self.first, self.count)


@dataclass(frozen=True, slots=True)
class Boot:
    """The journal was opened. Until the computer starts again, this is what it calls the time since it did."""

    boot: bytes  # empty: nobody knows, so it is never the same

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.BOOT, self.boot


@dataclass(frozen=True, slots=True)
class Synced:
    """What stands in the journal before `end` is on the disk, the blocks it speaks of too."""

    end: int  # bytes

    def encode(self) -> tuple[Kind, bytes]:
        """Return kind and body."""
        return Kind.SYNCED, _SYNCED.pack(self.end)


Record = Begin | Entries | Name | Files | Blocks | Forgotten | Boot | Synced


def file_id(inode: int, size: int, mtime_ns: int, ctime_ns: int = 0) -> bytes:
    """Return what tells a file at its place from any other there, and from itself before it was written to.

    Received, it has no time of change: getting its name would be one. The device is not in it: at the next start of the
    computer the same one may have another number.
    """
    return _FILE_ID.pack(inode, size, mtime_ns, ctime_ns)


def entries_of(manifest: Manifest) -> Iterator[Entries]:
    """Yield a manifest's entries, 256 at a time."""
    for first in range(0, len(manifest), _ENTRIES_AT_ONCE):
        yield Entries(entries.pack_range(manifest, first, min(_ENTRIES_AT_ONCE, len(manifest) - first)))


class JournalWriter:
    """Makes the bytes of records, each linked to the one before."""

    def __init__(self, link: bytes) -> None:
        """Go on behind a record with this link; at the start of a journal it is the salt."""
        self._link = link

    @staticmethod
    def start(salt: bytes) -> bytes:
        """Return what a journal begins with. `salt` is 16 random bytes."""
        return _MAGIC + bytes((_VERSION,)) + salt

    def encode(self, *records: Record) -> bytes:
        """Return the bytes of `records`, which have to be written before those of any others."""
        parts = []
        for record in records:
            kind, body = record.encode()
            self._link = _link(self._link, kind, body)
            parts += [_HEADER.pack(len(body), kind), body, self._link]
        return b"".join(parts)

    @property
    def link(self) -> bytes:
        """The link of the last record."""
        return self._link


class JournalReader:
    """Reads a journal, given in pieces."""

    def __init__(self) -> None:
        self.end = 0  # where the last record that counts ends: what is behind that is to be cut off
        self.link = b""  # of that record, or the salt
        self._rest = b""
        self._is_damaged = False

    def receive(self, data: bytes) -> Iterator[Record]:
        """Yield the records that are complete now. While one is out, `end` is where that one ends.

        What is damaged or incomplete is no error: the journal ends before it. Raises `JournalUnusable` when it is no
        journal, or one of another version.
        """
        data = self._rest + data
        at = 0
        if not self.end:
            self._check_start(data)
            if len(data) >= _START:
                self.end = at = _START
                self.link = data[_START - SALT_BYTES : _START]
        while self.end and not self._is_damaged and at + _HEADER.size <= len(data):
            length, kind = _HEADER.unpack_from(data, at)
            body_end = at + _HEADER.size + length
            if length > _MAX_BODY:
                self._is_damaged = True
            elif body_end + _LINK > len(data):
                break
            else:
                body, link = data[at + _HEADER.size : body_end], data[body_end : body_end + _LINK]
                if _link(self.link, kind, body) != link:
                    self._is_damaged = True
                else:
                    self.link = link
                    at = body_end + _LINK
                    self.end += _HEADER.size + length + _LINK
                    yield _decode(kind, body)
        self._rest = b"" if self._is_damaged else data[at:]

    @staticmethod
    def _check_start(data: bytes) -> None:
        if not _MAGIC.startswith(data[: len(_MAGIC)]):
            raise JournalUnusable("it is no journal")
        if len(data) > len(_MAGIC) and data[len(_MAGIC)] != _VERSION:
            newer = data[len(_MAGIC)] > _VERSION
            raise JournalUnusable(f"it is a journal of {'a newer' if newer else 'another'} version of Punchwire")


def _link(before: bytes, kind: int, body: bytes) -> bytes:
    return blake3(before + bytes((kind,)) + body).digest(_LINK)


def _decode(kind: int, body: bytes) -> Record:
    """Read a body that is as it was written. Raises `JournalUnusable` all the same: another program may have."""
    try:
        match kind:
            case Kind.BLOCKS:
                if len(body) % limits.HASH_BYTES == _NUMBER.size:
                    return Blocks(_NUMBER.unpack_from(body)[0], body[_NUMBER.size :])
            case Kind.FILES:
                return Files(tuple(_FILE.iter_unpack(body)))
            case Kind.ENTRIES:
                return Entries(body)
            case Kind.SYNCED:
                return Synced(*_SYNCED.unpack(body))
            case Kind.FORGOTTEN:
                return Forgotten(*_FORGOTTEN.unpack(body))
            case Kind.NAME:
                return Name(_NUMBER.unpack_from(body)[0], body[_NUMBER.size :].decode())
            case Kind.BOOT if len(body) <= _MAX_BOOT:
                return Boot(body)
            case Kind.BEGIN:
                side, peer, block_size = _BEGIN.unpack(body)
                return Begin(Side(side), PeerId(peer), block_size)
    except (struct.error, ValueError):
        pass
    raise JournalUnusable("it has a record that this version of Punchwire does not know")
