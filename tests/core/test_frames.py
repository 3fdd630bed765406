import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.wire import frames
from p2p_core.wire.frames import (
    BLOCK_HEADER_BYTES,
    HEADER_BYTES,
    BlockHeader,
    Cancel,
    FileOffer,
    Frame,
    Kind,
    TextMessage,
)
from p2p_proto import frames_pb2 as pb

from tests.core.wire_strategies import BYTES_32, FRAMES, U32, U64, mutated

OFFER = FileOffer(1, "a", 1, 0o644, 0, limits.MIN_BLOCK_SIZE)


def header(kind: int, length: int) -> bytes:
    return struct.pack(">IB", length, kind)


@given(FRAMES)
def test_a_frame_survives(frame: Frame) -> None:
    data = frames.encode(frame)
    kind, length = frames.parse_header(data)
    assert length == len(data) - HEADER_BYTES
    assert frames.decode(kind, data[HEADER_BYTES:]) == frame


def test_every_kind_of_frame_has_a_kind() -> None:
    assert {kind for kind in Kind if frames.may_be_ignored(kind)} == set()


@given(st.builds(BlockHeader, U32, U32, U64, BYTES_32), st.integers(1, limits.MAX_BLOCK_SIZE))
def test_a_block_header_survives(block: BlockHeader, length: int) -> None:
    data = memoryview(bytearray(HEADER_BYTES + BLOCK_HEADER_BYTES))
    block.write(data, length)
    assert frames.parse_header(data) == (Kind.BLOCK, BLOCK_HEADER_BYTES + length)
    assert BlockHeader.read(data[HEADER_BYTES:]) == block


# Lengths.


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (Kind.KEY_PROOF, limits.MAX_PROOF_FRAME),
        (Kind.MESSAGE, limits.MAX_CONTROL_FRAME),
        (Kind.BLOCK, BLOCK_HEADER_BYTES + limits.MAX_BLOCK_SIZE),
        (0x3F, limits.MAX_CONTROL_FRAME),
        (0x80, limits.MAX_CONTROL_FRAME),
        (0xFF, limits.MAX_CONTROL_FRAME),
    ],
)
def test_no_body_is_longer_than_its_kind_may_be(kind: int, most: int) -> None:
    assert frames.parse_header(header(kind, most)) == (kind, most)
    for length in (most + 1, 2**32 - 1):
        with pytest.raises(Malformed):
            frames.parse_header(header(kind, length))


@pytest.mark.parametrize("length", [0, 1, BLOCK_HEADER_BYTES])
def test_no_block_is_empty(length: int) -> None:
    with pytest.raises(Malformed):
        frames.parse_header(header(Kind.BLOCK, length))


def test_no_frame_is_written_that_would_not_be_read() -> None:
    with pytest.raises(LocalProtocolError):
        frames.encode(TextMessage(1, 1, "x" * limits.MAX_CONTROL_FRAME, b""))


def test_the_longest_message_fits_a_frame() -> None:
    longest = TextMessage(2**64 - 1, 2**64 - 1, "x" * limits.MAX_TEXT_BYTES, bytes(limits.MAX_SIGNATURE_BYTES))
    assert frames.decode(Kind.MESSAGE, frames.encode(longest)[HEADER_BYTES:]) == longest


LONG = {
    "text": (Kind.MESSAGE, pb.TextMessage(text="é" * (limits.MAX_TEXT_BYTES // 2 + 1))),
    "reason of a refusal": (Kind.FILE_ANSWER, pb.FileAnswer(reason="x" * (limits.MAX_REASON_BYTES + 1))),
    "reason of a cancel": (Kind.CANCEL, pb.Cancel(reason="x" * (limits.MAX_REASON_BYTES + 1))),
    "reason of a farewell": (Kind.CLOSE, pb.Close(reason="x" * (limits.MAX_REASON_BYTES + 1))),
    "name": (Kind.FILE_OFFER, pb.FileOffer(block_size=4096, name="x" * (limits.MAX_NAME_BYTES + 1))),
    "size": (Kind.FILE_OFFER, pb.FileOffer(block_size=4096, size=limits.MAX_FILE_BYTES + 1)),
    "block size": (Kind.FILE_OFFER, pb.FileOffer(block_size=limits.MAX_BLOCK_SIZE + 1)),
    "small block size": (Kind.FILE_OFFER, pb.FileOffer(block_size=limits.MIN_BLOCK_SIZE - 1)),
    "short root": (Kind.FILE_END, pb.FileEnd(root=bytes(31))),
}


@pytest.mark.parametrize(("kind", "body"), LONG.values(), ids=LONG)
def test_what_breaks_a_limit_is_refused(kind: Kind, body: pb.TextMessage) -> None:
    with pytest.raises(Malformed):
        frames.decode(kind, body.SerializeToString())


def test_an_offer_is_checked_before_it_is_sent() -> None:
    frames.check_offer(OFFER)
    with pytest.raises(Malformed, match="surrogates"):
        frames.check_offer(FileOffer(1, "\udcff", 1, 0, 0, 4096))


# Kinds.


@pytest.mark.parametrize("kind", [0x00, 0x0E, 0x3F, 0x41, 0x7F, Kind.BLOCK])
def test_an_unknown_kind_is_an_error(kind: int) -> None:
    assert not frames.may_be_ignored(kind)
    with pytest.raises(Malformed):
        frames.decode(kind, b"")


def test_kinds_from_0x80_may_be_ignored() -> None:
    assert all(frames.may_be_ignored(kind) for kind in range(0x80, 0x100))


def test_unknown_fields_are_passed_over() -> None:
    body = frames.encode(Cancel(1, "no"))[HEADER_BYTES:]
    assert frames.decode(Kind.CANCEL, body + b"\xfa\x07\x03abc") == Cancel(1, "no")


# Bytes.


@given(st.integers(0, 255), st.binary(max_size=100))
def test_no_body_breaks_the_reader(kind: int, body: bytes) -> None:
    try:
        frames.decode(kind, body)
    except Malformed:
        return


@given(st.sampled_from(Kind), mutated(FRAMES.map(lambda frame: frames.encode(frame)[HEADER_BYTES:])))
def test_no_altered_body_breaks_the_reader(kind: Kind, body: bytes) -> None:
    try:
        frame = frames.decode(kind, body)
    except Malformed:
        return
    again = frames.encode(frame)  # whatever is read can be written
    assert frames.decode(kind, again[HEADER_BYTES:]) == frame


@given(st.binary(min_size=HEADER_BYTES, max_size=HEADER_BYTES))
def test_no_header_breaks_the_reader(data: bytes) -> None:
    try:
        kind, length = frames.parse_header(data)
    except Malformed:
        return
    assert header(kind, length) == data
