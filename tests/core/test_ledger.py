from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import LocalProtocolError
from p2p_core.ledger import LEFT_OUT, MAX_RUN, Ledger, block_digest, file_root, transfer_root
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest

Leaves = list[tuple[Entry, int, bytes]]

BLOCK = limits.MIN_BLOCK_SIZE
STREAM = Entry(EntryKind.STREAM, TOP, "stdin")


def of(*numbers: int) -> bytes:
    return b"".join(block_digest(b"%d" % number) for number in numbers)


def manifest(*entries: Entry) -> Manifest:
    made = Manifest(BLOCK)
    for entry in entries:
        made.add(entry)
    return made


def files(*sizes: int) -> list[Entry]:
    return [Entry(EntryKind.FILE, TOP, f"{n}", size) for n, size in enumerate(sizes)]


def one_file(blocks: int) -> Ledger:
    return Ledger(manifest(*files(blocks * BLOCK)))


def test_a_block_is_hashed_wherever_it_lies() -> None:
    assert block_digest(b"data") == block_digest(memoryview(bytearray(b"data"))) == blake3(b"data").digest()


def test_what_is_put_in_is_known() -> None:
    ledger = one_file(1000)
    ledger.put(250, of(*range(250, 270)))
    ledger.put(999, of(999))
    ledger.put(0, b"")
    assert [n for n in range(1001) if ledger.digest(n)] == [*range(250, 270), 999]
    assert ledger.digest(255) == of(255)
    assert ledger.digest(256) == of(256)
    ledger.put(256, memoryview(of(1)))
    assert ledger.digest(256) == of(1)


PUTS = st.lists(st.tuples(st.booleans(), st.integers(0, 1400), st.integers(0, 700)), max_size=8)


