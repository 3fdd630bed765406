import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.wire import frames
from p2p_core.wire.frames import (
    BLOCKS_FIXED_BYTES,
    BLOCKS_ROOM,
    HEADER_BYTES,
    BlocksHeader,
    Cancel,
    Chosen,
    Frame,
    KeyProof,
    Kind,
    Resume,
    TextMessage,
    TransferEnd,
    TransferOffer,
)
from p2p_proto import frames_pb2 as pb

from tests.core.wire_strategies import BYTES_32, FRAMES, U32, mutated

OFFER = TransferOffer(1, 1, 1, limits.MIN_BLOCK_SIZE)


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


@given(
    U32,
    st.integers(0, limits.MAX_BLOCKS - limits.MAX_BATCH_BLOCKS),
    st.lists(BYTES_32, min_size=1, max_size=limits.MAX_BATCH_BLOCKS),
    st.integers(limits.MAX_BATCH_BLOCKS, 2000),
)
def test_the_header_of_blocks_survives(transfer: int, first: int, digests: list[bytes], length: int) -> None:
    header = BlocksHeader(transfer, first, length, b"".join(digests))
    frame = memoryview(bytearray(header.room + length))
    header.write(frame)
    fixed = frame[HEADER_BYTES:][:BLOCKS_FIXED_BYTES]
    assert frames.parse_header(frame) == (Kind.BLOCKS, len(frame) - HEADER_BYTES)
    assert BlocksHeader.count_in(fixed) == header.count == len(digests)
    assert BlocksHeader.read(fixed, frame[HEADER_BYTES + BLOCKS_FIXED_BYTES : header.room]) == header
    assert header.room <= BLOCKS_ROOM


@pytest.mark.parametrize(
    ("first", "length", "count"),
    [
        (0, 1, 0),
        (0, limits.MAX_BLOCK_SIZE, limits.MAX_BATCH_BLOCKS + 1),
        (0, 0, 1),
        (0, 1, 2),
        (0, limits.MAX_BLOCK_SIZE + 1, 1),
        (limits.MAX_BLOCKS, 1, 1),
        (limits.MAX_BLOCKS - 1, 2, 2),
    ],
)
def test_blocks_that_cannot_be(first: int, length: int, count: int) -> None:
    with pytest.raises(Malformed):
        BlocksHeader.count_in(struct.pack(">IIIH", 1, first, length, count))


# Lengths.


