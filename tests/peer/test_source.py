import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.errors import SourceChanged, TransferFailed
from p2p_core.identity import PeerId
from p2p_core.ledger import Ledger, block_digest
from p2p_core.manifest import EntryKind, Manifest
from p2p_core.ranges import ranges_of
from p2p_core.wire.frames import BLOCKS_ROOM
from p2p_peer.transfer import source_file as source_file_module
from p2p_peer.transfer import tree as tree_module
from p2p_peer.transfer.sent_journal import SentJournal
from p2p_peer.transfer.source import BUFFERS, Grew, Unsent
from p2p_peer.transfer.source_file import SourceFile
from p2p_peer.transfer.tree import SendOptions, scan

from tests.peer.source_reader import SIZE, SourceReader, open_descriptors, small_blocks

AHEAD = 4 * BUFFERS * SIZE  # bytes: more than is read ahead

Read = Callable[..., SourceReader]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[Read]:
    """Make sources that read in blocks of SIZE and are ended."""
    small_blocks(monkeypatch)
    made: list[SourceReader] = []

    def reader(*arguments: Any, **options: Any) -> SourceReader:
        made.append(SourceReader(*arguments, **options))
        return made[-1]

    yield reader
    for each in made:
        each.end()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(AHEAD))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three files; the middle one is read ahead of only in part."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(os.urandom(10))
    (folder / "b").write_bytes(os.urandom(AHEAD))
    (folder / "c").write_bytes(os.urandom(20))
    return folder


def ledger_of(paths: list[Path], manifest: Manifest) -> Ledger:
    """Return what the other side has when it has the files at `paths`, which are in this order."""
    ledger = Ledger(manifest)
    entries = [index for index, entry in enumerate(manifest) if entry.kind is EntryKind.FILE]
    for path, entry in zip(paths, entries, strict=True):
        content = path.read_bytes()
        for number in range(-(-len(content) // manifest.block_size)):
            data = content[number * manifest.block_size :][: manifest.block_size]
            ledger.put(manifest.first_block(entry) + number, block_digest(data))
    return ledger


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE, SIZE + 1, 10 * SIZE, 10 * SIZE + 3])
def test_every_byte_once_and_in_order(read: Read, tmp_path: Path, size: int) -> None:
    (tmp_path / "file").write_bytes(os.urandom(size))
    reader = read([tmp_path / "file"]).start().drain()
    assert reader.content(0) == (tmp_path / "file").read_bytes()
    assert reader.source.is_done
    assert reader.source.error is None
    assert reader.source.absent == ()
    assert reader.source.root == ledger_of([tmp_path / "file"], reader.manifest).root()


def test_a_tree(read: Read, tmp_path: Path) -> None:
    """Large and small files in any order, empty ones and folders among them."""
    chance = random.Random(5)
    files = []
    for number in range(100):
        path = tmp_path / "tree" / chance.choice(["", "sub", "sub/sub"]) / f"{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(chance.randbytes(chance.choice([0, 1, 100, SIZE - 1, SIZE, SIZE + 1, 5 * SIZE + 7])))
        files.append(path)
    reader = read([tmp_path / "tree"]).start().drain()
    found = {
        Path(reader.tree.local_path(index)): reader.content(index)
        for index, entry in enumerate(reader.manifest)
        if entry.kind is EntryKind.FILE
    }
    assert found == {path: path.read_bytes() for path in files}
    assert reader.source.root == ledger_of(list(found), reader.manifest).root()
    assert not reader.notices


def test_small_files_share_a_frame(read: Read, tmp_path: Path) -> None:
    for number in range(600):
        (tmp_path / f"{number:03}").write_bytes(b"ten bytes\n")
    assert read([tmp_path]).start().drain().counts == [limits.MAX_BATCH_BLOCKS, limits.MAX_BATCH_BLOCKS, 88]


