import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from p2p_core.wire.journal import Begin, Blocks, Boot, JournalReader, JournalUnusable, Record, Side, Synced
from p2p_peer.transfer import journal as journal_module
from p2p_peer.transfer.journal import Journal

from tests.peer.journals import PATIENCE, PEER, SIZE, digests, folder, no_room, wait_for_syncs

BEGIN = Begin(Side.RECEIVED, PEER, SIZE)
Open = Callable[[], tuple[Journal | None, list[Record]]]


@pytest.fixture
def where(tmp_path: Path) -> Iterator[int]:
    with folder(tmp_path) as descriptor:
        yield descriptor


@pytest.fixture
def opened(where: int) -> Iterator[Open]:
    """Opens the journal in the folder; each is closed in the end."""
    journals: list[Journal] = []

    def begin() -> tuple[Journal | None, list[Record]]:
        records: list[Record] = []
        journal = Journal.open(where, "journal", lambda record, _: records.append(record))
        if journal is not None:
            journals.append(journal)
        return journal, records

    yield begin
    for journal in journals:
        journal.close()


def begun(opened: Open, *records: Record) -> Journal:
    """A new journal with these records."""
    journal, _ = opened()
    assert journal is not None
    journal.replace([BEGIN, *records])
    return journal


def again(opened: Open) -> list[Record]:
    """What another process would read."""
    journal, records = opened()
    assert journal is not None
    journal.close()
    return records


def test_what_is_appended_is_read_at_the_next_opening(opened: Open, tmp_path: Path) -> None:
    journal = begun(opened)
    journal.append(Boot(b"1"))
    journal.append(Blocks(0, digests(1)), Blocks(1, digests(2)))
    journal.close()
    journal, records = opened()
    assert records == [BEGIN, Boot(b"1"), Blocks(0, digests(1)), Blocks(1, digests(2))]
    assert journal is not None
    journal.append(Blocks(2, digests(3)))
    journal.close()
    assert again(opened) == [*records, Blocks(2, digests(3))]
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o600


def test_an_append_is_one_write(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = begun(opened)
    sizes: list[int] = []
    real = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda fd, data: sizes.append(len(data)) or real(fd, data))
    journal.append(Boot(b"1"), Blocks(0, digests(*range(256))))
    assert len(sizes) == 1


