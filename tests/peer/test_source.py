import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import SourceChanged, TransferFailed
from p2p_core.file_root import block_digest
from p2p_peer.transfer import source as source_module
from p2p_peer.transfer.source import BUFFERS, FRAME_ROOM, FileSource, OpenFile, ReadyBlock

from tests.peer.pair import PATIENCE

SIZE = 4096


class Reading:
    """A source, and a way to wait for what its thread does."""

    def __init__(self, path: Path, block_size: int = SIZE, first: int = 0) -> None:
        self._news = threading.Semaphore(0)
        self.file = OpenFile.open(path)
        self.source = FileSource(self.file, block_size, self._news.release, first)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            assert self._news.acquire(timeout=PATIENCE)

    def next(self) -> ReadyBlock:
        self.wait_until(lambda: bool(self.source._ready))
        block = self.source.take()
        assert block is not None
        return block

    def end(self) -> None:
        self.source.stop()
        self.source.join()
        self.file.close()


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Callable[..., Reading]]:
    made: list[Reading] = []

    def read(content: bytes, block_size: int = SIZE, first: int = 0) -> Reading:
        path = tmp_path / "file"
        path.write_bytes(content)
        made.append(Reading(path, block_size, first))
        return made[-1]

    yield read
    for each in made:
        each.end()


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE, SIZE + 1, 10 * SIZE, 10 * SIZE + 3])
def test_every_byte_once_and_in_order(reading: Callable[..., Reading], size: int) -> None:
    content = os.urandom(size)
    read = reading(content)
    read.source.start()
    got = b""
    while not (read.source.is_exhausted and not read.source._ready):
        read.wait_until(lambda: bool(read.source._ready) or read.source.is_exhausted)
        if (block := read.source.take()) is not None:
            data = bytes(block.frame[FRAME_ROOM:])
            assert block.digest == block_digest(data)
            assert block.length == len(data)
            got += data
            read.source.give_back(block)
    assert got == content
    assert read.source.is_done
    assert read.source.error is None
    read.source.join()
    assert read.source.is_over


@pytest.mark.parametrize("first", [1, 9, 10, 11])
def test_from_a_block_in_the_middle(reading: Callable[..., Reading], first: int) -> None:
    content = os.urandom(10 * SIZE + 3)
    read = reading(content, first=first)
    read.source.start()
    got = b""
    while not read.source.is_done:
        read.wait_until(lambda: bool(read.source._ready) or read.source.is_exhausted)
        if (block := read.source.take()) is not None:
            got += block.frame[FRAME_ROOM:]
            read.source.give_back(block)
    assert got == content[first * SIZE :]


def test_reads_ahead_no_further_than_its_buffers(reading: Callable[..., Reading]) -> None:
    read = reading(os.urandom(10 * SIZE))
    read.source.start()
    read.wait_until(lambda: len(read.source._ready) == BUFFERS)
    assert read.source._free.empty()
    blocks = [read.next() for _ in range(BUFFERS)]
    assert len({id(block.buffer) for block in blocks}) == BUFFERS
    assert read.source.take() is None
    read.source.give_back(blocks[0])
    assert read.next().buffer is blocks[0].buffer


def test_a_small_file_takes_little_memory(reading: Callable[..., Reading]) -> None:
    read = reading(b"hello", 1024 * 1024)
    read.source.start()
    assert len(read.next().buffer) == FRAME_ROOM + 5


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize("change", [grow, touch])
def test_a_file_that_changes_while_it_is_read(
    reading: Callable[..., Reading], tmp_path: Path, change: Callable[[Path], None]
) -> None:
    read = reading(os.urandom(2 * BUFFERS * SIZE))
    read.source.start()
    first = read.next()
    change(tmp_path / "file")
    read.source.give_back(first)
    drain(read)
    assert isinstance(read.source.error, SourceChanged)
    assert not read.source.is_done


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
def test_a_file_that_has_more_than_its_size_says() -> None:
    """As those in /proc: nothing of it would arrive, and nobody would know."""
    read = Reading(Path("/proc/self/status"))
    assert read.file.size == 0
    read.source.start()
    drain(read)
    assert isinstance(read.source.error, SourceChanged)
    read.end()


