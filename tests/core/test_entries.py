import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.wire.entries import pack, pack_range, unpack

from tests.core.wire_strategies import ENTRIES, mutated

FOLDER = Entry(EntryKind.FOLDER, TOP, "photos", mode=0o755, mtime_ns=2)
FILE = Entry(EntryKind.FILE, 0, "grüße 👋", 5, 0o644, limits.MAX_FILE_BYTES)
LINK = Entry(EntryKind.LINK, 0, "latest", target="grüße 👋")
STREAM = Entry(EntryKind.STREAM, TOP, "stdin")


@given(st.lists(ENTRIES, max_size=8))
def test_entries_survive(entries: list[Entry]) -> None:
    assert unpack(pack(entries)) == entries


def test_the_quick_way_is_the_same() -> None:
    manifest = Manifest()
    for entry in (FOLDER, FILE, LINK, STREAM):
        manifest.add(entry)
    assert pack_range(manifest, 0, 4) == pack([FOLDER, FILE, LINK, STREAM])
    assert unpack(pack_range(manifest, 1, 2)) == [FILE, LINK]


@given(mutated(st.lists(ENTRIES, max_size=4).map(pack)))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    try:
        entries = unpack(body)
    except Malformed:
        return
    assert pack(entries) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        pack([FILE])[:-1],
        pack([FILE]) + b"a\0",
        pack([FILE]) + b"a",
        b"\0\2" + pack([FILE])[2:],
        b"\0\1\4" + pack([FILE])[3:],
        pack([LINK])[:-9],
        pack([FILE])[:-2] + b"\xff\0",
    ],
)
def test_what_does_not_parse(body: bytes) -> None:
    with pytest.raises(Malformed):
        unpack(body)


@pytest.mark.parametrize(
    "entry",
    [
        Entry(EntryKind.FILE, TOP, "a\0b"),
        Entry(EntryKind.LINK, TOP, "a", target="b\0"),
        Entry(EntryKind.FILE, TOP, "\udcff"),
        Entry(EntryKind.FILE, TOP, "a", -1),
        Entry(EntryKind.FILE, 2**31, "a"),
        Entry(EntryKind.FILE, TOP, "a", mode=2**16),
    ],
)
def test_what_has_no_bytes(entry: Entry) -> None:
    with pytest.raises(LocalProtocolError):
        pack([entry])
