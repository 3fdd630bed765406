import errno
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from p2p_core.identity import PeerId
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.wire.journal import Begin, Blocks, Boot, JournalReader, JournalUnusable, JournalWriter, Side
from p2p_peer.transfer import journal as journal_module
from p2p_peer.transfer import received_journal as received_module
from p2p_peer.transfer.received_journal import ReceivedJournal, staging_names

from tests.peer.journals import PEER, SIZE, digests, files, folder, known, no_room, wait_for_syncs

BOOT, ANOTHER_BOOT = b"a boot", b"another boot"
MANIFEST = files(a=3 * SIZE, b=1)
Open = Callable[..., ReceivedJournal]


@pytest.fixture
def staging(tmp_path: Path) -> Iterator[int]:
    with folder(tmp_path) as descriptor:
        yield descriptor


@pytest.fixture
def opened(staging: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens the journal in the folder, on a disk that syncs at once; each is closed in the end."""
    monkeypatch.setattr(journal_module, "sync_file_system", lambda _: None)
    monkeypatch.setattr(received_module, "sync_file_system", lambda _: None)
    journals: list[ReceivedJournal] = []

    def begin(manifest: Manifest = MANIFEST, boot: bytes = BOOT) -> ReceivedJournal:
        journal = ReceivedJournal.open(staging, PEER, manifest, boot=boot)
        assert journal is not None
        journals.append(journal)
        return journal

    yield begin
    for journal in journals:
        journal.close()


def left_by(journal: ReceivedJournal) -> None:
    """Its process is killed."""
    journal.close()


def test_a_new_transfer_knows_nothing(opened: Open) -> None:
    journal = opened()
    assert (known(journal.ledger), journal.names, journal.was_placed(0)) == ({}, {}, False)


def test_after_a_crash_all_is_known_again(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    status = (tmp_path / "f").stat()
    journal = opened()
    journal.put(0, digests(1, 2))
    journal.name(1, "b (1)")
    journal.place([(1, status)])
    journal.put(3, digests(4))
    left_by(journal)
    for _ in range(3):
        journal = opened()
        assert known(journal.ledger) == {0: 1, 1: 2, 3: 4}
        assert journal.names == {1: "b (1)"}
        assert (journal.was_placed(0), journal.was_placed(1)) == (False, True)
        left_by(journal)


def test_after_a_reboot_only_what_was_synced_is(opened: Open) -> None:
    journal = opened()
    journal.put(0, digests(1))
    journal.sync()
    wait_for_syncs()
    journal.put(1, digests(2))
    journal.name(0, "a (1)")
    left_by(journal)
    journal = opened(boot=ANOTHER_BOOT)
    assert (known(journal.ledger), journal.names) == ({0: 1}, {0: "a (1)"})
    journal.put(2, digests(3))
    left_by(journal)
    assert known(opened(boot=ANOTHER_BOOT).ledger) == {0: 1, 2: 3}


def test_a_sync_after_a_crash_covers_what_the_killed_process_wrote(opened: Open) -> None:
    journal = opened()
    journal.put(0, digests(1))
    left_by(journal)
    journal = opened()
    journal.sync()
    wait_for_syncs()
    left_by(journal)
    assert known(opened(boot=ANOTHER_BOOT).ledger) == {0: 1}


def test_this_computers_boot_is_the_same_until_the_next(staging: int) -> None:
    for expected in ({}, {0: 1}):
        journal = ReceivedJournal.open(staging, PEER, MANIFEST)
        assert journal is not None
        assert known(journal.ledger) == expected
        journal.put(0, digests(1))
        journal.close()


def test_what_was_forgotten_stays_so_after_any_end(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(journal_module.os, "fsync", synced.append)
    journal = opened()
    journal.put(0, digests(1, 2))
    journal.sync()
    wait_for_syncs()
    left_by(journal)
    journal = opened()
    assert not synced
    journal.forget(0, 1)
    assert synced  # before anybody overwrites the block
    assert known(journal.ledger) == {1: 2}
    left_by(journal)
    assert known(opened(boot=ANOTHER_BOOT).ledger) == {1: 2}


def test_a_placed_file_is_known_by_what_it_is(opened: Open, tmp_path: Path) -> None:
    path = tmp_path / "temporary"
    path.write_bytes(b"x")
    os.utime(path, ns=(10**18, 10**18))
    journal = opened()
    journal.place([(1, path.stat())])
    left_by(journal)
    path = path.rename(tmp_path / "b")  # a crash may come before or after this
    journal = opened()
    assert journal.is_placed(1, path.stat())
    assert not journal.is_placed(0, path.stat())
    path.write_bytes(b"y")  # the user's now
    assert not journal.is_placed(1, path.stat())
    assert journal.was_placed(1)
    (tmp_path / "another").write_bytes(b"x")
    os.utime(tmp_path / "another", ns=(10**18, 10**18))
    assert not journal.is_placed(1, (tmp_path / "another").stat())


def test_a_placed_folder_is_the_same_whatever_is_in_it(opened: Open, tmp_path: Path) -> None:
    manifest = Manifest(SIZE)
    manifest.add(Entry(EntryKind.FOLDER, TOP, "tree"))
    path = tmp_path / "tree"
    path.mkdir()
    journal = opened(manifest)
    journal.place([(0, path.stat())])
    left_by(journal)
    for place_again in (True, False):
        (path / "file").touch()
        os.utime(path, ns=(0, place_again))
        journal = opened(manifest)
        assert journal.is_placed(0, path.stat())
        assert not journal.is_placed(0, tmp_path.stat())
        journal.place([(0, tmp_path.stat())])
        assert journal.is_placed(0, tmp_path.stat())
        journal.place([(0, path.stat())])
        left_by(journal)


def test_a_changed_offer_keeps_what_it_has_in_common(opened: Open) -> None:
    journal = opened()
    journal.put(0, digests(1, 2, 3, 4))
    left_by(journal)
    changed = files(new=SIZE, a=2 * SIZE, b=1)
    for _ in range(2):
        journal = opened(changed)
        assert known(journal.ledger) == {1: 1, 2: 2, 3: 4}
        left_by(journal)
    assert known(opened(changed, ANOTHER_BOOT).ledger) == {1: 1, 2: 2, 3: 4}  # written anew, it was all synced


def test_a_changed_offer_syncs_first_where_there_is_something_to_lose(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    journal = opened()
    monkeypatch.setattr(received_module, "sync_file_system", synced.append)
    left_by(journal)
    left_by(opened(files(a=1)))
    assert not synced
    journal = opened()
    journal.put(0, digests(1))
    left_by(journal)
    left_by(opened(files(a=3 * SIZE)))
    assert len(synced) == 1


@pytest.mark.parametrize("boot", [BOOT, ANOTHER_BOOT])
def test_any_damage_only_loses_what_comes_behind_it(opened: Open, tmp_path: Path, boot: bytes) -> None:
    """Truncated at every byte, then with every byte changed; and each time one goes on in what is left."""
    journal = opened()
    journal.put(0, digests(1, 2))
    journal.sync()
    wait_for_syncs()
    journal.put(2, digests(3))
    journal.put(3, digests(4))
    left_by(journal)
    path = tmp_path / "journal"
    whole = path.read_bytes()
    truth = {0: 1, 1: 2, 2: 3, 3: 4}
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 0x11]) + whole[at + 1 :] for at in range(4, len(whole))]
    for data in damaged:
        path.write_bytes(data)
        journal = opened(boot=boot)
        before = known(journal.ledger)
        assert before.items() <= truth.items()
        journal.put(3, digests(9))
        left_by(journal)
        journal = opened(boot=boot)
        assert known(journal.ledger) == before | {3: 9}
        left_by(journal)
    path.write_bytes(whole)
    assert known(opened(boot=boot).ledger) == (truth if boot == BOOT else {0: 1, 1: 2})


@pytest.mark.parametrize(
    "content",
    [
        b"something else",
        b"PWJ\x02" + bytes(200),
        JournalWriter.start(bytes(16)) + JournalWriter(bytes(16)).encode(Begin(Side.RECEIVED, PeerId(bytes(32)), SIZE)),
        JournalWriter.start(bytes(16)) + JournalWriter(bytes(16)).encode(Begin(Side.SENT, PEER, SIZE)),
        JournalWriter.start(bytes(16)) + JournalWriter(bytes(16)).encode(Boot(b"")),
    ],
    ids=["no journal", "a newer version", "another sender's", "the other side's", "without a beginning"],
)
def test_another_journal_is_neither_used_nor_changed(
    staging: int, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "journal").write_bytes(content)
    with pytest.raises(JournalUnusable) as raised:
        ReceivedJournal.open(staging, PEER, MANIFEST, boot=BOOT)
    assert str(raised.value) in caplog.text
    assert os.listdir(tmp_path) == ["journal"]
    assert (tmp_path / "journal").read_bytes() == content
    with pytest.raises(JournalUnusable):  # nor is it held
        ReceivedJournal.open(staging, PEER, MANIFEST, boot=BOOT)


def test_an_empty_file_and_half_a_beginning_are_a_new_journal(opened: Open, tmp_path: Path) -> None:
    for content in (b"", b"PWJ", b"PWJ\x01" + bytes(16)):
        (tmp_path / "journal").write_bytes(content)
        journal = opened()
        assert known(journal.ledger) == {}
        journal.put(0, digests(1))
        left_by(journal)
        journal = opened()
        assert known(journal.ledger) == {0: 1}
        left_by(journal)


def test_the_same_transfer_twice_at_once(opened: Open, staging: int) -> None:
    opened()
    assert ReceivedJournal.open(staging, PEER, MANIFEST) is None


def test_no_room_to_begin(staging: int, tmp_path: Path) -> None:
    with no_room(30), pytest.raises(OSError, match="too large"):
        ReceivedJournal.open(staging, PEER, MANIFEST, boot=BOOT)
    assert (tmp_path / "journal").read_bytes() == b""
    assert os.listdir(tmp_path) == ["journal"]


def test_no_room_to_go_on(opened: Open, tmp_path: Path) -> None:
    journal = opened()
    journal.put(0, digests(1))
    with no_room((tmp_path / "journal").stat().st_size + 5), pytest.raises(OSError, match="too large"):
        journal.put(1, digests(2))
    left_by(journal)
    assert known(opened().ledger) == {0: 1}


def test_a_read_only_folder(staging: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr(journal_module.os, "open", refuse)
        with pytest.raises(OSError, match="read-only"):
            ReceivedJournal.open(staging, PEER, MANIFEST)


def test_a_folder_or_a_link_in_its_place(staging: int, tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(JournalUnusable):
        ReceivedJournal.open(staging, PEER, MANIFEST)
    (tmp_path / "journal").rmdir()
    (tmp_path / "journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalUnusable):
        ReceivedJournal.open(staging, PEER, MANIFEST)
    assert os.listdir(tmp_path) == ["journal"]


def test_it_is_removed_with_its_transfer(opened: Open, tmp_path: Path) -> None:
    opened().remove()
    assert not os.listdir(tmp_path)


def test_an_append_for_each_call(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nothing is lost with the process."""
    journal = opened()
    writes: list[int] = []
    real = os.write
    monkeypatch.setattr(journal_module.os, "write", lambda fd, data: writes.append(1) or real(fd, data))
    journal.put(0, digests(1, 2, 3))
    journal.place([(0, tmp_path.stat()), (1, tmp_path.stat())])
    assert len(writes) == 2
    left_by(journal)
    reader = JournalReader()
    assert Blocks(0, digests(1, 2, 3)) in list(reader.receive((tmp_path / "journal").read_bytes()))


def test_staging_folders_are_named_by_sender_and_what_is_sent() -> None:
    def first(manifest: Manifest, peer: PeerId = PEER) -> str:
        return next(staging_names(peer, manifest))

    name = first(MANIFEST)
    assert re.fullmatch(r"\.punchwire-[0-9a-f]{16}", name)
    assert first(files(b=5, a=2)) == name  # whatever is in them, and in any order
    assert len({name, first(files(a=1)), first(files(ab=1)), first(MANIFEST, PeerId(bytes(32)))}) == 4
    inside = Manifest(SIZE)
    inside.add(Entry(EntryKind.FOLDER, TOP, "a"))
    inside.add(Entry(EntryKind.FOLDER, TOP, "b"))
    inside.add(Entry(EntryKind.FILE, 0, "anything", 1))
    assert first(inside) == name
    all_names = list(staging_names(PEER, MANIFEST))
    assert (all_names[0], all_names[1], len(set(all_names))) == (name, f"{name}-1", 16)