@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_a_file_whose_name_goes_to_another_is_read_to_its_end(
    reading: Callable[..., Reading], tmp_path: Path, how: str
) -> None:
    content = os.urandom(2 * BUFFERS * SIZE)
    read = reading(content)
    read.source.start()
    first = read.next()
    got = [bytes(first.frame[FRAME_ROOM:])]
    if how == "removed":
        (tmp_path / "file").unlink()
    else:
        (tmp_path / "other").write_text("something else")
        (tmp_path / "other").replace(tmp_path / "file")
    read.source.give_back(first)
    for _ in range(2 * BUFFERS - 1):
        block = read.next()
        got.append(bytes(block.frame[FRAME_ROOM:]))
        read.source.give_back(block)
    read.wait_until(lambda: read.source.is_done)
    assert b"".join(got) == content


def test_a_file_that_is_cut_off_while_it_is_read(reading: Callable[..., Reading], tmp_path: Path) -> None:
    read = reading(os.urandom(4 * BUFFERS * SIZE))
    read.source.start()
    first = read.next()
    os.truncate(tmp_path / "file", SIZE)
    read.source.give_back(first)
    drain(read)
    assert isinstance(read.source.error, SourceChanged)
    assert "became shorter" in str(read.source.error)
    assert not read.source.is_done


def drain(read: Reading) -> None:
    """Take blocks until the source ends."""
    while True:
        read.wait_until(lambda: bool(read.source._ready) or read.source.error is not None or read.source.is_exhausted)
        block = read.source.take()
        if block is None:
            return
        read.source.give_back(block)


def test_a_disk_that_fails(reading: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    def preadv(*_: Any) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(source_module.os, "preadv", preadv)
    read = reading(b"hello")
    read.source.start()
    read.wait_until(lambda: read.source.error is not None)
    assert isinstance(read.source.error, TransferFailed)
    assert str(read.source.error).endswith("cannot be read: Input/output error")


def test_short_reads_are_put_together(reading: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.preadv
    monkeypatch.setattr(source_module.os, "preadv", lambda fd, buffers, at: real(fd, [buffers[0][:100]], at))
    content = os.urandom(SIZE)
    read = reading(content)
    read.source.start()
    assert read.next().frame[FRAME_ROOM:] == content


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("when", ["before it starts", "while it waits", "after the end"])
def test_stopped(reading: Callable[..., Reading], when: str) -> None:
    read = reading(os.urandom(SIZE if when == "after the end" else 10 * SIZE))
    before = open_descriptors()
    if when != "before it starts":
        read.source.start()
        read.next()
    if when == "after the end":
        read.wait_until(lambda: read.source.is_exhausted)
    read.source.stop()
    read.source.stop()
    read.source.join()
    assert read.source.is_over
    assert open_descriptors() == before
    assert os.fstat(read.file.descriptor).st_size  # that one is not the source's to close


def test_no_descriptor_is_free(reading: Callable[..., Reading], monkeypatch: pytest.MonkeyPatch) -> None:
    def dup(_: int) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(source_module.os, "dup", dup)
    read = reading(b"hello")
    read.source.start()
    read.wait_until(lambda: read.source.error is not None)
    assert str(read.source.error).endswith("cannot be read: Too many open files")
    assert read.source.is_over


# What may be sent.


def test_what_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"12345")
    path.chmod(0o6751)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    file = OpenFile.open(path)
    file.close()
    assert (file.name, file.size, file.mode, file.mtime_ns) == ("photo.jpg", 5, 0o751, 1_700_000_000_123_456_789)


def test_a_file_older_than_time_itself(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    os.utime(path, ns=(1, -1_000_000_000))
    file = OpenFile.open(path)
    file.check_unchanged()
    file.close()
    assert file.mtime_ns == 0


def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))
    path.write_bytes(b"")
    file = OpenFile.open(path)
    file.close()
    assert file.name == "caf\ufffd.txt"


def missing(path: Path) -> None:
    """There is no file."""


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (missing, "cannot be read: No such file or directory"),
        (Path.mkdir, "is not a file"),
        (os.mkfifo, "is not a file"),  # and opening it does not block
        (lambda path: path.symlink_to("/dev/null"), "is not a file"),
        (lambda path: path.symlink_to(path), "cannot be read: Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    path = tmp_path / "it"
    make(path)
    with pytest.raises(TransferFailed, match=why):
        OpenFile.open(path)