@given(PUTS)
def test_runs_are_as_a_plain_table_of_hashes_says(puts: list[tuple[bool, int, int]]) -> None:
    ledger, table = one_file(2100), {}
    for turn, (forget, first, count) in enumerate(puts):
        if forget:
            ledger.forget(first, count)
            table = {n: digest for n, digest in table.items() if not first <= n < first + count}
            continue
        digests = [bytes([turn]) * 28 + (first + n).to_bytes(4, "big") for n in range(count)]
        ledger.put(first, b"".join(digests))
        table.update({first + n: digest for n, digest in enumerate(digests)})
    assert {n: ledger.digest(n) for n in range(2100) if ledger.digest(n)} == table
    runs = list(ledger.known_runs())
    assert {first + n: digests[n * 32 : n * 32 + 32] for first, digests in runs for n in range(len(digests) // 32)} == (
        table
    )
    assert sum(len(digests) for _, digests in runs) == 32 * len(table)
    for (first, digests), (following, _) in pairwise(runs):
        assert len(digests) <= 32 * MAX_RUN
        assert following > first + len(digests) // 32 or len(digests) > 32 * (MAX_RUN - 256)


def test_long_runs_are_cut() -> None:
    ledger = one_file(3000)
    ledger.put(0, of(*range(2500)))
    assert [(first, len(digests) // 32) for first, digests in ledger.known_runs()] == [
        (0, MAX_RUN),
        (MAX_RUN, MAX_RUN),
        (2 * MAX_RUN, 2500 - 2 * MAX_RUN),
    ]


@pytest.mark.parametrize("known", [(), (0,), (255,), (256,), (300, 100_000), (2**32 - 2,)])
@pytest.mark.parametrize(("first", "count"), [(0, 1), (255, 2), (256, 1), (257, 1000), (1, 2**32 - 3), (0, 2**32 - 1)])
def test_whether_any_of_many_is_known(known: tuple[int, ...], first: int, count: int) -> None:
    """At once, and so is that they are known no more."""
    manifest = Manifest(limits.MIN_BLOCK_SIZE)
    manifest.add(Entry(EntryKind.FILE, TOP, "huge", (2**32 - 1) * limits.MIN_BLOCK_SIZE))
    ledger = Ledger(manifest)
    for ordinal in known:
        ledger.put(ordinal, bytes(32))
    assert ledger.has_any(first, count) == any(first <= ordinal < first + count for ordinal in known)
    ledger.forget(first, count)
    assert not ledger.has_any(first, count)
    assert [ordinal for ordinal, _ in ledger.known_runs()] == [o for o in known if not first <= o < first + count]


def test_a_lone_block_far_out_takes_little() -> None:
    ledger = Ledger(manifest(*files(limits.MAX_BLOCKS * BLOCK)))
    ledger.put(limits.MAX_BLOCKS - 1, of(1))
    assert list(ledger.known_runs()) == [(limits.MAX_BLOCKS - 1, of(1))]
    assert not ledger.has_all(0)
    ledger.forget(0, 10_000_000)
    assert list(ledger.known_runs()) == [(limits.MAX_BLOCKS - 1, of(1))]


@pytest.mark.parametrize(("first", "digests"), [(-1, of(1)), (3, of(1)), (2, of(1, 2)), (0, of(1)[:31])])
def test_there_are_no_other_blocks(first: int, digests: bytes) -> None:
    ledger = one_file(3)
    with pytest.raises(LocalProtocolError):
        ledger.put(first, digests)
    assert list(ledger.known_runs()) == []


def test_a_stream_that_goes_on_ends_where_the_numbers_do() -> None:
    ledger = Ledger(manifest(STREAM))
    with pytest.raises(LocalProtocolError):
        ledger.put(limits.MAX_BLOCKS - 1, of(1, 2))
    assert list(ledger.known_runs()) == []
    ledger.put(limits.MAX_BLOCKS - 1, of(1))
    assert list(ledger.known_runs()) == [(limits.MAX_BLOCKS - 1, of(1))]


def test_a_file_is_complete_with_its_last_missing_block() -> None:
    ledger = Ledger(manifest(*files(0, 600 * BLOCK, 1)))
    assert [ledger.has_all(entry) for entry in range(3)] == [True, False, False]
    ledger.put(0, of(*range(300)))
    ledger.put(301, of(*range(301, 600)))
    assert not ledger.has_all(1)
    with pytest.raises(LocalProtocolError):
        ledger.file_root(1)
    ledger.put(300, of(300))
    assert ledger.has_all(1)
    ledger.forget(599, 1)
    assert not ledger.has_all(1)
    ledger.put(599, of(599))
    assert [ledger.has_all(entry) for entry in range(3)] == [True, True, False]
    assert ledger.file_root(1) == file_root([of(*range(600))], 600 * BLOCK, BLOCK)
    ledger.put(600, of(600))
    assert ledger.has_all(2)


def test_a_stream_is_complete_when_its_end_is_known() -> None:
    ledger = Ledger(manifest(*files(1), STREAM))
    ledger.put(0, of(0, 1, 2))
    assert not ledger.has_all(1)
    with pytest.raises(LocalProtocolError):
        ledger.root()
    ledger.end_stream(2 * BLOCK + 1)
    assert not ledger.has_all(1)
    ledger.put(3, of(3))
    assert ledger.has_all(1)
    assert ledger.size(1) == 2 * BLOCK + 1
    assert ledger.file_root(1) == file_root([of(1, 2, 3)], 2 * BLOCK + 1, BLOCK)
    with pytest.raises(LocalProtocolError):
        ledger.put(4, of(4))
    ledger.end_stream(2 * BLOCK + 1)
    with pytest.raises(LocalProtocolError):
        ledger.end_stream(2 * BLOCK + 2)


def test_only_a_stream_ends() -> None:
    with pytest.raises(LocalProtocolError):
        one_file(1).end_stream(5)


def test_an_empty_stream_has_a_root() -> None:
    ledger = Ledger(manifest(STREAM))
    ledger.end_stream(0)
    assert ledger.leaf(0) == file_root([], 0, BLOCK)


TREE = (
    Entry(EntryKind.FOLDER, TOP, "f"),
    Entry(EntryKind.FILE, 0, "a"),
    Entry(EntryKind.FOLDER, 0, "g"),
    Entry(EntryKind.FILE, 2, "b"),
    Entry(EntryKind.LINK, 2, "l", target="b"),
    Entry(EntryKind.FILE, 2, "c"),
    Entry(EntryKind.FOLDER, 0, "h"),
    STREAM,
)


@pytest.mark.parametrize(
    ("left_out", "absent"),
    [
        ([], ()),
        ([1], ((1, 1),)),
        ([3, 1], ((1, 3),)),
        ([3, 5], ((3, 3),)),
        ([1, 5], ((1, 1), (5, 1))),
        ([0, 1, 2, 3, 4, 5, 6], ((1, 5),)),
        ([7, 3], ((3, 1), (7, 1))),
        ([7, 5, 3, 1, 1], ((1, 7),)),
        ([0, 2, 4, 6], ()),
    ],
)
def test_what_is_left_out(left_out: list[int], absent: tuple[tuple[int, int], ...]) -> None:
    ledger = Ledger(manifest(*TREE))
    for entry in left_out:
        ledger.leave_out(entry)
    assert ledger.absent() == absent
    assert [n for n in range(8) if ledger.is_left_out(n)] == sorted({*left_out} & {1, 3, 5, 7})
    again = Ledger(manifest(*TREE))
    for first, count in absent:
        for entry in range(first, first + count):
            again.leave_out(entry)
    assert again.absent() == absent


def test_what_stands_for_the_content() -> None:
    ledger = Ledger(manifest(*TREE))
    ledger.leave_out(7)
    empty = file_root([], 0, BLOCK)
    assert [ledger.leaf(n) for n in range(8)] == [b"", empty, b"", empty, b"", empty, b"", LEFT_OUT]


def test_everything_about_a_file_counts() -> None:
    roots = {
        file_root([of(1, 2, 3)], 9, BLOCK),
        file_root([of(2, 1, 3)], 9, BLOCK),
        file_root([of(1, 2)], 9, BLOCK),
        file_root([of(1, 2, 3)], 10, BLOCK),
        file_root([of(1, 2, 3)], 9, BLOCK + 1),
        file_root([], 0, BLOCK),
        blake3(of(1, 2, 3) + (9).to_bytes(8, "big") + BLOCK.to_bytes(4, "big")).digest(),
    }
    assert len(roots) == 7
    assert file_root([of(1), of(2, 3)], 9, BLOCK) == file_root([of(1, 2, 3)], 9, BLOCK)


FILE = Entry(EntryKind.FILE, 0, "name", 5, 0o644, 7)
LEAF = file_root([of(1)], 5, BLOCK)
CHANGES: list[Callable[[], tuple[Entry, int, bytes]]] = [
    lambda: (FILE, 5, LEAF),
    lambda: (replace(FILE, kind=EntryKind.STREAM), 5, LEAF),
    lambda: (replace(FILE, parent=TOP), 5, LEAF),
    lambda: (replace(FILE, parent=1), 5, LEAF),
    lambda: (replace(FILE, name="namE"), 5, LEAF),
    lambda: (replace(FILE, name="nam", target="e"), 5, LEAF),
    lambda: (FILE, 6, LEAF),
    lambda: (replace(FILE, mode=0o645), 5, LEAF),
    lambda: (replace(FILE, mtime_ns=8), 5, LEAF),
    lambda: (replace(FILE, target="x"), 5, LEAF),
    lambda: (FILE, 5, LEFT_OUT),
    lambda: (FILE, 5, file_root([of(2)], 5, BLOCK)),
]


def test_every_field_changes_the_root() -> None:
    roots = {transfer_root([change()], BLOCK) for change in CHANGES}
    assert len(roots) == len(CHANGES)


def test_so_do_number_order_and_block_size() -> None:
    one, other = (FILE, 5, LEAF), (replace(FILE, name="other"), 5, LEAF)
    assert transfer_root([one], BLOCK) != transfer_root([one], BLOCK + 1)
    assert len({transfer_root(leaves, BLOCK) for leaves in ([], [one], [one, one], [one, other], [other, one])}) == 5


ENTRIES = st.builds(
    Entry,
    st.sampled_from(EntryKind),
    st.integers(TOP, 2),
    st.text(max_size=3),
    mode=st.integers(0, 0o777),
    mtime_ns=st.integers(0, 3),
    target=st.text(max_size=3),
)
LEAVES = st.tuples(ENTRIES, st.integers(0, 2**63), st.sampled_from([LEFT_OUT, LEAF])).map(
    lambda leaf: leaf if leaf[0].kind in (EntryKind.FILE, EntryKind.STREAM) else (*leaf[:2], b"")
)


@given(st.lists(LEAVES, max_size=3), st.lists(LEAVES, max_size=3))
def test_two_transfers_have_two_roots(
    one: list[tuple[Entry, int, bytes]], other: list[tuple[Entry, int, bytes]]
) -> None:
    def seen(leaves: list[tuple[Entry, int, bytes]]) -> list[tuple[Entry, int, bytes]]:
        return [(replace(entry, size=0), size, leaf) for entry, size, leaf in leaves]

    assert (transfer_root(one, BLOCK) == transfer_root(other, BLOCK)) is (seen(one) == seen(other))


def test_the_root_of_a_transfer_covers_all_of_it() -> None:
    def made(*, name: str = "a", digest: int = 0, size: int = 5, skip: bool = False) -> bytes:
        ledger = Ledger(manifest(Entry(EntryKind.FILE, TOP, name, 3), STREAM))
        ledger.put(0, of(digest, 1))
        ledger.end_stream(size)
        if skip:
            ledger.leave_out(1)
        return ledger.root()

    assert len({made(), made(name="b"), made(digest=2), made(size=6), made(skip=True)}) == 5
    assert made() == made()
    leaves = [
        (Entry(EntryKind.FILE, TOP, "a", 3), 3, file_root([of(0)], 3, BLOCK)),
        (STREAM, 5, file_root([of(1)], 5, BLOCK)),
    ]
    assert made() == transfer_root(leaves, BLOCK)


def test_no_root_while_blocks_are_missing() -> None:
    ledger = Ledger(manifest(*files(1, 1)))
    ledger.put(0, of(0))
    with pytest.raises(LocalProtocolError):
        ledger.root()
    ledger.leave_out(1)
    assert ledger.root()
