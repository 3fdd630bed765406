"""The journal's bytes. Whatever becomes of them: a reader gives the records up to there, and none that nobody wrote."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.wire.journal import (
    Begin,
    Blocks,
    Boot,
    Entries,
    Files,
    Forgotten,
    JournalReader,
    JournalUnusable,
    JournalWriter,
    Name,
    Record,
    Side,
    Synced,
    entries_of,
    file_id,
)

SALT = bytes(range(16))
PEER = PeerId(b"p" * 32)


def manifest() -> Manifest:
    made = Manifest()
    made.add(Entry(EntryKind.FOLDER, TOP, "zoë", mode=0o755, mtime_ns=5))
    made.add(Entry(EntryKind.FILE, 0, "a", size=2**20 + 1, mode=0o644, mtime_ns=2**63 - 1))
    made.add(Entry(EntryKind.LINK, 0, "l", target="a"))
    made.add(Entry(EntryKind.STREAM, TOP, "stdin"))
    return made


RECORDS: tuple[Record, ...] = (
    Begin(Side.RECEIVED, PEER, 2**20),
    Boot(b"a boot"),
    *entries_of(manifest()),
    Name(0, "zoë (1)"),
    Files(((1, file_id(9, 2**20 + 1, -1, 7)), (3, file_id(2**64 - 1, 0, 0)))),
    Blocks(0, b"d" * 64),
    Synced(300),
    Forgotten(0, 1),
    Blocks(2**32 - 1, b"e" * 32),
)


def journal(records: tuple[Record, ...] = RECORDS, salt: bytes = SALT) -> bytes:
    return JournalWriter.start(salt) + JournalWriter(salt).encode(*records)


JOURNAL = journal()
ENDS = [20, *(20 + len(JournalWriter(SALT).encode(*RECORDS[: n + 1])) for n in range(len(RECORDS)))]


def read(data: bytes, piece: int = 2**20) -> tuple[list[Record], int]:
    reader = JournalReader()
    records: list[Record] = []
    for at in range(0, len(data), piece):
        records += reader.receive(data[at : at + piece])
    return records, reader.end


def whole_records(length: int) -> int:
    """How many records are whole in the first `length` bytes."""
    return sum(end <= length for end in ENDS[1:])


@pytest.mark.parametrize("piece", [1, 7, 100, 2**20])
def test_what_is_written_is_read_in_pieces_of_any_size(piece: int) -> None:
    assert read(JOURNAL, piece) == (list(RECORDS), len(JOURNAL))


def test_each_record_comes_with_its_end() -> None:
    reader = JournalReader()
    assert [reader.end for _ in reader.receive(JOURNAL)] == ENDS[1:]


def test_a_writer_goes_on_where_a_reader_ended() -> None:
    reader = JournalReader()
    assert list(reader.receive(JOURNAL[: ENDS[4]])) == list(RECORDS[:4])
    assert JOURNAL[: ENDS[4]] + JournalWriter(reader.link).encode(*RECORDS[4:]) == JOURNAL


def test_truncated_anywhere_it_ends_with_the_last_whole_record() -> None:
    for length in range(len(JOURNAL)):
        count = whole_records(length)
        assert read(JOURNAL[:length]) == (list(RECORDS[:count]), ENDS[count] if length >= 20 else 0)


def test_a_changed_byte_ends_it_before_the_record_that_it_is_in() -> None:
    for at, bits in itertools.product(range(len(JOURNAL)), (1, 0x80, 0xFF)):
        count = whole_records(at)
        data = bytearray(JOURNAL)
        data[at] ^= bits
        if at < 4:
            with pytest.raises(JournalUnusable):
                read(bytes(data))
        else:
            assert read(bytes(data), 64) == (list(RECORDS[:count]), ENDS[count])


@given(st.binary(min_size=1, max_size=200), st.integers(0, len(ENDS) - 1))
def test_what_comes_behind_a_torn_end_does_not_count(garbage: bytes, count: int) -> None:
    data = JOURNAL[: ENDS[count]] + garbage
    assert read(data) == (list(RECORDS[:count]), ENDS[count])


def test_a_record_counts_only_behind_those_it_was_written_behind() -> None:
    whole = [JOURNAL[start:end] for start, end in itertools.pairwise(ENDS)]
    assert read(JOURNAL[:20] + whole[1]) == ([], 20)
    assert read(JOURNAL[:20] + whole[0] + whole[2]) == (list(RECORDS[:1]), ENDS[1])
    assert read(JOURNAL[:20] + whole[0] + whole[0]) == (list(RECORDS[:1]), ENDS[1])


def test_records_of_another_journal_do_not_count() -> None:
    """As when the disk gives this file blocks that were another journal's."""
    other = journal(salt=b"another journal.")
    assert read(JOURNAL[:20] + other[20:]) == ([], 20)


@pytest.mark.parametrize("start", [b"P", b"PWJ", b"PWJ\x01", JOURNAL[:19]])
def test_a_beginning_that_is_not_whole_is_an_empty_journal(start: bytes) -> None:
    assert read(start) == ([], 0)


def test_another_file_is_no_journal() -> None:
    for start in (b"\0", b"PWT\x01", b"{}", b"PX"):
        with pytest.raises(JournalUnusable, match="no journal"):
            read(start)


def test_another_version_is_said() -> None:
    with pytest.raises(JournalUnusable, match="a newer version"):
        read(b"PWJ\x02" + bytes(100))
    with pytest.raises(JournalUnusable, match="another version"):
        read(b"PWJ\x00" + bytes(100))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (0, b""),
        (9, b"a later version's"),
        (1, b"\x03" + bytes(36)),  # neither received nor sent
        (1, bytes(36)),
        (3, b"\0\0\0"),
        (3, b"\0\0\0\0\xff"),
        (4, bytes(35)),
        (5, bytes(3)),
        (5, bytes(4 + 33)),
        (6, bytes(7)),
        (7, bytes(65)),
        (8, bytes(7)),
    ],
)
def test_a_record_that_only_another_program_writes_makes_it_unusable(kind: int, body: bytes) -> None:
    class Strange:
        def encode(self) -> tuple[int, bytes]:
            return kind, body

    data = journal((RECORDS[0], Strange()))  # type: ignore[arg-type]
    reader = JournalReader()
    with pytest.raises(JournalUnusable, match="does not know"):
        list(reader.receive(data))


def test_entries_are_what_they_were() -> None:
    made = manifest()
    again = Manifest()
    for entries in entries_of(made):
        entries.add_to(again)
    assert list(again) == list(made)


def test_many_entries_come_in_several_records() -> None:
    made = Manifest()
    for number in range(600):
        made.add(Entry(EntryKind.FILE, TOP, f"{number}", size=number))
    again = Manifest()
    records = list(entries_of(made))
    for entries in records:
        entries.add_to(again)
    assert (len(records), list(again)) == (3, list(made))


def test_entries_that_do_not_parse_are_malformed() -> None:
    body = next(iter(entries_of(manifest()))).body
    another_kind = body[:2] + b"\x09" + body[3:]
    for wrong in (b"", b"\0", body[:-1], body + b"x", body + b"x\0", body[:60], another_kind, b"\xff" * 9):
        with pytest.raises(Malformed):
            Entries(wrong).add_to(Manifest())


def test_a_file_is_told_from_others_by_all_that_is_known_of_it() -> None:
    ids = {file_id(1, 2, 3, 4), file_id(2, 2, 3, 4), file_id(1, 3, 3, 4), file_id(1, 2, 4, 4), file_id(1, 2, 3, 5)}
    assert len(ids) == 5