@pytest.mark.parametrize(
    ("kind", "most"),
    [
        (Kind.KEY_PROOF, limits.MAX_PROOF_FRAME),
        (Kind.MESSAGE, limits.MAX_CONTROL_FRAME),
        (Kind.BLOCKS, BLOCKS_ROOM - HEADER_BYTES + limits.MAX_BLOCK_SIZE),
        (Kind.PART, limits.MAX_BLOCK_SIZE - 1),
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


@pytest.mark.parametrize("length", [0, 1, BLOCKS_FIXED_BYTES])
def test_no_blocks_are_empty(length: int) -> None:
    with pytest.raises(Malformed):
        frames.parse_header(header(Kind.BLOCKS, length))


def test_no_part_is_empty() -> None:
    with pytest.raises(Malformed):
        frames.parse_header(header(Kind.PART, 0))


def test_no_frame_is_written_that_would_not_be_read() -> None:
    with pytest.raises(LocalProtocolError):
        frames.encode(TextMessage(1, 1, "x" * limits.MAX_CONTROL_FRAME, b""))


def test_the_longest_message_fits_a_frame() -> None:
    longest = TextMessage(2**64 - 1, 2**64 - 1, "x" * limits.MAX_TEXT_BYTES, bytes(limits.MAX_SIGNATURE_BYTES))
    assert frames.decode(Kind.MESSAGE, frames.encode(longest)[HEADER_BYTES:]) == longest


LONG = {
    "text": (Kind.MESSAGE, pb.TextMessage(text="é" * (limits.MAX_TEXT_BYTES // 2 + 1))),
    "reason of a refusal": (Kind.TRANSFER_ANSWER, pb.TransferAnswer(reason="x" * (limits.MAX_REASON_BYTES + 1))),
    "reason of a cancel": (Kind.CANCEL, pb.Cancel(reason="x" * (limits.MAX_REASON_BYTES + 1))),
    "reason of a farewell": (Kind.CLOSE, pb.Close(reason="x" * (limits.MAX_REASON_BYTES + 1))),
    "reason of a failure": (Kind.FILE_FAILED, pb.FileFailed(reason="x" * (limits.MAX_REASON_BYTES + 1))),
    "size": (Kind.TRANSFER_OFFER, pb.TransferOffer(entries=1, block_size=4096, size=limits.MAX_FILE_BYTES + 1)),
    "block size": (Kind.TRANSFER_OFFER, pb.TransferOffer(entries=1, block_size=limits.MAX_BLOCK_SIZE + 1)),
    "small block size": (Kind.TRANSFER_OFFER, pb.TransferOffer(entries=1, block_size=limits.MIN_BLOCK_SIZE - 1)),
    "no entries": (Kind.TRANSFER_OFFER, pb.TransferOffer(block_size=4096)),
    "entries": (Kind.TRANSFER_OFFER, pb.TransferOffer(entries=limits.MAX_ENTRIES + 1, block_size=4096)),
    "unknown entry": (Kind.ENTRIES, pb.Entries(entries=b"\0\1\4" + bytes(22) + b"a\0")),
    "short root": (Kind.TRANSFER_END, pb.TransferEnd(root=bytes(31))),
    "no hashes": (Kind.HAVE, pb.Have()),
    "half a hash": (Kind.HAVE, pb.Have(digests=bytes(48))),
    "long stream": (Kind.STREAM_END, pb.StreamEnd(size=limits.MAX_FILE_BYTES + 1)),
    "far entry": (Kind.TRANSFER_ANSWER, pb.TransferAnswer(wanted=b"\1" * (limits.MAX_ENTRIES // 8 + 1))),
    "bits of nothing": (Kind.TRANSFER_END, pb.TransferEnd(root=bytes(32), absent=b"\1\0")),
}


@pytest.mark.parametrize(("kind", "body"), LONG.values(), ids=LONG)
def test_what_breaks_a_limit_is_refused(kind: Kind, body: pb.TextMessage) -> None:
    with pytest.raises(Malformed):
        frames.decode(kind, body.SerializeToString())


def test_an_offer_is_checked_before_it_is_sent() -> None:
    frames.check_offer(OFFER)
    with pytest.raises(Malformed, match="files and folders"):
        frames.check_offer(TransferOffer(1, 0, 1, 4096))


# Kinds.


@pytest.mark.parametrize("kind", [*sorted(set(range(0x80)) - set(Kind)), Kind.BLOCKS, Kind.PART])
def test_an_unknown_kind_is_an_error(kind: int) -> None:
    assert not frames.may_be_ignored(kind)
    for body in (b"", b"later"):
        with pytest.raises(Malformed, match="unknown kind"):
            frames.decode(kind, body)


def test_kinds_from_0x80_may_be_ignored() -> None:
    assert all(frames.may_be_ignored(kind) for kind in range(0x80, 0x100))


UNKNOWN_FIELDS = {  # number 127
    "a number": b"\xf8\x07\x05",
    "8 bytes": b"\xf9\x07" + bytes(8),
    "bytes": b"\xfa\x07\x03abc",
    "4 bytes": b"\xfd\x07" + bytes(4),
}


@given(FRAMES.filter(lambda frame: not isinstance(frame, KeyProof | Chosen)), st.sampled_from(sorted(UNKNOWN_FIELDS)))
def test_unknown_fields_are_passed_over(frame: Frame, field: str) -> None:
    data = frames.encode(frame)
    body = UNKNOWN_FIELDS[field] + data[HEADER_BYTES:] + UNKNOWN_FIELDS[field]
    assert frames.decode(data[4], body) == frame


@pytest.mark.parametrize("field", UNKNOWN_FIELDS.values(), ids=UNKNOWN_FIELDS)
def test_unknown_fields_in_what_a_frame_holds_are_passed_over(field: bytes) -> None:
    wanted = b"\x08\x01\x10\x05" + field
    assert frames.decode(Kind.RESUME, b"\x12" + bytes([len(wanted)]) + wanted) == Resume(0, ((1, 5),))


def test_a_known_field_of_another_type_is_an_unknown_one() -> None:
    assert frames.decode(Kind.CANCEL, b"\x0a\x01a\x10\x05") == Cancel(0, "")


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    assert frames.decode(Kind.CANCEL, b"\x08\x01\x08\x03") == Cancel(3, "")


@pytest.mark.parametrize("kind", [Kind.CANCEL, Kind.FILE_FAILED, Kind.TRANSFER_ANSWER, Kind.MESSAGE])
def test_a_text_is_utf_8(kind: Kind) -> None:
    field = {Kind.CANCEL: 2}.get(kind, 3)
    assert frames.decode(kind, bytes([field << 3 | 2, 2]) + "é".encode())
    with pytest.raises(Malformed, match="does not parse"):
        frames.decode(kind, bytes([field << 3 | 2, 2]) + b"\xc3\x28")


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


def test_every_second_of_all_entries_fits_a_frame() -> None:
    every_second = tuple((entry, 1) for entry in range(0, limits.MAX_ENTRIES, 2))
    end = TransferEnd(1, bytes(32), every_second, bytes(limits.MAX_SIGNATURE_BYTES))
    assert frames.decode(Kind.TRANSFER_END, frames.encode(end)[HEADER_BYTES:]) == end


@pytest.mark.parametrize(
    "body",
    [
        pb.Introduction(version=2, public_key=b"key", nonce=bytes(32)),
        pb.Introduction(public_key=b"key", nonce=bytes(32)),
        pb.Introduction(version=1, public_key=b"key", nonce=bytes(31)),
        pb.Introduction(version=1, public_key=b"key", nonce=bytes(32), read_token=bytes(31)),
    ],
)
def test_a_bad_introduction(body: pb.Introduction) -> None:
    with pytest.raises(Malformed):
        frames.decode(frames.Kind.INTRODUCTION, body.SerializeToString())


def test_an_introduction_has_bounds() -> None:
    assert frames.parse_header(frames.frame_header(frames.Kind.INTRODUCTION, limits.MAX_INTRODUCTION))
    for kind, length in ((frames.Kind.INTRODUCTION, limits.MAX_INTRODUCTION + 1), (frames.Kind.CHOSEN, 1)):
        with pytest.raises(Malformed):
            frames.parse_header(frames.frame_header(kind, length))


def test_the_longest_introduction_fits() -> None:
    longest = frames.Introduction(bytes(limits.MAX_PUBLIC_KEY_BYTES), bytes(32), bytes(32))
    kind, length = frames.parse_header(frames.encode(longest)[: frames.HEADER_BYTES])
    assert (kind, length <= limits.MAX_INTRODUCTION) == (frames.Kind.INTRODUCTION, True)
