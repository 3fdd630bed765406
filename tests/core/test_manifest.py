import tracemalloc
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest

BLOCK = limits.MIN_BLOCK_SIZE


def file(name: str, size: int = 0, parent: int = TOP) -> Entry:
    return Entry(EntryKind.FILE, parent, name, size, 0o644, 1_700_000_000_000_000_000)


def folder(name: str, parent: int = TOP) -> Entry:
    return Entry(EntryKind.FOLDER, parent, name, mode=0o755)


def link(name: str, target: str, parent: int) -> Entry:
    return Entry(EntryKind.LINK, parent, name, target=target)


STREAM = Entry(EntryKind.STREAM, TOP, "stdin")


def manifest(*entries: Entry) -> Manifest:
    made = Manifest(BLOCK)
    for index, entry in enumerate(entries):
        assert made.add(entry) == index
    return made


def nested(folders: int) -> Manifest:
    return manifest(*(folder("f", parent) for parent in range(TOP, folders - 1)))


PHOTOS = (
    folder("photos"),
    folder("2024", 0),
    file("empty", 0, 1),
    file("ü.jpg", 2 * BLOCK + 1, 1),
    link("latest", "../photo", 1),
    file("photo", 1, 0),
)


def test_what_goes_in_comes_out() -> None:
    made = manifest(*PHOTOS, STREAM)
    assert tuple(made) == (*PHOTOS, STREAM)
    assert len(made) == 7
    for index, entry in enumerate(made):
        assert made[index] == entry
        assert (made.kind(index), made.parent(index), made.name(index), made.size(index)) == (
            entry.kind,
            entry.parent,
            entry.name,
            entry.size,
        )
    assert [made.path(index) for index in (0, 3, 4, 6)] == [
        ("photos",),
        ("photos", "2024", "ü.jpg"),
        ("photos", "2024", "latest"),
        ("stdin",),
    ]
    assert [index for index in range(7) if made.is_file(index)] == [2, 3, 5, 6]
    assert made.top_level() == [0, 6]
    assert (made.files, made.stream, made.total_bytes, made.blocks) == (4, 6, 2 * BLOCK + 2, 4)


def test_where_the_blocks_are() -> None:
    made = manifest(*PHOTOS, STREAM)
    assert [made.entry_of(ordinal) for ordinal in (0, 1, 2, 3, 4, 5, 10**12)] == [3, 3, 3, 5, 6, 6, 6]
    assert [made.offset_in_file(ordinal) for ordinal in range(6)] == [0, BLOCK, 2 * BLOCK, 0, 0, BLOCK]
    assert [made.block_length(ordinal) for ordinal in range(4)] == [BLOCK, BLOCK, 1, 1]
    assert [made.block_count(index) for index in range(7)] == [0, 0, 0, 3, 0, 1, 0]
    assert [made.first_block(index) for index in range(7)] == [0, 0, 0, 0, 3, 3, 4]
    assert made.span(1, 3) == BLOCK + 2


@given(st.lists(st.one_of(st.none(), st.integers(0, 3 * BLOCK)), max_size=12), st.booleans())
def test_blocks_are_as_a_plain_list_of_them_says(sizes: list[int | None], streaming: bool) -> None:
    entries = [folder(str(n)) if size is None else file(str(n), size) for n, size in enumerate(sizes)]
    made = manifest(*entries, *[STREAM] * streaming)
    blocks = [
        (index, offset, min(BLOCK, (size or 0) - offset))
        for index, size in enumerate(sizes)
        for offset in range(0, size or 0, BLOCK)
    ]
    assert made.blocks == len(blocks)
    for ordinal, (index, offset, length) in enumerate(blocks):
        assert (made.entry_of(ordinal), made.offset_in_file(ordinal), made.block_length(ordinal)) == (
            index,
            offset,
            length,
        )
    for first in range(len(blocks) + 1):
        sums = accumulate((length for _, _, length in blocks[first:]), initial=0)
        assert [made.span(first, count) for count in range(len(blocks) - first + 1)] == list(sums)
    for index in range(len(sizes)):
        own = [ordinal for ordinal, block in enumerate(blocks) if block[0] == index]
        assert list(range(made.first_block(index), made.first_block(index) + made.block_count(index))) == own