def test_what_was_written_by_a_killed_process_is_there(opened: Open, tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from p2p_core.wire.journal import Boot\n"
        "from p2p_peer.transfer.journal import Journal\n"
        "journal = Journal.open(os.open(sys.argv[1], os.O_RDONLY), 'journal', lambda *_: None)\n"
        "journal.replace([Boot(b'1')])\n"
        "journal.append(Boot(b'2'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False, timeout=PATIENCE)
    assert ended.returncode == -9
    assert again(opened) == [Boot(b"1"), Boot(b"2")]


def test_one_at_a_time(opened: Open) -> None:
    journal = begun(opened)
    assert opened() == (None, [])
    journal.close()
    assert opened()[0] is not None


def test_it_is_held_after_it_was_replaced(opened: Open) -> None:
    journal = begun(opened)
    journal.replace([BEGIN, Boot(b"anew")])
    assert opened() == (None, [])
    journal.append(Boot(b"2"))
    journal.close()
    assert again(opened) == [BEGIN, Boot(b"anew"), Boot(b"2")]


def test_who_waited_for_one_that_was_replaced_gets_what_is_there_now(
    opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Between opening and locking it another process replaces the file, and ends."""
    begun(opened, Boot(b"old")).close()
    journal = begun(opened)
    lock = journal_module._lock

    def replace_first(descriptor: int) -> bool:
        monkeypatch.setattr(journal_module, "_lock", lock)
        journal.replace([BEGIN, Boot(b"new")])
        journal.close()
        return lock(descriptor)

    monkeypatch.setattr(journal_module, "_lock", replace_first)
    assert again(opened) == [BEGIN, Boot(b"new")]
    assert os.listdir(tmp_path) == ["journal"]


def test_a_file_system_without_locks(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(journal_module.fcntl, "flock", flock)
    begun(opened, Boot(b"1")).close()
    assert again(opened) == [BEGIN, Boot(b"1")]


def test_truncated_anywhere_it_goes_on_behind_the_last_whole_record(opened: Open, tmp_path: Path) -> None:
    records = [Boot(b"1"), Blocks(0, digests(1)), Blocks(1, digests(2, 3))]
    begun(opened, *records).close()
    whole = (tmp_path / "journal").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "journal").write_bytes(whole[:length])
        journal, left = opened()
        assert journal is not None
        assert left == [BEGIN, *records][: len(left)]
        if left:
            journal.append(Boot(b"again"))
            journal.close()
            assert again(opened) == [*left, Boot(b"again")]
        else:
            journal.replace([BEGIN])
            journal.close()
            assert again(opened) == [BEGIN]


def test_what_stands_behind_a_torn_end_is_cut_off(opened: Open, tmp_path: Path) -> None:
    begun(opened, Boot(b"1")).close()
    with (tmp_path / "journal").open("ab") as file:
        file.write(bytes(3 * 2**20))
    journal, records = opened()
    assert records == [BEGIN, Boot(b"1")]
    assert journal is not None
    journal.append(Boot(b"2"))
    journal.close()
    assert again(opened) == [BEGIN, Boot(b"1"), Boot(b"2")]
    assert (tmp_path / "journal").stat().st_size < 200


@pytest.mark.parametrize("content", [b"another file", b"PWJ\x02" + bytes(100)], ids=["no journal", "a newer version"])
def test_what_is_no_journal_of_ours_is_left_as_it_is(opened: Open, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(JournalUnusable):
        opened()
    assert (tmp_path / "journal").read_bytes() == content


def test_nothing_is_followed_and_nothing_else_is_opened(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.symlink_to("elsewhere")
    with pytest.raises(JournalUnusable, match="no file"):
        opened()
    assert os.listdir(tmp_path) == ["journal"]
    path.unlink()
    path.mkdir()
    with pytest.raises(JournalUnusable, match="no file"):
        opened()
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(JournalUnusable, match="no file"):
        opened()


def test_a_link_where_the_new_one_is_written_is_not_followed(opened: Open, tmp_path: Path) -> None:
    journal, _ = opened()
    (tmp_path / "journal.new").symlink_to("elsewhere")
    assert journal is not None
    journal.replace([BEGIN])
    journal.close()
    assert again(opened) == [BEGIN]
    assert os.listdir(tmp_path) == ["journal"]


def test_the_folder_is_read_only(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr(journal_module.os, "open", refuse)
        with pytest.raises(OSError, match="read-only"):
            opened()


def test_an_append_without_room_leaves_nothing_of_itself(opened: Open, tmp_path: Path) -> None:
    journal = begun(opened, Boot(b"1"))
    size = (tmp_path / "journal").stat().st_size
    for room in range(size, size + 90, 7):
        with no_room(room), pytest.raises(OSError, match="too large"):
            journal.append(Boot(b"2"), Blocks(0, digests(1, 2)))
        assert (tmp_path / "journal").stat().st_size == size
    journal.append(Boot(b"3"))
    journal.close()
    assert again(opened) == [BEGIN, Boot(b"1"), Boot(b"3")]


def test_replacing_without_room_leaves_the_old_one(opened: Open, tmp_path: Path) -> None:
    journal = begun(opened, Boot(b"1"))
    with no_room(100), pytest.raises(OSError, match="too large"):
        journal.replace([BEGIN, Blocks(0, digests(*range(10)))])
    assert os.listdir(tmp_path) == ["journal"]
    journal.append(Boot(b"2"))
    journal.close()
    assert again(opened) == [BEGIN, Boot(b"1"), Boot(b"2")]


def test_an_unreadable_record_closes_the_file(opened: Open, where: int) -> None:
    begun(opened).close()

    def take(*_: object) -> None:
        raise JournalUnusable("not mine")

    with pytest.raises(JournalUnusable):
        Journal.open(where, "journal", take)
    assert again(opened) == [BEGIN]


def test_a_sync_is_noted_when_it_is_through(opened: Open, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gate = threading.Event()
    monkeypatch.setattr(journal_module, "sync_file_system", lambda _: gate.wait(PATIENCE))
    journal = begun(opened, Blocks(0, digests(1)))
    end = (tmp_path / "journal").stat().st_size
    journal.sync()
    journal.sync()  # one at a time
    journal.append(Blocks(1, digests(2)))
    gate.set()
    wait_for_syncs()
    journal.append(Blocks(2, digests(3)))
    journal.sync()
    wait_for_syncs()
    journal.close()
    reader = JournalReader()
    ends = [(record, reader.end) for record in reader.receive((tmp_path / "journal").read_bytes())]
    assert [record for record, _ in ends] == [
        BEGIN, Blocks(0, digests(1)), Blocks(1, digests(2)), Synced(end), Blocks(2, digests(3)), Synced(ends[4][1])
    ]  # fmt: skip


def test_a_sync_that_fails_is_not_noted_and_the_next_may_do_better(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: int) -> None:
        raise OSError(errno.EIO, "the disk")

    journal = begun(opened)
    with monkeypatch.context() as patched:
        patched.setattr(journal_module, "sync_file_system", fail)
        journal.sync()
        wait_for_syncs()
    monkeypatch.setattr(journal_module, "sync_file_system", lambda _: None)
    journal.append(Boot(b"1"))
    journal.sync()
    wait_for_syncs()
    journal.close()
    assert [type(record) for record in again(opened)] == [Begin, Boot, Synced]


def test_nobody_waits_for_a_sync(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It neither keeps the journal locked nor writes to it once it is closed."""
    gate = threading.Event()
    monkeypatch.setattr(journal_module, "sync_file_system", lambda _: gate.wait(PATIENCE))
    journal = begun(opened)
    journal.sync()
    journal.close()
    next_one, records = opened()
    assert next_one is not None
    gate.set()
    wait_for_syncs()
    next_one.close()
    assert again(opened) == records == [BEGIN]


def test_it_is_removed_and_that_somebody_else_did_so_is_fine(opened: Open, tmp_path: Path) -> None:
    journal = begun(opened)
    journal.remove()
    assert not os.listdir(tmp_path)
    journal.close()
    journal = begun(opened)
    (tmp_path / "journal").unlink()
    journal.remove()
    assert opened()[0] is not None
