"""Journals of transfers: as a file, and as the records of one that is not damaged."""

import functools

from blake3 import blake3
from p2p_core.identity import PeerId
from p2p_core.journaled import Journaled, Replay
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.wire.journal import (
    FILE_ID_BYTES,
    Begin,
    JournalReader,
    JournalUnusable,
    JournalWriter,
    Record,
    Side,
    Synced,
)

from tests.fuzz.shapes import chosen
from tests.fuzz.target import Target
from tests.vectors import pages

_BLOCK = 4096
_SALT = bytes(16)
_HEADER = 5
_LINK = 8
_PAGES = ("journal-received", "journal-sent")


@functools.cache
def _manifest() -> Manifest:
    manifest = Manifest(_BLOCK)
    manifest.add(Entry(EntryKind.FOLDER, TOP, "photos"))
    manifest.add(Entry(EntryKind.FILE, 0, "a", 3 * _BLOCK + 1))
    manifest.add(Entry(EntryKind.LINK, 0, "l", target="a"))
    manifest.add(Entry(EntryKind.STREAM, TOP, "s"))
    return manifest


def _begin(data: bytes) -> Begin:
    """Return what the journal has to begin with: whatever it says itself, so that one gets further."""
    side = Side.SENT if data[24 + 1 : 24 + 2] == b"\2" else Side.RECEIVED
    return Begin(side, PeerId(data[26:58].ljust(32, b"\0")), _BLOCK)


def _read(data: bytes, piece: int) -> Journaled:
    begin = _begin(data)
    replay, reader = Replay(begin, _manifest()), JournalReader()
    for at in range(0, len(data), piece):
        for record in reader.receive(data[at : at + piece]):
            assert reader.end <= len(data)
            replay.take(record, reader.end)
    return replay.finish(b"boot")


def _file(data: bytes) -> Journaled:
    piece, data = chosen(data, 256)
    return _read(data, piece + 1)


def _records(data: bytes) -> Journaled:
    """Read a journal of these records, each linked as it has to be."""
    made, link = [JournalWriter.start(_SALT)], _SALT
    while len(data) >= _HEADER:
        length, kind = int.from_bytes(data[:4]), data[4:5]
        body, data = data[_HEADER : _HEADER + length], data[_HEADER + length :]
        link = blake3(link + kind + body).digest(_LINK)
        made += [len(body).to_bytes(4), kind, body, link]
    return _read(b"".join(made), 1 << 20)


def _holds(known: Journaled) -> None:
    """What is known can be asked for, and is the same in a new journal."""
    for entry in range(len(known.manifest)):
        assert known.file(entry) is None or len(known.file(entry) or b"") == FILE_ID_BYTES
        known.ledger.has_all(entry)
    assert all(0 <= entry < len(known.manifest) for entry in known.names)
    for first, digests in known.ledger.known_runs():
        known.manifest.entry_of(first)
        assert known.ledger.digest(first) == digests[:32]
    known.ledger.absent()
    _same_again(known)


def _same_again(known: Journaled) -> None:
    begin = Begin(Side.SENT, PeerId(bytes(32)), known.manifest.block_size)
    written: list[Record] = [begin, *known.records(), Synced(0)]
    replay, reader = Replay(begin, known.manifest), JournalReader()
    for record in reader.receive(JournalWriter.start(_SALT) + JournalWriter(_SALT).encode(*written)):
        replay.take(record, reader.end)
    again = replay.finish()
    assert replay.is_same
    assert again.names == known.names
    assert list(again.ledger.known_runs()) == list(known.ledger.known_runs())


def _unlinked(journal: bytes) -> bytes:
    """Return the records of a journal without their links."""
    found, at = [], 20
    while at + _HEADER <= len(journal):
        end = at + _HEADER + int.from_bytes(journal[at : at + 4])
        found.append(journal[at:end])
        at = end + _LINK
    return b"".join(found)


def _own() -> bytes:
    known = Journaled(_manifest())
    known.ledger.put(1, bytes(96))
    known.set_file(1, b"\1" * FILE_ID_BYTES)
    known.set_name(0, "photos (2)")
    begin = Begin(Side.RECEIVED, PeerId(bytes(32)), _BLOCK)
    return JournalWriter.start(_SALT) + JournalWriter(_SALT).encode(begin, *known.records(), Synced(100))


def _journals() -> list[bytes]:
    return [*map(pages.read, _PAGES), _own()]


TARGETS = (
    Target(
        name="journal",
        of=("p2p_core.wire.journal.JournalReader",),
        parse=_file,
        raises=(JournalUnusable,),
        seeds=lambda: [bytes([piece]) + journal for piece in (6, 255) for journal in _journals()],
        holds=_holds,
    ),
    Target(
        name="journal-records",
        of=("p2p_core.journaled.Replay", "p2p_core.ledger.Ledger"),
        parse=_records,
        raises=(JournalUnusable,),
        seeds=lambda: map(_unlinked, _journals()),
        holds=_holds,
    ),
)
