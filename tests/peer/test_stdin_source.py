import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.ledger import Ledger, block_digest
from p2p_peer.transfer import stdin_source as stdin_source_module
from p2p_peer.transfer.ready_blocks import ReadyBlocks
from p2p_peer.transfer.source import Unsent
from p2p_peer.transfer.stdin_source import WINDOW

from tests.peer.source_reader import SIZE, SourceReader, open_descriptors, small_blocks


class Pipe:
    """Standard input, and the other end of it."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def say(self, data: bytes) -> None:
        assert os.write(self.write_end, data) == len(data)

    def end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        self.end()
        os.close(self.read_end)


Stream = Callable[..., SourceReader]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@pytest.fixture
def stream(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    """Make sources that read standard input in blocks of SIZE, after some files."""
    small_blocks(monkeypatch)
    made: list[SourceReader] = []

    def reader(*paths: Path, theirs: Ledger | None = None, stdin: int = pipe.read_end) -> SourceReader:
        made.append(SourceReader([*paths, "-"], theirs=theirs, stdin=stdin))
        return made[-1]

    yield reader
    for each in made:
        each.end()


@pytest.mark.parametrize("size", [0, 1, SIZE - 1, SIZE, SIZE + 1, 10 * SIZE, 10 * SIZE + 3])
def test_every_byte_once_and_in_order(stream: Stream, pipe: Pipe, size: int) -> None:
    content = os.urandom(size)
    pipe.say(content)
    pipe.end()
    reader = stream().start().drain()
    assert reader.content(0) == content
    assert [len(data) for data in reader.blocks.values()][:-1] == [SIZE] * (len(reader.blocks) - 1)
    assert reader.source.stream_size == size
    assert reader.source.absent == ()
    ledger = Ledger(reader.manifest)
    for ordinal, data in reader.blocks.items():
        ledger.put(ordinal, block_digest(data))
    ledger.end_stream(size)
    assert reader.source.root == ledger.root()


def test_small_pieces_make_whole_blocks(stream: Stream, pipe: Pipe) -> None:
    reader = stream().start()
    content = os.urandom(SIZE)
    for at in range(0, SIZE, 512):
        pipe.say(content[at : at + 512])
    assert reader.next().length == SIZE
    pipe.end()
    assert reader.drain().content(0) == content


def test_after_the_files(stream: Stream, pipe: Pipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(20 * SIZE))
    pipe.say(b"and this")
    pipe.end()
    reader = stream(tmp_path / "file").start().drain()
    assert reader.content(0) == (tmp_path / "file").read_bytes()
    assert reader.blocks[20] == b"and this"


def test_a_file_as_standard_input(stream: Stream, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(3 * SIZE + 1))
    with (tmp_path / "file").open("rb") as file:
        reader = stream(stdin=file.fileno()).start().drain()
    assert reader.content(0) == (tmp_path / "file").read_bytes()


def test_what_cannot_be_read(stream: Stream, tmp_path: Path) -> None:
    """As with `p2p-peer --send - < FOLDER`."""
    (tmp_path / "file").write_bytes(b"this arrives")
    folder = os.open(tmp_path, os.O_RDONLY)
    reader = stream(tmp_path / "file", stdin=folder).start().drain()
    os.close(folder)
    assert reader.content(0) == b"this arrives"
    assert reader.failed == {"stdin": "standard input cannot be read: Is a directory"}
    assert reader.source.stream_size is None
    assert reader.source.absent == ((1, 1),)
    assert len(reader.source.root) == 32


def test_somebody_else_reads_from_it_too(stream: Stream, pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = os.readv, iter([BlockingIOError(11, "Resource temporarily unavailable"), None])

    def readv(*arguments: Any) -> int:
        error = next(calls, None)
        if error is not None:
            raise error
        return real(*arguments)

    monkeypatch.setattr(stdin_source_module.os, "readv", readv)
    pipe.say(b"the rest")
    pipe.end()
    assert stream().start().drain().content(0) == b"the rest"


def test_what_the_other_side_has_is_not_sent(stream: Stream, pipe: Pipe, tmp_path: Path) -> None:
    """As when the same command is run again after a crash."""
    content = os.urandom(3 * SIZE + 5)
    pipe.say(content)
    pipe.end()
    first = stream().start().drain()
    (tmp_path / "again").write_bytes(content[: 2 * SIZE] + b"x" + content[2 * SIZE + 1 :])
    with (tmp_path / "again").open("rb") as file:
        reader = stream(theirs=first.source.ledger, stdin=file.fileno()).start().drain()
    assert list(reader.blocks) == [2]
    assert reader.source.skipped_bytes == 2 * SIZE + 5
    assert reader.source.stream_size == len(content)


# What is kept.


def take_all(reader: SourceReader, count: int) -> list[ReadyBlocks]:
    """Take `count` blocks; they are written."""
    taken = []
    for _ in range(count):
        taken.append(reader.next())
        reader.source.give_back(taken[-1])
    return taken


def test_is_read_no_further_than_the_other_side_can_follow(stream: Stream, tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(os.urandom((WINDOW + 3) * SIZE))
    with (tmp_path / "long").open("rb") as file:
        reader = stream(stdin=file.fileno()).start()
        taken = take_all(reader, WINDOW)
        assert len({id(blocks.buffer) for blocks in taken}) == WINDOW
        assert reader.take() is None
        assert file.tell() == WINDOW * SIZE
        reader.source.acknowledged(2)
        assert {id(reader.next().buffer), id(reader.next().buffer)} == {id(blocks.buffer) for blocks in taken[:2]}
        assert reader.take() is None
        reader.source.acknowledged(WINDOW + 2)
        assert reader.drain().content(0) == (tmp_path / "long").read_bytes()


def test_a_block_that_is_being_written_is_not_overwritten(stream: Stream, pipe: Pipe) -> None:
    """The other side can have it before the pump knows that it is all out."""
    pipe.say(bytes(2 * SIZE))
    reader = stream().start()
    blocks = reader.next()
    reader.source.acknowledged(1)
    assert reader.source._stream is not None
    assert reader.source._stream._free.empty()
    reader.source.give_back(blocks)
    assert not reader.source._stream._free.empty()


@pytest.mark.parametrize("first", [0, 1, 3, 4])
def test_from_a_block_in_the_middle(stream: Stream, pipe: Pipe, first: int) -> None:
    content = os.urandom(5 * SIZE + 100)
    pipe.say(content[: 4 * SIZE + 50])  # and half a block
    reader = stream().start()
    taken = take_all(reader, 3)
    reader.next()  # it is in flight when the channel is lost
    kept = dict(reader.blocks)
    reader.blocks.clear()
    reader.rewind(first)
    pipe.say(content[4 * SIZE + 50 :])
    pipe.end()
    reader.drain()
    assert min(reader.blocks) == first
    assert b"".join((kept | reader.blocks).values()) == content
    assert taken[0].first == 0


def test_on_a_new_channel_when_it_has_ended(stream: Stream, pipe: Pipe, tmp_path: Path) -> None:
    """The files come first, then what was kept."""
    (tmp_path / "file").write_bytes(os.urandom(2 * SIZE))
    pipe.say(b"all of it")
    pipe.end()
    reader = stream(tmp_path / "file").start()
    take_all(reader, 3)
    reader.wait_until(lambda: reader.source.is_done)
    root = reader.source.root
    reader.blocks.clear()
    reader.rewind(1)
    reader.drain()
    assert list(reader.blocks) == [1, 2]
    assert reader.content(1) == b"all of it"
    assert (reader.source.stream_size, reader.source.root) == (9, root)


def test_again_and_again(stream: Stream, pipe: Pipe) -> None:
    content = os.urandom(6 * SIZE + 1)
    pipe.say(content[:SIZE])
    reader = stream().start()
    for number in range(1, 6):
        reader.next()
        reader.rewind(number - 1)
        pipe.say(content[number * SIZE : (number + 1) * SIZE])
        reader.source.give_back(reader.next())
    pipe.say(content[6 * SIZE :])
    pipe.end()
    assert reader.drain().content(0) == content


# Ends.


@pytest.mark.parametrize("waiting_for", ["input", "the other side"])
def test_stopped(stream: Stream, pipe: Pipe, tmp_path: Path, waiting_for: str) -> None:
    before = open_descriptors()
    (tmp_path / "long").write_bytes(bytes((WINDOW + 1) * SIZE))
    with (tmp_path / "long").open("rb") as file:
        pipe.say(b"half a block")
        reader = stream(stdin=pipe.read_end if waiting_for == "input" else file.fileno()).start()
        if waiting_for == "the other side":
            take_all(reader, WINDOW)
        reader.source.stop()
        reader.source.stop()
        reader.source.join()
        assert reader.source.is_over
        assert not reader.source.is_done
    os.fstat(pipe.read_end)  # it is not the source's to close
    assert open_descriptors() == before


@pytest.mark.parametrize("waiting_for", ["input", "the other side"])
def test_a_stream_that_the_other_side_cannot_store(
    stream: Stream, pipe: Pipe, tmp_path: Path, waiting_for: str
) -> None:
    (tmp_path / "long").write_bytes(bytes((WINDOW + 1) * SIZE))
    with (tmp_path / "long").open("rb") as file:
        pipe.say(b"half a block")
        reader = stream(stdin=pipe.read_end if waiting_for == "input" else file.fileno()).start()
        if waiting_for == "the other side":
            take_all(reader, WINDOW)
        reader.source.drop(0)
        reader.drain()
    assert reader.source.absent == ((0, 1),)
    assert reader.source.stream_size is None
    assert not any(isinstance(notice, Unsent) for notice in reader.notices)


def test_a_stream_that_is_not_wanted_is_not_read(pipe: Pipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    pipe.say(b"not this")
    reader = SourceReader([tmp_path / "file", "-"], wanted=((0, 1),), stdin=pipe.read_end).start().drain()
    assert reader.blocks == {0: b"content"}
    assert reader.source.absent == ((1, 1),)
    assert reader.source.stream_size is None
    assert os.read(pipe.read_end, 100) == b"not this"