def test_there_are_no_other_blocks() -> None:
    for made in (manifest(), manifest(file("a", 1)), manifest(*PHOTOS), manifest(*PHOTOS, STREAM)):
        with pytest.raises(LookupError):
            made.entry_of(-1)
        for first, count in ((-1, 1), (made.blocks, 1), (0, made.blocks + 1), (1, -1)):
            with pytest.raises(LocalProtocolError, match=f"^blocks {first} to {first + count} of {made.blocks}$"):
                made.span(first, count)
        with pytest.raises(LocalProtocolError):
            made.block_length(made.blocks)
    with pytest.raises(LookupError):
        manifest(*PHOTOS).entry_of(4)


DEEP = (folder("a"), folder("b", 0), file("c", 1, 1))


@pytest.mark.parametrize(
    ("before", "entry"),
    [
        ((), file("")),
        ((), file(".")),
        ((), file("..")),
        ((), file("a/b")),
        ((), file("/")),
        ((), file("a\0b")),
        ((), file("\udcff")),
        ((), file("n" * (limits.MAX_NAME_BYTES + 1))),
        ((), file("ü" * (limits.MAX_NAME_BYTES // 2) + "n")),
        ((), file("a", 0, 0)),
        ((), file("a", 0, -2)),
        (DEEP, file("a", 0, 2)),
        (DEEP, file("a", 0, 3)),
        ((STREAM,), file("a")),
        ((STREAM,), replace(STREAM, name="again")),
        (DEEP, file("a")),
        (DEEP, folder("b", 0)),
        (DEEP, link("c", "d", 1)),
        (DEEP, replace(STREAM, name="a")),
        ((), file("a", -1)),
        ((), file("a", 2**63)),
        ((file("a", 2**43),), file("b", 2**63 - 2**43)),
        ((), file("a", limits.MAX_BLOCKS * BLOCK + 1)),
        ((file("a", limits.MAX_BLOCKS * BLOCK),), file("b", 1)),
        ((), replace(folder("a"), size=1)),
        ((), replace(STREAM, size=1)),
        (DEEP, replace(link("l", "c", 1), size=1)),
        ((), replace(file("a"), mode=0o1000)),
        ((), replace(file("a"), mode=-1)),
        ((), replace(file("a"), mtime_ns=2**63)),
        ((), replace(file("a"), mtime_ns=-1)),
        ((), replace(file("a"), target="b")),
        ((), replace(folder("a"), target="b")),
        ((), replace(STREAM, target="b")),
        ((), link("l", "a", TOP)),
        (DEEP, link("l", "", 1)),
        (DEEP, link("l", "/a", 1)),
        (DEEP, link("l", "..", 0)),
        (DEEP, link("l", "../a", 0)),
        (DEEP, link("l", "../..", 1)),
        (DEEP, link("l", "../b/../..", 1)),
        (DEEP, link("l", "c/..", 1)),
        (DEEP, link("l", "c\0", 1)),
        (DEEP, link("l", "\udcff", 1)),
        (DEEP, link("l", "n" * (limits.MAX_TARGET_BYTES + 1), 1)),
    ],
)
def test_what_no_transfer_may_have(before: tuple[Entry, ...], entry: Entry) -> None:
    made = manifest(*before)
    with pytest.raises(Malformed):
        made.add(entry)
    assert tuple(made) == before
    assert (made.files, made.total_bytes) == (
        sum(each.kind in (EntryKind.FILE, EntryKind.STREAM) for each in before),
        sum(each.size for each in before),
    )
    if made.stream is None:
        assert made.add(file("what comes next")) == len(before)


@pytest.mark.parametrize(
    ("before", "entry"),
    [
        ((), file("n" * limits.MAX_NAME_BYTES)),
        ((), file("...")),
        ((), file("\\ \n\x1b")),
        ((), file("a", limits.MAX_BLOCKS * BLOCK)),
        ((), replace(file("a"), mode=0o777, mtime_ns=2**63 - 1)),
        (DEEP, file("A")),
        (DEEP, file("a", 0, 0)),
        (DEEP, file("c", 0, 0)),
        (DEEP, link("l", "nowhere", 0)),
        (DEEP, link("l", ".././b/c", 1)),
        (DEEP, link("l", "..", 1)),
        (DEEP, link("l", "n" * limits.MAX_TARGET_BYTES, 1)),
        (DEEP, replace(STREAM, parent=1)),
    ],
)
def test_what_a_transfer_may_have(before: tuple[Entry, ...], entry: Entry) -> None:
    assert tuple(manifest(*before, entry)) == (*before, entry)


@pytest.mark.parametrize("block_size", [0, limits.MIN_BLOCK_SIZE - 1, limits.MAX_BLOCK_SIZE + 1])
def test_blocks_have_a_size_that_frames_can_carry(block_size: int) -> None:
    with pytest.raises(Malformed):
        Manifest(block_size)


def test_how_deep_folders_go() -> None:
    made = nested(limits.MAX_DEPTH)
    last = made.add(folder("f", limits.MAX_DEPTH - 1))
    assert len(made.path(last)) == limits.MAX_DEPTH + 1
    for entry in (file("a", 0, last), folder("f", last)):
        with pytest.raises(Malformed):
            made.add(entry)


def test_how_many_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_ENTRIES", 3)
    made = manifest(*DEEP)
    with pytest.raises(Malformed):
        made.add(file("d"))


def test_how_long_all_names_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_MANIFEST_BYTES", 10)
    made = manifest(folder("abcd"), link("ef", "gh", 0))
    with pytest.raises(Malformed):
        made.add(file("ij"))
    made.add(file("i"))
    monkeypatch.setattr(limits, "MAX_MANIFEST_BYTES", 4)
    with pytest.raises(Malformed):
        manifest(file("abc"), file("de"))


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])


@given(st.lists(st.tuples(st.integers(TOP, 20), NAMES), max_size=60))
def test_a_name_is_given_once_in_each_folder(wanted: list[tuple[int, str]]) -> None:
    made, taken = Manifest(), set()
    for parent, name in wanted:
        if (parent, name) in taken or parent >= len(made):
            with pytest.raises(Malformed):
                made.add(folder(name, parent))
        else:
            made.add(folder(name, parent))
            taken.add((parent, name))
    assert {(entry.parent, entry.name) for entry in made} == taken


def test_no_name_is_given_again_however_many_there_are() -> None:
    """Where a hash's place is taken, the next one is: it has to be looked for there as well, also in a larger table."""
    made = manifest(*(file(str(number)) for number in range(2000)))
    assert [made.find(TOP, str(number)) for number in range(2000)] == list(range(2000))
    for number in range(2000):
        with pytest.raises(Malformed, match="two entries of one name"):
            made.add(file(str(number)))


def test_entries_are_found_by_name_in_their_folder() -> None:
    made = manifest(folder("a"), file("b"), file("a", parent=0), folder("b", parent=0), file("a", parent=3))
    assert [made.find(TOP, "a"), made.find(TOP, "b"), made.find(0, "a"), made.find(3, "a")] == [0, 1, 2, 4]
    assert [made.find(TOP, "c"), made.find(1, "a"), made.find(3, "b"), Manifest().find(TOP, "a")] == [None] * 4


@pytest.mark.parametrize(
    ("entries", "label"),
    [
        ((), "nothing"),
        ((file("a.iso"),), "a.iso"),
        (PHOTOS, "photos/ (3 files)"),
        (DEEP, "a/ (1 file)"),
        ((folder("void"),), "void/ (0 files)"),
        ((file("a.iso"), file("b"), STREAM), "a.iso and 2 more"),
        ((*PHOTOS, file("b")), "photos/ and 1 more"),
        ((STREAM,), "standard input"),
    ],
)
def test_what_it_is_called(entries: tuple[Entry, ...], label: str) -> None:
    assert manifest(*entries).label() == label


def test_an_entry_takes_little_memory() -> None:
    entries = 20_000
    tracemalloc.start()
    try:
        made = Manifest()
        for n in range(entries):
            made.add(file(f"{n:010}", 4096))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken / entries < 80 + 10
