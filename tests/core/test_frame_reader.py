from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import LocalProtocolError, Malformed, RemoteProtocolError
from p2p_core.file_root import block_digest
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import BlockEnds, BlockStarts, FrameReader
from p2p_core.wire.frames import BLOCK_HEADER_BYTES, HEADER_BYTES, BlockHeader, Done, Frame, KeyProof, Ping

from tests.core.wire_strategies import FRAMES, mutated

Seen = Frame | BlockStarts | bytes


def block(data: bytes, index: int = 0) -> bytes:
    start = bytearray(HEADER_BYTES + BLOCK_HEADER_BYTES)
    BlockHeader(1, 0, index, block_digest(data)).write(memoryview(start), len(data))
    return bytes(start) + data


def ignorable(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + b"\x80" + body


def read(reader: FrameReader, data: bytes, chunks: Iterable[int] = ()) -> list[Seen]:
    """Feed `data`, at most `chunks` bytes at a time while there are any; return frames, block starts and block data."""
    seen: list[Seen] = []
    sizes = iter(chunks)
    buffer = bytearray()
    at = 0
    while at < len(data):
        space = reader.space()
        if space is None:
            assert isinstance(seen[-1], BlockStarts)
            buffer = bytearray(seen[-1].length)
            reader.provide(memoryview(buffer))
            continue
        assert len(space) > 0
        count = min(len(space), len(data) - at, next(sizes, len(data)))
        space[:count] = data[at : at + count]
        at += count
        event = reader.filled(count)
        if event is not None:
            seen.append(bytes(buffer) if isinstance(event, BlockEnds) else event)
    return seen


def opened() -> FrameReader:
    reader = FrameReader()
    reader.open()
    return reader


STREAMS = st.lists(
    FRAMES.map(frames.encode) | st.binary(min_size=1, max_size=50).map(block) | st.binary(max_size=20).map(ignorable),
    max_size=6,
).map(b"".join)


@given(STREAMS, st.lists(st.integers(1, 9)))
def test_chunks_make_no_difference(stream: bytes, chunks: list[int]) -> None:
    assert read(opened(), stream, chunks) == read(opened(), stream)


@given(st.lists(FRAMES, max_size=6))
def test_every_frame_comes_out_once(sent: list[Frame]) -> None:
    assert read(opened(), b"".join(map(frames.encode, sent)), [3] * 1000) == sent


def test_a_block_comes_out_with_its_data() -> None:
    data = b"some data"
    seen = read(opened(), block(data, index=7) + frames.encode(Done()))
    assert seen == [BlockStarts(BlockHeader(1, 0, 7, block_digest(data)), len(data)), data, Done()]


def test_unknown_kinds_that_may_be_ignored_are() -> None:
    stream = ignorable(b"") + frames.encode(Ping(1)) + ignorable(b"abc") + frames.encode(Ping(2))
    assert read(opened(), stream) == [Ping(1), Ping(2)]


# Before the proof.


def test_a_proof_is_let_through_and_opens_nothing_by_itself() -> None:
    reader = FrameReader()
    proof = KeyProof(bytes(256))
    assert read(reader, frames.encode(proof)) == [proof]
    with pytest.raises(RemoteProtocolError):
        read(reader, frames.encode(Done()))


@pytest.mark.parametrize("stream", [frames.encode(Done()), block(b"x"), ignorable(b"x"), b"\0\0\0\0\x00"])
def test_nothing_else_comes_before_the_proof(stream: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="before the key proof"):
        read(FrameReader(), stream)


def test_before_the_proof_the_header_is_enough_to_refuse() -> None:
    with pytest.raises(RemoteProtocolError):
        read(FrameReader(), frames.encode(Ping(1))[:HEADER_BYTES])
    with pytest.raises(Malformed):
        read(FrameReader(), b"\0\0\4\1\1")  # 1025 bytes of proof


def test_after_open_everything_comes() -> None:
    reader = FrameReader()
    read(reader, frames.encode(KeyProof(b"proof")))
    reader.open()
    assert read(reader, frames.encode(Ping(1))) == [Ping(1)]


# Misuse.


def test_a_buffer_is_given_only_when_awaited_and_of_the_right_size() -> None:
    reader = opened()
    with pytest.raises(LocalProtocolError):
        reader.provide(memoryview(bytearray(4)))
    stream = block(b"data")[: HEADER_BYTES + BLOCK_HEADER_BYTES]
    assert isinstance(read(reader, stream)[0], BlockStarts)
    assert reader.space() is None
    with pytest.raises(LocalProtocolError):
        reader.filled(1)
    for size in (3, 5):
        with pytest.raises(LocalProtocolError):
            reader.provide(memoryview(bytearray(size)))
    reader.provide(memoryview(bytearray(4)))
    assert reader.space() is not None
    with pytest.raises(LocalProtocolError):
        reader.provide(memoryview(bytearray(4)))


# Bytes.


@given(st.binary(max_size=200) | mutated(STREAMS))
def test_no_bytes_break_the_reader(stream: bytes) -> None:
    try:
        read(opened(), stream)
    except Malformed:
        return


@given(st.binary(max_size=60))
def test_no_bytes_pass_before_the_proof(stream: bytes) -> None:
    try:
        seen = read(FrameReader(), stream)
    except RemoteProtocolError:
        return
    assert all(isinstance(frame, KeyProof) for frame in seen)