def test_a_frame_has_no_more_than_a_block_s_bytes(read: Read, tmp_path: Path) -> None:
    for number, size in enumerate([SIZE // 2, SIZE // 2, 1, SIZE, SIZE - 1, 1, SIZE + 5, 6]):
        (tmp_path / str(number)).write_bytes(bytes(size))
    assert read([tmp_path]).start().drain().counts == [2, 1, 1, 2, 1, 2]


def test_notices_come_before_blocks(read: Read, folder: Path) -> None:
    """Who has the last blocks of a file must hear that it changed before those of the next one come."""
    (folder / "b").write_bytes(bytes(2 * SIZE))
    reader = read([folder])
    theirs = Ledger(reader.manifest)
    theirs.put(2, block_digest(bytes(SIZE)))
    reader = read(reader.tree, theirs=theirs)
    os.utime(folder / "b", (0, 0))
    reader.start().source.join()
    assert reader.take() is None
    notice = reader.source.notices.popleft()
    assert isinstance(notice, Unsent)
    assert (notice.entry, reader.next().first) == (2, 0)


def test_reads_ahead_no_further_than_its_buffers(read: Read, file: Path) -> None:
    reader = read([file]).start()
    blocks = [reader.next() for _ in range(BUFFERS)]
    assert len({id(each.buffer) for each in blocks}) == BUFFERS
    assert reader.take() is None
    reader.source.give_back(blocks[0])
    assert reader.next().buffer is blocks[0].buffer


def test_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    reader = SourceReader([tmp_path / "file"]).start()
    assert len(reader.next().buffer) == BLOCKS_ROOM + 5
    reader.end()


# What is wanted, and what is there.


def test_only_what_is_wanted(read: Read, folder: Path) -> None:
    tree = scan([folder])
    names = [tree.manifest.name(index) for index in range(4)]
    reader = read(tree, wanted=ranges_of([names.index("a"), names.index("c")])).start().drain()
    assert {name: reader.content(names.index(name)) for name in "ac"} == {
        name: (folder / name).read_bytes() for name in "ac"
    }
    assert len(reader.blocks) == 2
    assert reader.source.absent == ((names.index("b"), 1),)


def test_what_the_other_side_has_is_not_sent(read: Read, folder: Path) -> None:
    tree = scan([folder])
    theirs = ledger_of([folder / name for name in "abc"], tree.manifest)
    reader = read(tree, theirs=theirs).start().drain()
    assert reader.blocks == {}
    assert reader.source.skipped_bytes == tree.manifest.total_bytes
    assert reader.source.root == theirs.root()


def test_what_is_other_there_is_sent(read: Read, folder: Path) -> None:
    tree = scan([folder])
    theirs = ledger_of([folder / name for name in "abc"], tree.manifest)
    theirs.put(3, bytes(32))
    theirs.put(7, bytes(32))
    reader = read(tree, theirs=theirs).start().drain()
    assert list(reader.blocks) == [3, 7]
    assert reader.source.skipped_bytes == tree.manifest.total_bytes - 2 * SIZE


def test_what_is_read_before_what_the_other_side_has_goes_out(read: Read, file: Path) -> None:
    """It does not wait until all the rest has been compared."""
    tree = scan([file])
    theirs = ledger_of([file], tree.manifest)
    theirs.put(0, bytes(32))
    reader = read(tree, theirs=theirs)
    seen: list[int] = []
    reader.source._notify = lambda: seen.append(reader.source.skipped_bytes)
    reader.start()
    reader.source.join()
    assert seen[0] == 0
    reader.take()
    assert reader.source.is_done


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Callable[[Manifest], SentJournal]]:
    opened: list[SentJournal] = []

    def open_journal(manifest: Manifest) -> SentJournal:
        for each in opened:
            each.close()
        later = 60 * 10**9  # ns: as if the files had been left alone for a minute
        journal = SentJournal.open(
            tmp_path / "state", PeerId(bytes(32)), [b"/it"], manifest, lambda: time.time_ns() + later
        )
        assert journal is not None
        opened.append(journal)
        return journal

    yield open_journal
    for each in opened:
        each.close()


def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the length of each read but those that look for the end."""
    lengths: list[int] = []
    real = os.preadv

    def preadv(descriptor: int, buffers: tuple[memoryview], offset: int) -> int:
        if len(buffers[0]) > 1:
            lengths.append(len(buffers[0]))
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(source_file_module.os, "preadv", preadv)
    return lengths


def test_what_was_journaled_is_not_read_again(
    read: Read, folder: Path, journal: Callable[[Manifest], SentJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = scan([folder])
    first = read(tree, journal=journal(tree.manifest)).start().drain()
    lengths = blocks_read(monkeypatch)
    again = read(tree, theirs=first.source.ledger, journal=journal(tree.manifest)).start().drain()
    assert again.source.root == first.source.root
    assert again.source.skipped_bytes == tree.manifest.total_bytes
    assert lengths == []


def test_a_file_that_changed_since_it_was_journaled_is_read_again(
    read: Read, folder: Path, journal: Callable[[Manifest], SentJournal], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = scan([folder])
    first = read(tree, journal=journal(tree.manifest)).start().drain()
    (folder / "c").write_bytes(os.urandom(20))
    tree = scan([folder])
    lengths = blocks_read(monkeypatch)
    again = read(tree, theirs=first.source.ledger, journal=journal(tree.manifest)).start().drain()
    assert lengths == [20]
    assert again.blocks == {tree.manifest.blocks - 1: (folder / "c").read_bytes()}


# Files that are not what they were.


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def cut(path: Path) -> None:
    os.truncate(path, SIZE)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(1, 2))


def change_while_read(reader: SourceReader, change: Callable[[Path], None], path: Path) -> None:
    """Change the file when it has been read in part."""
    blocks = reader.start().next()
    while reader.counts[-1:] != [1] or blocks.length != SIZE:
        reader.source.give_back(blocks)
        blocks = reader.next()
    change(path)
    reader.source.give_back(blocks)
    reader.drain()


def change_when_read_again(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Make a change before the first block of a file that has grown is read for the second time."""
    real = SourceFile.read_again

    def read_again(file: SourceFile, space: memoryview, offset: int, digest: bytes) -> None:
        if offset == 0:
            change()
        real(file, space, offset, digest)

    monkeypatch.setattr(SourceFile, "read_again", read_again)


@pytest.mark.parametrize(
    ("change", "why"),
    [(touch, "changed after it was offered"), (rewrite, "changed after"), (cut, "became shorter after it was offered")],
)
def test_a_file_that_changes_while_it_is_read(
    read: Read, folder: Path, change: Callable[[Path], None], why: str
) -> None:
    reader = read([folder])
    change_while_read(reader, change, folder / "b")
    assert why in reader.failed["b"]
    assert str(folder / "b") in reader.failed["b"]
    assert all(isinstance(notice, Unsent) and isinstance(notice.error, SourceChanged) for notice in reader.notices)
    assert reader.source.is_done
    assert reader.source.absent == ((2, 1),)
    assert reader.content(1) == (folder / "a").read_bytes()
    assert reader.content(3) == (folder / "c").read_bytes()
    assert reader.manifest.first_block(3) - 1 not in reader.blocks  # the last one: nobody takes it for whole


def test_a_file_that_grows_while_it_is_read(read: Read, folder: Path) -> None:
    before = (folder / "b").read_bytes()
    reader = read([folder])
    change_while_read(reader, grow, folder / "b")
    assert reader.notices == [Grew(2)]
    assert reader.content(2) == before
    assert reader.source.absent == ()


@pytest.mark.parametrize("size", [0, 1, SIZE, SIZE + 1])
def test_a_file_that_grew_before_it_was_read(read: Read, tmp_path: Path, size: int) -> None:
    path = tmp_path / "log"
    path.write_bytes(bytes(size))
    reader = read([path])
    grow(path)
    reader.start().drain()
    assert reader.notices == [Grew(0)]
    assert reader.content(0) == bytes(size)


@pytest.mark.parametrize("size", [SIZE, AHEAD])
def test_a_file_that_grows_again_while_that_is_looked_at(
    read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "log"
    path.write_bytes(bytes(size))
    reader = read([path])
    grow(path)
    change_when_read_again(monkeypatch, lambda: grow(path))
    reader.start().drain()
    assert path.stat().st_size == size + 8
    assert reader.notices == [Grew(0)]
    assert reader.content(0) == bytes(size)


def test_a_file_that_grows_and_is_written_into_while_it_is_read(read: Read, folder: Path) -> None:
    """Its first bytes are not what was offered, nor what was ever there at once."""

    def grow_and_rewrite(path: Path) -> None:
        grow(path)
        rewrite(path)

    reader = read([folder])
    change_while_read(reader, grow_and_rewrite, folder / "b")
    assert reader.failed == {"b": f"{folder}/b changed after it was offered"}
    assert [type(notice) for notice in reader.notices] == [Unsent]
    assert reader.source.absent == ((2, 1),)
    assert reader.manifest.first_block(3) - 1 not in reader.blocks  # the last one: nobody takes it for whole
    assert reader.content(1) == (folder / "a").read_bytes()
    assert reader.content(3) == (folder / "c").read_bytes()


def test_a_small_file_that_grows_and_is_written_into(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that share a frame with it arrive."""
    (folder / "b").write_bytes(b"small")
    reader = read([folder])
    grow(folder / "b")
    change_when_read_again(monkeypatch, lambda: rewrite(folder / "b"))
    reader.start().drain()
    assert reader.failed == {"b": f"{folder}/b changed after it was offered"}
    assert list(reader.blocks) == [0, 2]
    assert reader.source.absent == ((2, 1),)


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_link(path: Path) -> None:
    path.rename(path.with_name("there"))
    path.symlink_to("there")


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (touch, "changed after it was offered"),
        (cut, "became shorter"),
        (Path.unlink, "cannot be read: No such file or directory"),
        (become_fifo, "is not a file any more"),
        (become_folder, "is not a file any more"),
        (become_link, "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_a_file_that_changed_before_it_was_read(
    read: Read, folder: Path, change: Callable[[Path], None], why: str
) -> None:
    reader = read([folder])
    change(folder / "b")
    reader.start().drain()
    assert list(reader.failed) == ["b"]
    assert why in reader.failed["b"]
    assert reader.content(1) == (folder / "a").read_bytes()
    assert reader.content(3) == (folder / "c").read_bytes()
    assert reader.source.absent == ((2, 1),)


def test_a_folder_that_was_replaced_by_a_link(read: Read, tmp_path: Path) -> None:
    """What is read is below the argument, or nothing is."""
    (tmp_path / "top" / "sub").mkdir(parents=True)
    (tmp_path / "top" / "sub" / "a").write_bytes(b"ours")
    shutil.copytree(tmp_path / "top" / "sub", tmp_path / "elsewhere")
    reader = read([tmp_path / "top"])
    (tmp_path / "top" / "sub").rename(tmp_path / "gone")
    (tmp_path / "top" / "sub").symlink_to("../elsewhere")
    reader.start().drain()
    assert "cannot be read: Not a directory" in reader.failed["a"]
    assert reader.blocks == {}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_a_file_that_has_more_than_its_size_says(read: Read) -> None:
    """As those in /proc: nothing of it would arrive, and nobody would know."""
    reader = read([Path("/proc/self/status")]).start().drain()
    assert "has more bytes than its size says" in reader.failed["status"]
    [notice] = reader.notices
    assert isinstance(notice, Unsent)
    assert isinstance(notice.error, SourceChanged)
    assert notice.error.advice == "Copy it, and send the copy."


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_whose_name_goes_to_another_is_read_to_its_end(read: Read, file: Path, how: str) -> None:
    content = file.read_bytes()

    def change(path: Path) -> None:
        if how == "replaced":
            path.with_name("other").write_text("something else")
            path.with_name("other").replace(path)
        else:
            path.unlink()

    reader = read([file])
    change_while_read(reader, change, file)
    assert reader.content(0) == content
    assert not reader.notices


# Disks.


def test_a_file_that_cannot_be_opened(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who may open everything."""
    real = os.open

    def opening(path: Any, *arguments: Any, **options: Any) -> int:
        if path == "b":
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    reader = read([folder])
    monkeypatch.setattr(tree_module.os, "open", opening)
    reader.start().drain()
    assert reader.failed == {"b": f"{folder}/b cannot be read: Permission denied"}
    assert reader.content(3) == (folder / "c").read_bytes()


def test_a_disk_that_fails(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv

    def preadv(descriptor: int, buffers: tuple[memoryview], offset: int) -> int:
        if offset == 3 * SIZE:
            raise OSError(5, "Input/output error")
        return real(descriptor, buffers, offset)

    monkeypatch.setattr(source_file_module.os, "preadv", preadv)
    reader = read([folder]).start().drain()
    assert reader.failed == {"b": f"{folder}/b cannot be read: Input/output error"}
    assert reader.content(3) == (folder / "c").read_bytes()


def test_short_reads_are_put_together(read: Read, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv
    monkeypatch.setattr(source_file_module.os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:100]], at))
    assert read([file]).start().drain().content(0) == file.read_bytes()


def test_no_descriptor_is_free(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is no file's fault: not each of them is said to be unreadable."""

    def opening(*_: Any, **__: Any) -> int:
        raise OSError(24, "Too many open files")

    reader = read([folder])
    monkeypatch.setattr(tree_module.os, "open", opening)
    reader.start().drain()
    assert isinstance(reader.source.error, TransferFailed)
    assert str(reader.source.error).endswith("cannot be read: Too many open files")
    assert not reader.notices
    assert not reader.source.is_done


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_of_ours_ends_it(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for what never comes."""

    def preadv(*_: Any) -> int:
        raise MemoryError

    monkeypatch.setattr(source_file_module.os, "preadv", preadv)
    reader = read([folder]).start().drain()
    assert str(reader.source.error) == "reading failed: MemoryError()"


# Ends.


@pytest.mark.parametrize("when", ["before it starts", "while it waits", "after the end"])
def test_stopped(read: Read, folder: Path, when: str) -> None:
    reader = read([folder])
    before = open_descriptors()
    if when != "before it starts":
        reader.start()
        reader.next()
    if when == "after the end":
        reader.drain()
    reader.source.stop()
    reader.source.stop()
    reader.source.join()
    assert reader.source.is_over
    assert reader.source.error is None
    assert open_descriptors() == before


def test_stopped_while_it_compares(read: Read, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for no buffer then."""
    tree = scan([file])
    reader = read(tree, theirs=ledger_of([file], tree.manifest))
    real = os.preadv

    def preadv(*arguments: Any) -> int:
        reader.source.stop()
        return real(*arguments)

    monkeypatch.setattr(source_file_module.os, "preadv", preadv)
    reader.start()
    reader.source.join()
    assert reader.source.skipped_bytes == SIZE
    assert not reader.source.is_done


def test_a_file_that_the_other_side_cannot_store(read: Read, folder: Path) -> None:
    reader = read([folder])
    reader.source.drop(2)
    reader.start().drain()
    assert len(reader.blocks) == 2
    assert reader.source.absent == ((2, 1),)
    assert not reader.notices  # the other side knows


def test_a_file_that_the_other_side_cannot_store_any_more(read: Read, folder: Path) -> None:
    reader = read([folder]).start()
    blocks = [reader.next() for _ in range(BUFFERS)]
    reader.source.drop(2)
    for each in blocks:
        reader.source.give_back(each)
    reader.drain()
    assert len(reader.blocks) < reader.manifest.blocks
    assert reader.content(3) == (folder / "c").read_bytes()
    assert reader.source.absent == ((2, 1),)


def test_a_file_that_the_other_side_cannot_store_when_it_has_been_read(read: Read, folder: Path) -> None:
    """The other side has hashed it as well: the root covers it."""
    reader = read([folder])
    reader.start().next()
    reader.source.drop(1)
    reader.drain()
    assert reader.source.absent == ()


# On a new channel.


@pytest.mark.parametrize("first", [0, 1, 5, 16, 17, 18])
def test_from_a_block_in_the_middle(read: Read, folder: Path, first: int) -> None:
    whole = read([folder]).start().drain()
    assert whole.manifest.blocks == 18
    reader = read([folder]).start()
    for _ in range(3):
        reader.source.give_back(reader.next())
    reader.drain()
    reader.blocks.clear()
    reader.rewind(first)
    reader.drain()
    assert reader.blocks == {ordinal: data for ordinal, data in whole.blocks.items() if ordinal >= first}
    assert reader.source.root == whole.source.root


def test_again_and_again_while_it_reads(read: Read, folder: Path) -> None:
    before = open_descriptors()
    reader = read([folder]).start()
    for first in (0, 1, 1, 0):
        reader.next()
        reader.rewind(first)
    reader.rewind(1)  # before anything has come of the one before
    reader.drain()
    assert reader.source.root == read([folder]).start().drain().source.root
    assert open_descriptors() == before


def test_from_a_block_that_was_not_reached(read: Read, folder: Path) -> None:
    """Nobody asks for that; the root covers what is before it all the same."""
    reader = read([folder]).start()
    reader.rewind(17)
    reader.drain()
    assert reader.source.root == read([folder]).start().drain().source.root


def test_what_was_said_of_a_file_is_not_said_again(read: Read, folder: Path) -> None:
    reader = read([folder])
    grow(folder / "b")
    touch(folder / "a")
    reader.start().drain()
    reader.rewind(0)
    reader.drain()
    assert [type(notice) for notice in reader.notices] == [Unsent, Grew]
    assert reader.source.absent == ((1, 1),)


def test_what_was_said_and_not_heard_is_not_lost(read: Read, folder: Path) -> None:
    reader = read([folder])
    touch(folder / "a")
    reader.start()
    reader.wait_until(lambda: bool(reader.source.notices))
    reader.rewind(0)
    reader.drain()
    assert list(reader.failed) == ["a"]


def test_what_the_other_side_has_is_counted_once(read: Read, folder: Path) -> None:
    tree = scan([folder], SendOptions())
    reader = read(tree, theirs=ledger_of([folder / name for name in "abc"], tree.manifest)).start().drain()
    reader.rewind(5)
    reader.drain()
    assert reader.source.skipped_bytes == tree.manifest.total_bytes


def test_an_error_of_the_whole_outlasts_the_channel(read: Read, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opening(*_: Any, **__: Any) -> int:
        raise OSError(24, "Too many open files")

    reader = read([folder])
    with monkeypatch.context() as patch:
        patch.setattr(tree_module.os, "open", opening)
        reader.start().drain()
    reader.rewind(0)
    reader.drain()
    assert "Too many open files" in str(reader.source.error)
