import errno
import os
import queue
import stat
import threading
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from p2p_core.errors import TransferFailed, UnsafeName
from p2p_core.file_root import block_digest, block_length
from p2p_core.wire.frames import FileOffer
from p2p_peer.transfer import sink as sink_module
from p2p_peer.transfer.sink import BUFFERS, FileSink, Stored

from tests.peer.pair import PATIENCE, leftovers

SIZE = 4096


def offer(size: int, name: str = "file", mode: int = 0o644, mtime_ns: int = 10**18) -> FileOffer:
    return FileOffer(1, name, size, mode, mtime_ns, SIZE)


class Writing:
    """A sink, and what it calls back."""

    def __init__(self, made: FileOffer, folder: Path) -> None:
        self.said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.buffer_free = threading.Semaphore(0)
        self.offer = made
        self.sink = FileSink(
            made,
            folder,
            verified=self.said.put,
            buffer_free=self.buffer_free.release,
            failed=self.said.put,
        )

    def hear(self) -> Any:
        return self.said.get(timeout=PATIENCE)

    def write(self, index: int, data: bytes, digest: bytes | None = None) -> None:
        buffer = self.sink.take()
        while buffer is None:
            assert self.buffer_free.acquire(timeout=PATIENCE)
            buffer = self.sink.take()
        buffer[: len(data)] = data
        self.sink.write(buffer, len(data), digest or block_digest(data), index * SIZE)

    def write_all(self, content: bytes) -> None:
        for index in range(-(-len(content) // SIZE)):
            data = content[index * SIZE :][: block_length(len(content), SIZE, index)]
            self.write(index, data)
            assert self.hear() == block_digest(data)

    def store(self) -> Any:
        self.sink.store(self.said.put)
        return self.hear()

    def end(self) -> None:
        self.sink.discard()
        self.sink.join()


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Callable[..., Writing]]:
    made: list[Writing] = []

    def write(made_of: FileOffer, folder: Path = tmp_path) -> Writing:
        made.append(Writing(made_of, folder))
        return made[-1]

    yield write
    for each in made:
        each.end()
        assert each.sink.is_over


def failing(number: int) -> Callable[..., Any]:
    """A system call that fails with this error."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("size", [0, 1, SIZE, SIZE + 1, 10 * SIZE + 3])
def test_stored_under_its_name(writing: Callable[..., Writing], tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    written = writing(offer(size))
    written.write_all(content)
    assert len(leftovers(tmp_path)) == 1
    assert not (tmp_path / "file").exists()
    assert written.store() == Stored(tmp_path / "file", size, blake3(content).hexdigest())
    assert (tmp_path / "file").read_bytes() == content
    assert leftovers(tmp_path) == []


def test_mode_and_time_are_kept(writing: Callable[..., Writing], tmp_path: Path) -> None:
    written = writing(offer(0, mode=0o6754, mtime_ns=1_600_000_000_123_456_789))
    written.store()
    status = (tmp_path / "file").stat()
    assert stat.S_IMODE(status.st_mode) == 0o644 & ~sink_module._umask()
    assert status.st_mtime_ns == 1_600_000_000_123_456_789


@pytest.mark.parametrize("mode", [0, 0o222, 0o7000, 0o7777, 2**32 - 1])
def test_neither_a_program_nor_out_of_our_own_reach(writing: Callable[..., Writing], tmp_path: Path, mode: int) -> None:
    writing(offer(0, mode=mode)).store()
    assert (tmp_path / "file").stat().st_mode & 0o7777 == (mode & 0o666 & ~sink_module._umask()) | 0o400


@pytest.mark.parametrize("name", [".bash_profile", ".ssh", "..bash_profile", ". .bash_profile"])
def test_nothing_becomes_a_hidden_file(writing: Callable[..., Writing], tmp_path: Path, name: str) -> None:
    writing(offer(0, name)).store()
    assert [path.name for path in tmp_path.iterdir()] == [name.lstrip(" .")]


def test_a_time_no_clock_can_show(writing: Callable[..., Writing], tmp_path: Path) -> None:
    written = writing(offer(0, mtime_ns=2**64 - 1))
    assert isinstance(written.store(), Stored)


def test_private_while_it_is_written(writing: Callable[..., Writing], tmp_path: Path) -> None:
    writing(offer(1))
    (part,) = tmp_path.iterdir()
    assert stat.S_IMODE(part.stat().st_mode) == 0o600


def test_a_name_that_is_taken_is_left_alone(writing: Callable[..., Writing], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("mine")
    (tmp_path / "a (1).txt").symlink_to("nowhere")
    stored = writing(offer(0, "a.txt")).store()
    assert stored.path == tmp_path / "a (2).txt"
    assert (tmp_path / "a.txt").read_text() == "mine"
    assert (tmp_path / "a (1).txt").is_symlink()


def test_a_folder_full_of_one_name(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module, "MAX_NAMES", 2)
    for name in ("file", "file (1)"):
        (tmp_path / name).write_text("mine")
    failed = writing(offer(0)).store()
    assert isinstance(failed, TransferFailed)
    assert str(failed) == f"{tmp_path} is full of files named file"


def test_where_there_are_no_hard_links(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(sink_module.os, "link", link)
    (tmp_path / "file").write_text("mine")
    written = writing(offer(5))
    written.write_all(b"hello")
    assert written.store().path == tmp_path / "file (1)"
    assert (tmp_path / "file (1)").read_text() == "hello"
    assert (tmp_path / "file").read_text() == "mine"
    assert leftovers(tmp_path) == []


def test_where_names_differ_by_more_than_case_and_composition(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: there "Straße É.txt" is the file "STRASSE é.TXT"."""
    real = os.link

    def folded(name: str) -> str:
        return unicodedata.normalize("NFD", name).casefold()

    def link(source: str, name: str, **where: Any) -> None:
        if folded(name) in [folded(path.name) for path in tmp_path.iterdir()]:
            raise FileExistsError(errno.EEXIST, "File exists")
        real(source, name, **where)

    monkeypatch.setattr(sink_module.os, "link", link)
    (tmp_path / "STRASSE é.TXT").write_text("mine")
    assert writing(offer(0, "Straße É.txt")).store().path == tmp_path / "Straße É (1).txt"
    assert (tmp_path / "STRASSE é.TXT").read_text() == "mine"


def test_a_rename_that_fails_leaves_no_empty_file_under_the_name(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sink_module.os, "link", failing(errno.EPERM))
    monkeypatch.setattr(sink_module.os, "rename", failing(errno.EIO))
    written = writing(offer(0))
    assert str(written.store()) == "file cannot be written: Input/output error"
    written.end()
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_said_only_when_the_file_is_closed(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As network file systems do, and quotas on them: the file never gets its name."""
    real = os.close
    written = writing(offer(5))
    written.write_all(b"hello")
    descriptor = written.sink._descriptor

    def close(closed: int) -> None:
        real(closed)
        if closed == descriptor:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr(sink_module.os, "close", close)
    assert str(written.store()) == "file cannot be written: Disk quota exceeded"
    written.end()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("call", ["fchmod", "utime"])
def test_a_file_system_that_keeps_no_modes_or_times(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(sink_module.os, call, failing(errno.EOPNOTSUPP))
    written = writing(offer(5))
    written.write_all(b"hello")
    assert written.store().path == tmp_path / "file"
    assert (tmp_path / "file").read_text() == "hello"


def test_a_folder_made_read_only_meanwhile(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be linked or removed there any more: a sentence, and no traceback of the thread."""
    for call in ("link", "unlink"):
        monkeypatch.setattr(sink_module.os, call, failing(errno.EROFS))
    written = writing(offer(0))
    assert str(written.store()) == "file cannot be written: Read-only file system"
    written.end()
    assert not (tmp_path / "file").exists()


def test_a_link_that_fails_for_another_reason(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sink_module.os, "link", link)
    written = writing(offer(0))
    assert str(written.store()) == "file cannot be written: Input/output error"
    written.end()
    assert list(tmp_path.iterdir()) == []


def test_a_block_that_is_not_what_it_says(writing: Callable[..., Writing], tmp_path: Path) -> None:
    written = writing(offer(5))
    written.write(0, b"hullo", block_digest(b"hello"))
    failed = written.hear()
    assert isinstance(failed, TransferFailed)
    assert str(failed) == "a block of file did not arrive as it was sent"
    written.end()
    assert list(tmp_path.iterdir()) == []


def test_the_disk_is_full(writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pwrite(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sink_module.os, "pwrite", pwrite)
    written = writing(offer(5))
    written.write(0, b"hello")
    assert str(written.hear()) == "file cannot be written: No space left on device"
    written.end()
    assert list(tmp_path.iterdir()) == []


def test_short_writes_are_continued(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(sink_module.os, "pwrite", lambda fd, data, offset: real(fd, data[:100], offset))
    content = os.urandom(2 * SIZE)
    written = writing(offer(2 * SIZE))
    written.write_all(content)
    written.store()
    assert (tmp_path / "file").read_bytes() == content


@pytest.mark.parametrize("number", [errno.EIO, errno.EDQUOT, errno.ENOSPC, errno.EFBIG, errno.ESTALE])
def test_a_disk_that_fails_in_the_middle(
    writing: Callable[..., Writing], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    written = writing(offer(2 * SIZE))
    written.write(0, bytes(SIZE))
    written.hear()
    monkeypatch.setattr(sink_module.os, "pwrite", failing(number))
    written.write(1, bytes(SIZE))
    assert str(written.hear()) == f"file cannot be written: {os.strerror(number)}"
    written.end()
    assert list(tmp_path.iterdir()) == []


def test_given_up(writing: Callable[..., Writing], tmp_path: Path) -> None:
    written = writing(offer(2 * SIZE))
    written.write(0, bytes(SIZE))
    written.hear()
    written.end()
    assert list(tmp_path.iterdir()) == []


def test_given_up_after_it_was_stored(writing: Callable[..., Writing], tmp_path: Path) -> None:
    written = writing(offer(0))
    written.store()
    written.end()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_the_temporary_file_or_its_folder_is_removed(
    writing: Callable[..., Writing], tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "inbox"
    folder.mkdir()
    written = writing(offer(0), folder)
    next(folder.iterdir()).unlink()
    if what == "folder":
        folder.rmdir()
    assert str(written.store()) == "file cannot be written: No such file or directory"


def test_a_folder_swapped_for_another_gets_nothing(writing: Callable[..., Writing], tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "inbox", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    written = writing(offer(0), folder)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(elsewhere)
    written.store()
    assert list(elsewhere.iterdir()) == []
    assert (tmp_path / "moved" / "file").exists()


@pytest.mark.parametrize("folder", ["nowhere", "a file"])
def test_a_folder_that_is_none(tmp_path: Path, folder: str) -> None:
    (tmp_path / "a file").write_text("")
    with pytest.raises(TransferFailed, match=f"{folder} cannot be written to"):
        Writing(offer(0), tmp_path / folder)


def test_a_folder_that_may_not_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        if flags & os.O_CREAT:  # root may write everywhere
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(sink_module.os, "open", refuse)
    with pytest.raises(TransferFailed, match="cannot be written to: Permission denied"):
        Writing(offer(0), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../file", "/etc/passwd", "..", "", "a\\b"])
def test_a_name_that_means_to_go_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeName):
        Writing(offer(0, name), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name(writing: Callable[..., Writing], tmp_path: Path) -> None:
    for _ in range(3):
        assert isinstance(writing(offer(0, "ä" * 500 + ".txt")).store(), Stored)
    assert len(list(tmp_path.iterdir())) == 3


def test_memory_is_bounded(writing: Callable[..., Writing], monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow disk holds no more than its buffers; `buffer_free` says when there is one again."""
    gate = threading.Event()
    real = os.pwrite

    def pwrite(*arguments: Any) -> int:
        assert gate.wait(PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(sink_module.os, "pwrite", pwrite)
    written = writing(offer(10 * SIZE))
    for index in range(BUFFERS):
        written.write(index, bytes(SIZE))
    assert written.sink.take() is None
    assert not written.buffer_free.acquire(blocking=False)
    gate.set()
    assert written.buffer_free.acquire(timeout=PATIENCE)
    assert written.sink.take() is not None


def test_memory_is_taken_only_when_a_block_comes(writing: Callable[..., Writing]) -> None:
    """Many files may be accepted long before."""
    sink = writing(offer(10 * SIZE)).sink
    assert not sink._free
    assert len([buffer for _ in range(2 * BUFFERS) if (buffer := sink.take()) is not None]) == BUFFERS


def test_a_small_file_takes_little_memory(writing: Callable[..., Writing]) -> None:
    buffer = writing(offer(5)).sink.take()
    assert buffer is not None
    assert len(buffer) == 5
