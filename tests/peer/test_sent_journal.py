import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from p2p_core.identity import PeerId
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_peer.transfer import journal as journal_module
from p2p_peer.transfer import sent_journal as sent_module
from p2p_peer.transfer.sent_journal import SentJournal, clear_old

from tests.peer.journals import PEER, SIZE, digests, files, known, no_room

SECOND = 10**9
DAY = 24 * 3600 * SECOND
MANIFEST = files(a=3 * SIZE, b=1, c=1)
PATHS = (b"/home/a", b"/home/b", b"/home/c")


class Clock:
    """Ten seconds after the files were written, as the kernel says it."""

    def __init__(self, folder: Path) -> None:
        self.now = folder.stat().st_ctime_ns + 10 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for name, size in {"a": 3 * SIZE, "b": 1, "c": 1}.items():
        (folder / name).write_bytes(bytes(size))
    return folder


@pytest.fixture
def clock(source: Path) -> Clock:
    return Clock(source)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


Open = Callable[..., SentJournal]


@pytest.fixture
def opened(state: Path, clock: Clock) -> Iterator[Open]:
    """Opens the journal of sending PATHS; each is closed in the end."""
    journals: list[SentJournal] = []

    def begin(manifest: Manifest = MANIFEST) -> SentJournal:
        journal = SentJournal.open(state, PEER, PATHS, manifest, clock)
        assert journal is not None
        journals.append(journal)
        return journal

    yield begin
    for journal in journals:
        journal.close()


def journal_of(state: Path) -> Path:
    (path,) = (state / "sending").iterdir()
    return path


def holding(journal: SentJournal, source: Path, *names: str) -> list[bool]:
    return [journal.begin_file("abc".index(name), (source / name).stat()) for name in names]


def test_what_was_read_is_known_at_the_next_try(opened: Open, source: Path, state: Path) -> None:
    journal = opened()
    assert holding(journal, source, "a", "b", "c") == [False, False, False]
    journal.put(0, digests(1, 2))
    journal.put(2, digests(3, 4))
    journal.close()
    for _ in range(2):
        journal = opened()
        assert known(journal.ledger) == {0: 1, 1: 2, 2: 3, 3: 4}
        assert holding(journal, source, "a", "b", "c") == [True, True, False]
        journal.close()
    assert (state / "sending").stat().st_mode & 0o777 == 0o700


def test_it_goes_on_where_it_was_interrupted(opened: Open, source: Path) -> None:
    for number, known_before in enumerate([{}, {0: 0}, {0: 0, 1: 1}]):
        journal = opened()
        assert known(journal.ledger) == known_before
        assert holding(journal, source, "a") == [bool(number)]
        journal.put(number, digests(number))
        journal.close()


@pytest.mark.parametrize("change", ["content", "only the time", "another file"])
def test_the_digests_of_a_changed_file_do_not_hold(opened: Open, source: Path, clock: Clock, change: str) -> None:
    journal = opened()
    holding(journal, source, "a", "b")
    journal.put(0, digests(1, 2, 3, 4))
    journal.close()
    before = (source / "a").stat()
    if change == "content":
        with (source / "a").open("r+b") as file:
            file.write(b"new")
        os.utime(source / "a", ns=(before.st_mtime_ns, before.st_mtime_ns))  # somebody hides it
    elif change == "only the time":
        os.utime(source / "a", ns=(0, 0))
    else:
        (source / "new").write_bytes(bytes(3 * SIZE))
        (source / "new").rename(source / "a")
    clock.now += 10 * SECOND
    journal = opened()
    assert holding(journal, source, "a", "b") == [False, True]
    assert known(journal.ledger) == {3: 4}
    journal.put(0, digests(5))
    journal.close()
    journal = opened()
    assert holding(journal, source, "a", "b") == [True, True]
    assert known(journal.ledger) == {0: 5, 3: 4}


def test_a_change_that_was_found_is_not_lost_by_a_crash(opened: Open, source: Path, clock: Clock) -> None:
    """The file is put back as it was: but what was read of it in between must not come back."""
    journal = opened()
    holding(journal, source, "a")
    journal.put(0, digests(1, 2))
    journal.close()
    (source / "a").touch()
    clock.now += 10 * SECOND
    journal = opened()
    holding(journal, source, "a")
    journal.close()
    assert known(opened().ledger) == {}


@pytest.mark.parametrize(("age", "is_journaled"), [(1, False), (2, False), (2.1, True)])
def test_a_file_that_was_just_written_is_not_journaled(
    opened: Open, source: Path, clock: Clock, age: float, is_journaled: bool
) -> None:
    """It might be written to again, without looking different."""
    os.utime(source / "b", ns=(0, 0))  # which is a change, too
    clock.now = (source / "b").stat().st_ctime_ns + int(age * SECOND)
    journal = opened()
    holding(journal, source, "b")
    journal.put(3, digests(4))
    journal.close()
    journal = opened()
    assert known(journal.ledger) == ({3: 4} if is_journaled else {})
    assert holding(journal, source, "b") == [is_journaled]


