import io
import os
import queue
from typing import Any

import pytest
from p2p_core.errors import TransferFailed
from p2p_core.identity import PeerId
from p2p_core.ledger import block_digest
from p2p_peer.transfer.block_writer import BlockWriter, Callbacks, Finished
from p2p_peer.transfer.places import Output
from p2p_peer.transfer.stdout_sink import Writable

from tests.peer.pair import PATIENCE
from tests.peer.receiving import BLOCK, Sent


class Little(io.BytesIO):
    """Takes a few bytes at a time, as a pipe may."""

    def write(self, data: Any, /) -> int:
        return super().write(data[:1000])


class Closed(io.BytesIO):
    """A pipe that nobody reads any more."""

    def write(self, data: Any, /) -> int:
        raise BrokenPipeError(32, "Broken pipe")


class Unflushed(io.BytesIO):
    """A full disk that says so late."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


class Writing:
    """A sink that writes to a file, and what it says."""

    def __init__(self, sent: Sent, file: Writable) -> None:
        self.sent = sent
        self.said: queue.SimpleQueue[Any] = queue.SimpleQueue()
        callbacks = Callbacks(
            verified=lambda next_block, length: self.said.put((next_block, length)),
            buffer_free=lambda: None,
            file_failed=lambda entry, error: self.said.put((entry, error)),
            failed=self.said.put,
            finished=self.said.put,
        )
        opened = Output(file).open(sent.manifest, (), PeerId(bytes(32)), callbacks)
        assert (opened.have, opened.there, opened.wanted) == ((), 0, ())
        self.sink: BlockWriter = opened.sink

    def send(self, ordinal: int) -> Any:
        buffer, data = self.sink.take(), self.sent.data(ordinal)
        assert buffer is not None
        buffer[: len(data)] = data
        self.sink.write(buffer, ordinal, block_digest(data), len(data))
        return self.said.get(timeout=PATIENCE)

    def finish(self, absent: Any = ()) -> Any:
        self.sink.finish(absent)
        return self.said.get(timeout=PATIENCE)

    def end(self) -> None:
        self.sink.discard(keep=True)
        self.sink.join()
        assert self.sink.is_over


@pytest.fixture(params=[0, 1, BLOCK, 3 * BLOCK + 1])
def content(request: pytest.FixtureRequest) -> bytes:
    return os.urandom(request.param)


@pytest.fixture(params=["file", "stream"])
def sent(request: pytest.FixtureRequest, content: bytes) -> Sent:
    sent = Sent()
    if request.param == "file":
        sent.file("a", content)
    else:
        sent.stream(content)
    return sent


@pytest.mark.parametrize("kind", [io.BytesIO, Little])
def test_written_in_order(sent: Sent, content: bytes, kind: type[io.BytesIO]) -> None:
    file = kind()
    writing = Writing(sent, file)
    for ordinal in range(sent.blocks):
        assert writing.send(ordinal)[0] == ordinal + 1
        assert file.getvalue() == content[: (ordinal + 1) * BLOCK]
    if sent.manifest.stream is not None:
        writing.sink.stream_ended(len(content))
    finished = writing.finish()
    assert isinstance(finished, Finished)
    assert finished.root == sent.root()
    assert (finished.paths, finished.files, finished.bytes, finished.missing) == ((), 1, len(content), ())
    writing.end()
    assert not file.closed


def one(blocks: int = 2) -> Sent:
    sent = Sent()
    sent.file("a", bytes(blocks * BLOCK))
    return sent


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (Closed(), "standard output cannot be written to: Broken pipe"),
        (Unflushed(), "standard output cannot be written to: No space left on device"),
    ],
)
def test_it_cannot_be_written(file: io.BytesIO, why: str) -> None:
    writing = Writing(one(), file)
    assert str(writing.send(0)) == why
    writing.end()


def test_a_part_is_left_out() -> None:
    writing = Writing(one(3), io.BytesIO())
    writing.send(0)
    assert str(writing.send(2)) == "the other side left out a part of it"
    writing.end()


def test_it_ends_too_early() -> None:
    writing = Writing(one(), io.BytesIO())
    writing.send(0)
    assert str(writing.finish()) == "the other side ended the transfer before all of a had come"
    writing.end()


def test_the_sender_cannot_send_it() -> None:
    writing = Writing(one(), io.BytesIO())
    writing.send(0)
    writing.sink.drop(0)
    finished = writing.finish(((0, 1),))
    assert (finished.files, finished.root) == (0, writing.sent.root(((0, 1),)))
    writing.end()


def test_a_block_that_is_not_what_it_says() -> None:
    file = io.BytesIO()
    writing = Writing(one(), file)
    buffer = writing.sink.take()
    assert buffer is not None
    writing.sink.write(buffer, 0, bytes(32), BLOCK)
    assert str(writing.said.get(timeout=PATIENCE)) == "a block of a did not arrive as it was sent"
    assert file.getvalue() == b""
    writing.end()


def test_only_a_single_file_fits() -> None:
    two, folder, nothing = one(), Sent(), Sent()
    two.file("b", b"")
    folder.folder("c")
    for sent in (two, folder, nothing):
        with pytest.raises(TransferFailed, match="only a single file or stream"):
            Writing(sent, io.BytesIO())
