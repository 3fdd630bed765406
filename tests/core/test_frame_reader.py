from collections.abc import Iterable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed, RemoteProtocolError
from p2p_core.ledger import block_digest
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.frames import HEADER_BYTES, BlocksHeader, Done, Frame, KeyProof, Kind, Ping, frame_header
from p2p_core.wire.parts import Parts

from tests.core.wire_strategies import FRAMES, mutated

Seen = Frame | BlocksStart | bytes


def header_of(data: bytes, *, first: int = 0, count: int = 1, length: int | None = None) -> BlocksHeader:
    return BlocksHeader(1, first, len(data) if length is None else length, block_digest(data) * count)


def blocks(data: bytes, header: BlocksHeader | None = None) -> bytes:
    header = header or header_of(data)
    frame = bytearray(header.room) + data
    header.write(memoryview(frame))
    return bytes(frame)


def part(data: bytes) -> bytes:
    return frame_header(Kind.PART, len(data)) + data


def ignorable(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + b"\x80" + body


def read(reader: FrameReader, data: bytes, chunks: Iterable[int] = ()) -> list[Seen]:
    """Feed `data`, at most `chunks` bytes at a time while there are any; return frames, starts, and blocks' data."""
    seen: list[Seen] = []
    sizes = iter(chunks)
    buffer = bytearray()
    at = 0
    while at < len(data):
        space = reader.space()
        if space is None:
            assert isinstance(seen[-1], BlocksStart)
            buffer = bytearray(seen[-1].header.length)
            reader.provide(memoryview(buffer))
            continue
        assert len(space) > 0
        count = min(len(space), len(data) - at, next(sizes, len(data)))
        space[:count] = data[at : at + count]
        at += count
        event = reader.filled(count)
        if event is not None:
            seen.append(bytes(buffer) if isinstance(event, BlocksEnd) else event)
    return seen


def opened() -> FrameReader:
    reader = FrameReader()
    reader.open()
    return reader


@dataclass(frozen=True)
class Talk:
    """What one side sends, and what the other has to see."""

    stream: bytes
    seen: tuple[Seen, ...]


@st.composite
def _blocks_in_parts(draw: st.DrawFn) -> Talk:
    """Blocks, cut anywhere, with any control frames between the parts."""
    data = draw(st.binary(min_size=1, max_size=60))
    header = header_of(data, first=draw(st.integers(0, 2**32 - 9)), count=draw(st.integers(1, min(len(data), 8))))
    parts = Parts(memoryview(blocks(data, header)))
    stream = bytes(parts.next(draw(st.integers(1, header.room + 60))))
    seen: list[Seen] = [BlocksStart(header)]
    while parts.left:
        between = draw(st.lists(FRAMES, max_size=2))
        stream += b"".join(map(frames.encode, between)) + draw(st.just(b"") | st.just(ignorable(b"?")))
        stream += parts.next(draw(st.integers(1, 60)))
        seen += between
    return Talk(stream, (*seen, data))


TALKS = st.lists(
    FRAMES.map(lambda frame: Talk(frames.encode(frame), (frame,)))
    | _blocks_in_parts()
    | st.binary(max_size=20).map(lambda body: Talk(ignorable(body), ())),
    max_size=6,
).map(lambda talks: Talk(b"".join(talk.stream for talk in talks), tuple(seen for talk in talks for seen in talk.seen)))


@given(TALKS, st.lists(st.integers(1, 9)))
def test_whatever_is_said_comes_out_however_it_is_cut(talk: Talk, chunks: list[int]) -> None:
    reader = opened()
    assert read(reader, talk.stream, chunks) == list(talk.seen)
    assert reader.unread == 0
    assert read(reader, frames.encode(Ping(1)), [1] * 100) == [Ping(1)]


@given(st.lists(FRAMES, max_size=6))
def test_every_frame_comes_out_once(sent: list[Frame]) -> None:
    assert read(opened(), b"".join(map(frames.encode, sent)), [3] * 1000) == sent


def test_blocks_come_out_with_their_data() -> None:
    data = b"some data"
    header = header_of(data, first=7, count=3)
    assert read(opened(), blocks(data, header) + frames.encode(Done())) == [BlocksStart(header), data, Done()]


def test_the_largest_blocks() -> None:
    data = bytes(limits.MAX_BLOCK_SIZE)
    header = header_of(data, count=limits.MAX_BATCH_BLOCKS)
    assert read(opened(), blocks(data, header)) == [BlocksStart(header), data]


def test_control_frames_come_between_parts() -> None:
    header = header_of(b"abcdef")
    stream = blocks(b"ab", header) + frames.encode(Ping(1)) + part(b"c") + part(b"de") + frames.encode(Ping(2))
    assert read(opened(), stream + part(b"f")) == [BlocksStart(header), Ping(1), Ping(2), b"abcdef"]


def test_how_much_is_still_to_come() -> None:
    reader = opened()
    assert reader.unread == 0
    stream = blocks(b"abc", header_of(b"abcdef"))
    read(reader, stream[:-3])
    assert reader.unread == 6  # it waits for a buffer
    reader.provide(memoryview(bytearray(6)))
    assert reader.unread == 6
    read(reader, b"ab", [1, 1])
    assert reader.unread == 4
    read(reader, b"c" + frames.encode(Ping(1)))
    assert reader.unread == 3
    assert read(reader, part(b"def")[:-1]) == []
    assert reader.unread == 1


def test_unknown_kinds_that_may_be_ignored_are() -> None:
    stream = ignorable(b"") + frames.encode(Ping(1)) + ignorable(b"abc") + frames.encode(Ping(2))
    assert read(opened(), stream) == [Ping(1), Ping(2)]


@pytest.mark.parametrize("kind", range(0x80, 0x100))
def test_they_may_come_between_parts_too(kind: int) -> None:
    header = header_of(b"abc")
    later = frame_header(kind, 0) + frame_header(kind, 5) + b"later"
    stream = later + blocks(b"a", header) + later + part(b"bc") + later
    assert read(opened(), stream) == [BlocksStart(header), b"abc"]


@pytest.mark.parametrize("kind", sorted(set(range(0x80)) - set(Kind)))
def test_all_other_unknown_kinds_are_refused(kind: int) -> None:
    for stream in (frame_header(kind, 0), frame_header(kind, 5) + b"later"):
        with pytest.raises(Malformed, match="unknown kind"):
            read(opened(), stream)
        with pytest.raises(Malformed, match="unknown kind"):
            read(opened(), blocks(b"a", header_of(b"abc")) + stream)


# Broken rules.


@pytest.mark.parametrize(
    ("stream", "match"),
    [
        (part(b"x"), "a part of 1 bytes where 0 are missing"),
        (blocks(b"whole") + part(b"x"), "where 0 are missing"),
        (blocks(b"ab", header_of(b"abcd")) + part(b"cde"), "a part of 3 bytes where 2 are missing"),
        (blocks(b"ab", header_of(b"abcd")) + part(b"c") + part(b"de"), "a part of 2 bytes where 1 are missing"),
        (blocks(b"ab", header_of(b"abcd")) + blocks(b"cd"), "blocks before 2 bytes of the last ones"),
        (blocks(b"abc", header_of(b"ab")), "3 bytes of data in a frame that announces 2"),
        (blocks(b"", header_of(b"abcd")), "blocks in a frame without data"),
        (blocks(b"abcd", header_of(b"abcd", count=0)), "0 blocks"),
        (blocks(b"x" * 300, header_of(b"x" * 300, count=257)), "257 blocks"),
        (blocks(b"abcd", header_of(b"abcd", length=0)), "1 blocks of 0 bytes"),
        (blocks(b"abcd", header_of(b"abcd", length=limits.MAX_BLOCK_SIZE + 1)), "1 blocks of 1048577 bytes"),
        (blocks(b"abcd") + frame_header(Kind.PART, 0), "a part of 0 bytes"),
        (frame_header(Kind.BLOCKS, 14), "blocks in a frame of 14 bytes"),
        (frame_header(Kind.BLOCKS, 2**24), "blocks in a frame of 16777216 bytes"),
    ],
)
def test_blocks_that_break_the_rules(stream: bytes, match: str) -> None:
    with pytest.raises(Malformed, match=match):
        read(opened(), stream)


def test_a_frame_too_short_for_its_hashes() -> None:
    """It is refused before it could read into the next one."""
    frame = bytearray(blocks(b"abcd", header_of(b"abcd", count=3)))
    frame[:HEADER_BYTES] = frame_header(Kind.BLOCKS, 14 + 3 * 32)
    with pytest.raises(Malformed, match="without data"):
        read(opened(), bytes(frame[: HEADER_BYTES + 14]))


# Before the proof.


def test_a_proof_is_let_through_and_opens_nothing_by_itself() -> None:
    reader = FrameReader()
    proof = KeyProof(bytes(256))
    assert read(reader, frames.encode(proof)) == [proof]
    with pytest.raises(RemoteProtocolError):
        read(reader, frames.encode(Done()))


@pytest.mark.parametrize("stream", [frames.encode(Done()), blocks(b"x"), part(b"x"), ignorable(b"x"), b"\0\0\0\0\x00"])
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
    assert isinstance(read(reader, blocks(b"data")[:-4])[0], BlocksStart)
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


def test_nothing_is_written_into_a_buffer_that_is_full() -> None:
    """From its end on it belongs to whoever gave it."""
    reader = opened()
    buffer = memoryview(bytearray(4))
    read(reader, blocks(b"ab", header_of(b"abcd"))[:-2])
    reader.provide(buffer)
    assert read(reader, b"ab" + frames.encode(Ping(1))) == [Ping(1)]
    assert bytes(buffer) == b"ab\0\0"
    read(reader, part(b"cd") + blocks(b"wxyz")[:-4])
    assert bytes(buffer) == b"abcd"
    reader.provide(memoryview(bytearray(4)))
    read(reader, b"wxyz")
    assert bytes(buffer) == b"abcd"


# Bytes.


@given(st.binary(max_size=200) | mutated(TALKS.map(lambda talk: talk.stream)))
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