def test_of_many_files_in_one_run_the_young_ones_are_left_out(opened: Open, source: Path, clock: Clock) -> None:
    (source / "b").touch()
    os.utime(source / "b", ns=(clock.now, clock.now))
    journal = opened()
    holding(journal, source, "a", "b", "c")
    journal.put(2, digests(3, 4, 5))
    journal.close()
    journal = opened()
    assert known(journal.ledger) == {2: 3, 4: 5}
    assert holding(journal, source, "a", "b", "c") == [True, False, True]


def test_what_was_not_begun_is_not_journaled(opened: Open, source: Path) -> None:
    journal = opened()
    holding(journal, source, "b")
    journal.put(0, digests(1, 2, 3, 4, 5))
    journal.close()
    assert known(opened().ledger) == {3: 4}


def test_what_was_journaled_earlier_is_no_reason_to_journal_it_unasked(opened: Open, source: Path) -> None:
    journal = opened()
    holding(journal, source, "a")
    journal.put(0, digests(1))
    journal.close()
    journal = opened()
    journal.put(0, digests(2, 3))
    journal.close()
    assert known(opened().ledger) == {0: 1}


def test_what_is_journaled_already_is_not_written_again(opened: Open, source: Path, state: Path) -> None:
    sizes = set()
    for _ in range(3):
        journal = opened()
        holding(journal, source, "a")
        journal.put(0, digests(1))
        journal.put(1, digests(2))
        journal.close()
        sizes.add(journal_of(state).stat().st_size)
    assert known(opened().ledger) == {0: 1, 1: 2}
    assert len(sizes) == 1


def test_a_file_gets_old_enough_while_it_is_read(opened: Open, source: Path, clock: Clock) -> None:
    clock.now = (source / "a").stat().st_ctime_ns + SECOND
    journal = opened()
    for number in range(3):
        assert holding(journal, source, "a") == [number == 2]
        journal.put(number, digests(number))
        clock.now += SECOND * 3 // 2
    journal.close()
    journal = opened()
    assert holding(journal, source, "a") == [True]
    assert known(journal.ledger) == {1: 1, 2: 2}


def test_a_file_begun_twice_as_after_a_lost_path(opened: Open, source: Path) -> None:
    journal = opened()
    for _ in range(2):
        holding(journal, source, "a")
        journal.put(0, digests(1))
    journal.close()
    assert known(opened().ledger) == {0: 1}


def test_a_stream_is_not_journaled(opened: Open) -> None:
    manifest = files(a=0)
    manifest.add(Entry(EntryKind.STREAM, TOP, "stdin"))
    journal = opened(manifest)
    journal.put(0, digests(1))
    journal.close()
    assert known(opened(manifest).ledger) == {}


def test_empty_files_between_others(opened: Open, source: Path) -> None:
    manifest = files(a=1, empty=0, b=1)
    journal = opened(manifest)
    journal.begin_file(0, (source / "a").stat())
    journal.begin_file(2, (source / "b").stat())
    journal.put(0, digests(1, 2))
    journal.close()
    assert known(opened(manifest).ledger) == {0: 1, 1: 2}


def test_a_tree_that_changed_keeps_what_it_has_in_common(opened: Open, source: Path) -> None:
    journal = opened()
    holding(journal, source, "a", "b", "c")
    journal.put(0, digests(1, 2, 3, 4, 5))
    journal.close()
    journal = opened(files(new=1, a=3 * SIZE, c=1))
    assert known(journal.ledger) == {1: 1, 2: 2, 3: 3, 4: 5}
    assert journal.begin_file(1, (source / "a").stat())
    assert journal.begin_file(2, (source / "c").stat())
    assert not journal.begin_file(0, (source / "b").stat())


def test_any_damage_only_loses_what_comes_behind_it(opened: Open, source: Path, state: Path) -> None:
    journal = opened()
    holding(journal, source, "a", "b", "c")
    journal.put(0, digests(1, 2))
    journal.put(2, digests(3, 4, 5))
    journal.close()
    path, truth = journal_of(state), {0: 1, 1: 2, 2: 3, 3: 4, 4: 5}
    whole = path.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :] for at in range(4, len(whole))]
    for data in damaged:
        path.write_bytes(data)
        journal = opened()
        assert known(journal.ledger).items() <= truth.items()
        assert all(ordinal < 3 for ordinal in known(journal.ledger)) or holding(journal, source, "b") == [True]
        journal.close()


def test_other_arguments_and_other_peers_have_journals_of_their_own(opened: Open, state: Path, clock: Clock) -> None:
    opened()
    for peer, paths in ((PeerId(bytes(32)), PATHS), (PEER, PATHS[:2]), (PEER, (b"/home/a/home/b", PATHS[2]))):
        journal = SentJournal.open(state, peer, paths, MANIFEST, clock)
        assert journal is not None
        journal.close()
    assert len(os.listdir(state / "sending")) == 4


