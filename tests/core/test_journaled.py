import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import LocalProtocolError
from p2p_core.identity import PeerId
from p2p_core.journaled import Journaled, Replay
from p2p_core.ledger import Ledger
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.wire.journal import (
    Begin,
    Blocks,
    Boot,
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

SIZE = 4096
PEER = PeerId(b"p" * 32)
BEGIN = Begin(Side.RECEIVED, PEER, SIZE)
BOOT, ANOTHER_BOOT = b"a boot", b"another boot"


def digest(number: int) -> bytes:
    return bytes([number]) * 32


def digests(*numbers: int) -> bytes:
    return b"".join(map(digest, numbers))


def files(*sizes: int, **named: int) -> Manifest:
    """Files at the top level, sizes in bytes, called a, b, c… or as said."""
    made = Manifest(SIZE)
    for name, size in (dict(zip("abcdefgh", sizes, strict=False)) | named).items():
        made.add(Entry(EntryKind.FILE, TOP, name, size))
    return made


def replayed(*records: Record, manifest: Manifest, boot: bytes = BOOT, begin: Begin = BEGIN) -> Replay:
    """A replay that has taken `records` behind the beginning of a journal of `manifest`."""
    replay = Replay(begin, manifest)
    taking(replay, begin, *entries_of(manifest), *records)
    return replay


def taking(replay: Replay, *records: Record) -> None:
    """Each record takes 100 bytes here."""
    for number, record in enumerate(records, 1):
        replay.take(record, number * 100)


def known(ledger: Ledger) -> dict[int, bytes]:
    return {
        first + at: run[at * 32 : at * 32 + 32] for first, run in ledger.known_runs() for at in range(len(run) // 32)
    }


def test_the_same_manifest_has_its_blocks_files_and_names_again() -> None:
    made = files(3 * SIZE, 1)
    replay = replayed(
        Boot(BOOT),
        Blocks(0, digests(1, 2)),
        Name(1, "b (1)"),
        Files(((1, file_id(1, 1, 1)),)),
        Blocks(3, digest(4)),
        manifest=made,
    )
    found = replay.finish(BOOT)
    assert replay.is_same
    assert known(found.ledger) == {0: digest(1), 1: digest(2), 3: digest(4)}
    assert found.names == {1: "b (1)"}
    assert (found.file(0), found.file(1)) == (None, file_id(1, 1, 1))


def test_nothing_at_all_is_known_of_an_empty_journal() -> None:
    replay = Replay(BEGIN, files(SIZE))
    found = replay.finish(BOOT)
    assert (replay.is_same, known(found.ledger), found.names, found.file(0)) == (False, {}, {}, None)


def test_one_that_was_torn_before_its_blocks_is_written_anew() -> None:
    replay = Replay(BEGIN, files(SIZE))
    replay.take(BEGIN, 100)
    assert known(replay.finish(BOOT).ledger) == {}
    assert not replay.is_same


def test_later_records_replace_earlier_ones_and_forgotten_is_forgotten() -> None:
    replay = replayed(
        Boot(BOOT),
        Blocks(0, digests(1, 2, 3)),
        Blocks(1, digest(5)),
        Forgotten(0, 1),
        Blocks(0, digest(6)),
        Forgotten(2, 1),
        manifest=files(3 * SIZE),
    )
    assert known(replay.finish(BOOT).ledger) == {0: digest(6), 1: digest(5)}


def test_what_was_written_by_a_process_that_was_killed_counts() -> None:
    replay = replayed(Boot(BOOT), Blocks(0, digest(1)), Boot(BOOT), Blocks(1, digest(2)), manifest=files(2 * SIZE))
    assert known(replay.finish(BOOT).ledger) == {0: digest(1), 1: digest(2)}


@pytest.mark.parametrize("boot", [ANOTHER_BOOT, b""], ids=["another", "unknown"])
def test_after_a_reboot_only_blocks_that_were_synced_count(boot: bytes) -> None:
    made = files(3 * SIZE)
    records = (Boot(BOOT), Blocks(0, digest(1)), Blocks(1, digest(2)), Synced(400), Name(0, "x"), Blocks(2, digest(3)))
    found = replayed(*records, manifest=made).finish(boot)
    assert known(found.ledger) == {0: digest(1)}  # its record ended at 400: Begin, Entries, Boot, and it
    assert found.names == {0: "x"}


def test_a_boot_that_nobody_could_name_is_not_the_same_as_another_one() -> None:
    replay = replayed(Boot(b""), Blocks(0, digest(1)), manifest=files(SIZE))
    assert known(replay.finish(b"").ledger) == {}
    replay = replayed(Boot(b""), Blocks(0, digest(1)), Boot(b""), manifest=files(SIZE))
    assert known(replay.finish(BOOT).ledger) == {}


def test_what_a_reboot_took_does_not_come_back_with_the_next_sync() -> None:
    records = (Boot(BOOT), Blocks(0, digest(1)), Boot(ANOTHER_BOOT), Blocks(1, digest(2)), Synced(600))
    found = replayed(*records, manifest=files(2 * SIZE)).finish(ANOTHER_BOOT)
    assert known(found.ledger) == {1: digest(2)}


def test_what_a_reboot_took_does_not_come_back_when_the_same_boot_name_does() -> None:
    records = (Boot(BOOT), Blocks(0, digest(1)), Boot(ANOTHER_BOOT), Boot(BOOT))
    assert known(replayed(*records, manifest=files(SIZE)).finish(BOOT).ledger) == {}


def test_a_lost_block_takes_with_it_what_was_there_before() -> None:
    records = (Boot(BOOT), Blocks(0, digest(1)), Synced(400), Blocks(0, digest(2)))
    assert known(replayed(*records, manifest=files(SIZE)).finish(ANOTHER_BOOT).ledger) == {}


def test_what_was_read_counts_after_a_reboot_too() -> None:
    begin = Begin(Side.SENT, PEER, SIZE)
    replay = replayed(Blocks(0, digest(1)), Files(((0, file_id(1, 2, 3, 4)),)), manifest=files(SIZE), begin=begin)
    assert known(replay.finish().ledger) == {0: digest(1)}


@pytest.mark.parametrize("begin", [Begin(Side.SENT, PEER, SIZE), Begin(Side.RECEIVED, PeerId(b"q" * 32), SIZE)])
def test_another_transfers_journal_is_unusable(begin: Begin) -> None:
    with pytest.raises(JournalUnusable, match="another transfer"):
        Replay(BEGIN, files(1)).take(begin, 100)


@pytest.mark.parametrize(
    "records",
    [
        (Boot(BOOT),),
        (Blocks(0, digest(1)),),
        (BEGIN, BEGIN),
        (BEGIN, Begin(Side.RECEIVED, PEER, 3), *entries_of(files(1))),
        (Begin(Side.RECEIVED, PEER, 3), *entries_of(files(1)), Boot(BOOT), Blocks(0, b"")),
        (BEGIN, *entries_of(files(1)), Blocks(1, digest(1))),
        (BEGIN, *entries_of(files(1)), Files(((1, file_id(1, 1, 1)),))),
        (BEGIN, *entries_of(files(1)), Name(1, "x")),
        (BEGIN, *entries_of(files(1)), Name(0, "x"), *entries_of(files(1))),
        (BEGIN, *entries_of(files(1)), *entries_of(files(1)), Name(0, "x")),
    ],
)
def test_a_journal_that_contradicts_itself_is_unusable(records: tuple[Record, ...]) -> None:
    with pytest.raises(JournalUnusable):
        taking(Replay(BEGIN, files(1)), *records)


@pytest.mark.parametrize("records", [(), entries_of(files(1))])
def test_so_is_one_that_ends_before_that_shows(records: Iterable[Record]) -> None:
    replay = Replay(BEGIN, files(1))
    taking(replay, Begin(Side.RECEIVED, PEER, 3), *records)
    with pytest.raises(JournalUnusable):
        replay.finish(BOOT)


def tree(*names: str, size: int = 2 * SIZE) -> Manifest:
    """A folder with files in it."""
    made = Manifest(SIZE)
    made.add(Entry(EntryKind.FOLDER, TOP, "tree"))
    for name in names:
        made.add(Entry(EntryKind.FILE, 0, name, size))
    return made


def test_files_are_found_again_by_their_paths() -> None:
    replay = Replay(BEGIN, tree("new", "b", "d"))
    old = (Boot(BOOT), Name(0, "tree (1)"), Blocks(0, digests(1, 2, 3, 4, 5, 6)), Files(((2, file_id(7, 7, 7)),)))
    taking(replay, BEGIN, *entries_of(tree("a", "b", "c")), *old)
    found = replay.finish(BOOT)
    assert not replay.is_same
    assert known(found.ledger) == {2: digest(3), 3: digest(4)}
    assert found.names == {0: "tree (1)"}
    assert [found.file(entry) for entry in range(4)] == [None, None, file_id(7, 7, 7), None]


@pytest.mark.parametrize(
    ("size", "now", "kept"),
    [
        (3 * SIZE, 3 * SIZE, 3),
        (3 * SIZE, 5 * SIZE, 3),
        (3 * SIZE - 1, 5 * SIZE, 2),  # the last block was a shorter one
        (3 * SIZE, 2 * SIZE, 2),
        (3 * SIZE, 2 * SIZE + 1, 2),
        (3 * SIZE, 0, 0),
        (1, 2, 0),
        (1, 1, 1),
    ],
)
def test_of_a_file_of_another_size_the_blocks_hold_that_are_as_long(size: int, now: int, kept: int) -> None:
    replay = Replay(BEGIN, files(now, SIZE))
    blocks = -(-size // SIZE)
    taking(replay, BEGIN, *entries_of(files(size, SIZE)), Boot(BOOT), Blocks(0, digests(*range(blocks + 1))))
    first = -(-now // SIZE)
    assert known(replay.finish(BOOT).ledger) == {n: digest(n) for n in range(kept)} | {first: digest(blocks)}


def test_nothing_holds_for_blocks_of_another_size() -> None:
    replay = Replay(Begin(Side.RECEIVED, PEER, 2 * SIZE), Manifest(2 * SIZE))
    taking(replay, BEGIN, *entries_of(files(1)), Boot(BOOT), Blocks(0, digest(1)))
    assert known(replay.finish(BOOT).ledger) == {}


def test_what_is_another_kind_of_thing_now_is_not_the_same() -> None:
    old, new = Manifest(SIZE), Manifest(SIZE)
    old.add(Entry(EntryKind.FOLDER, TOP, "x"))
    old.add(Entry(EntryKind.FILE, 0, "f", SIZE))
    new.add(Entry(EntryKind.FILE, TOP, "x", SIZE))
    new.add(Entry(EntryKind.FILE, TOP, "f", SIZE))
    replay = Replay(BEGIN, new)
    taking(replay, BEGIN, *entries_of(old), Boot(BOOT), Name(0, "x (1)"), Blocks(0, digest(1)))
    found = replay.finish(BOOT)
    assert (known(found.ledger), found.names) == ({}, {})


def test_a_stream_that_comes_again_is_found_again() -> None:
    old, new = files(SIZE), files(SIZE, SIZE)
    for made in (old, new):
        made.add(Entry(EntryKind.STREAM, TOP, "stdin"))
    replay = Replay(BEGIN, new)
    taking(replay, BEGIN, *entries_of(old), Boot(BOOT), Blocks(0, digests(1, 2, 3)))
    assert known(replay.finish(BOOT).ledger) == {0: digest(1), 2: digest(2), 3: digest(3)}


def test_a_journal_written_anew_says_the_same() -> None:
    made = files(3 * SIZE, SIZE)
    before = replayed(
        Boot(BOOT),
        Blocks(0, digests(1, 2)),
        Blocks(3, digest(3)),
        Name(1, "x"),
        Files(((1, file_id(1, 1, 1)),)),
        manifest=made,
    ).finish(BOOT)
    replay = Replay(BEGIN, made)
    taking(replay, BEGIN, Boot(BOOT), *before.records())
    after = replay.finish(BOOT)
    assert replay.is_same
    assert known(after.ledger) == known(before.ledger)
    assert (after.names, after.file(0), after.file(1)) == (before.names, None, file_id(1, 1, 1))


def test_there_is_nothing_to_note_of_what_is_not_in_the_manifest() -> None:
    journaled = Journaled(files(1))
    for entry in (-1, 1):
        with pytest.raises(LocalProtocolError):
            journaled.set_file(entry, file_id(1, 1, 1))
        with pytest.raises(LocalProtocolError):
            journaled.set_name(entry, "x")


# Against a model: of each block the last thing that was said, reboots and lost syncs in between.

_STEPS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 7), st.integers(1, 3), st.integers(0, 255)),
    st.tuples(st.just("forget"), st.integers(0, 7), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("sync"), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just("killed"), st.just(0), st.just(0), st.just(0)),
    st.tuples(st.just("reboot"), st.just(0), st.just(0), st.just(0)),
)


@given(st.lists(_STEPS, max_size=30), st.data())
def test_never_a_digest_that_does_not_hold(steps: list[tuple[str, int, int, int]], data: st.DataObject) -> None:
    """Cut anywhere, with or without a reboot then, each known digest is the last one that was said of its block."""
    made = files(10 * SIZE)
    writer, boots = JournalWriter(bytes(16)), itertools.count(1)
    boot = b"boot 0"
    written = JournalWriter.start(bytes(16)) + writer.encode(BEGIN, *entries_of(made), Boot(boot))
    said: list[tuple[int, dict[int, bytes | None]]] = [(0, {})]  # where in the journal, and what then holds at most
    holds: dict[int, bytes | None] = {}
    for step, first, count, number in steps:
        match step:
            case "put":
                written += writer.encode(Blocks(first, digest(number) * count))
                holds |= {n: digest(number) for n in range(first, first + count)}
            case "forget":
                written += writer.encode(Forgotten(first, count))
                holds |= dict.fromkeys(range(first, first + count))
            case "sync":
                written += writer.encode(Synced(len(written)))
            case "killed":
                written += writer.encode(Boot(boot))
            case "reboot":
                boot = b"boot %d" % next(boots)
                written += writer.encode(Boot(boot))
        said.append((len(written), dict(holds)))
    cut = data.draw(st.integers(0, len(written)))
    reader, replay = JournalReader(), Replay(BEGIN, made)
    for record in reader.receive(written[:cut]):
        replay.take(record, reader.end)
    at_most = [truth for end, truth in said if end <= cut][-1]
    found = known(replay.finish(data.draw(st.sampled_from([boot, b"after it"]))).ledger)
    assert all(at_most.get(ordinal) == each for ordinal, each in found.items())