def test_the_same_twice_at_once_is_journaled_once(opened: Open, state: Path, clock: Clock) -> None:
    opened()
    assert SentJournal.open(state, PEER, PATHS, MANIFEST, clock) is None


def test_another_version_is_said_and_left_alone(
    opened: Open, source: Path, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened().close()
    path = journal_of(state)
    path.write_bytes(b"PWJ\x02" + bytes(100))
    journal = opened()
    assert "a newer version" in caplog.text
    holding(journal, source, "b")
    journal.put(3, digests(4))
    journal.close()
    assert path.read_bytes() == b"PWJ\x02" + bytes(100)
    assert known(opened().ledger) == {3: 4}


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("elsewhere"), os.mkfifo])
def test_something_else_in_its_place(opened: Open, state: Path, make: Callable[[Path], None]) -> None:
    opened().close()
    path = journal_of(state)
    path.unlink()
    make(path)
    opened().close()
    assert sorted(os.listdir(state / "sending")) == sorted([path.name, f"{path.stem}-1.journal"])


def test_when_every_place_is_taken_it_goes_without(opened: Open, state: Path, clock: Clock) -> None:
    names = sent_module.journal_names(PEER, PATHS)
    (state / "sending").mkdir(parents=True)
    for name in names:
        (state / "sending" / name).write_bytes(b"something else")
    assert SentJournal.open(state, PEER, PATHS, MANIFEST, clock) is None


def test_a_state_folder_that_cannot_be_written_is_said(
    state: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state.write_text("a file")
    assert SentJournal.open(state, PEER, PATHS, MANIFEST, clock) is None
    assert "is not journaled" in caplog.text
    state.unlink()
    caplog.clear()

    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "read-only")

    real = os.open
    with monkeypatch.context() as patched:
        patched.setattr(
            journal_module.os, "open", lambda *a, **named: refuse() if "dir_fd" in named else real(*a, **named)
        )
        assert SentJournal.open(state, PEER, PATHS, MANIFEST, clock) is None
    assert "read-only" in caplog.text


def test_a_folder_that_others_can_write_to_is_not_used(
    state: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    (state / "sending").mkdir(parents=True)
    (state / "sending").chmod(0o777)
    assert SentJournal.open(state, PEER, PATHS, MANIFEST, clock) is None
    assert f"other users of this computer can write to {state / 'sending'}" in caplog.text
    assert os.listdir(state / "sending") == []


def test_no_room_ends_the_journal_and_not_the_transfer(
    opened: Open, source: Path, state: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with no_room(30):
        assert SentJournal.open(state, PEER, PATHS, MANIFEST, clock) is None
    journal = opened()
    holding(journal, source, "a")
    journal.put(0, digests(1))
    with no_room(journal_of(state).stat().st_size + 5):
        journal.put(1, digests(2))
    assert "not journaled any more" in caplog.text
    journal.put(2, digests(3))
    holding(journal, source, "b")
    journal.close()
    assert known(opened().ledger) == {0: 1}


def test_it_is_removed_when_all_has_arrived(opened: Open, state: Path) -> None:
    journal = opened()
    journal.remove()
    journal.remove()
    journal.close()
    assert not os.listdir(state / "sending")


def test_old_ones_are_cleared_away_unless_they_are_open(opened: Open, state: Path, clock: Clock) -> None:
    opened()
    mine = journal_of(state)
    folder = state / "sending"
    names = ["0123456789abcdef.journal", "0123456789abcdef-3.journal", "0123456789abcdef.journal.new"]
    others = ["notes.journal", "0123456789abcdef.txt"]
    old, recent = clock.now - 31 * DAY, clock.now - 29 * DAY
    for name in [*names, *others]:
        (folder / name).touch()
        os.utime(folder / name, ns=(old, old))
    (folder / "fedcba9876543210.journal").touch()
    os.utime(folder / "fedcba9876543210.journal", ns=(recent, recent))
    (folder / "aaaaaaaaaaaaaaaa.journal").symlink_to(mine)
    (folder / "bbbbbbbbbbbbbbbb.journal").mkdir()
    os.utime(mine, ns=(old, old))
    clear_old(state, clock)
    kept = {mine.name, "fedcba9876543210.journal", "aaaaaaaaaaaaaaaa.journal", "bbbbbbbbbbbbbbbb.journal", *others}
    assert set(os.listdir(folder)) == kept


def test_opening_one_clears_old_ones_away(opened: Open, state: Path, clock: Clock) -> None:
    clear_old(state, clock)  # where there is nothing yet
    opened().close()
    path = journal_of(state)
    os.utime(path, ns=(0, 0))
    journal = SentJournal.open(state, PEER, PATHS[:1], MANIFEST, clock)
    assert journal is not None
    journal.close()
    assert path not in (state / "sending").iterdir()
