import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.wire import frames
from p2p_core.wire.frames import HEADER_BYTES, BlocksHeader, Kind
from p2p_core.wire.parts import Parts


def whole(data: bytes, count: int = 1) -> memoryview:
    header = BlocksHeader(1, 0, len(data), bytes(32 * count))
    frame = memoryview(bytearray(header.room) + data)
    header.write(frame)
    return frame


def cut(parts: Parts, sizes: list[int]) -> list[bytes]:
    made = []
    while parts.left:
        made.append(bytes(parts.next(sizes.pop() if sizes else 1)))
    return made


def test_a_frame_that_is_small_enough_is_not_copied() -> None:
    frame = whole(b"data")
    parts = Parts(frame)
    assert parts.left == len(frame)
    assert parts.next(len(frame)) is frame
    assert parts.left == 0


@given(st.binary(min_size=4, max_size=50), st.integers(1, 4), st.lists(st.integers(1, 200)))
def test_the_parts_together_are_the_frame(data: bytes, count: int, sizes: list[int]) -> None:
    frame = whole(data, count)
    before = bytes(frame)
    first, *rest = cut(Parts(frame), sizes)
    assert frames.parse_header(first) == (Kind.BLOCKS, len(first) - HEADER_BYTES)
    for part in rest:
        assert frames.parse_header(part) == (Kind.PART, len(part) - HEADER_BYTES)
    assert first[HEADER_BYTES:] + b"".join(part[HEADER_BYTES:] for part in rest) == before[HEADER_BYTES:]
    assert frame == before  # whoever keeps it can send it again


@given(st.integers(1, 4), st.integers(1, 120))
def test_the_first_has_all_hashes_and_some_data(count: int, size: int) -> None:
    frame = whole(bytes(1000), count)
    first = Parts(frame).next(size)
    assert len(first) == max(size, HEADER_BYTES + frames.BLOCKS_FIXED_BYTES + 32 * count + 1)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_how_much_is_left(size: int) -> None:
    frame = whole(bytes(500))
    parts = Parts(frame)
    cut_off = len(parts.next(100))
    assert parts.left == len(frame) - cut_off
    cut_off += len(parts.next(size)) - HEADER_BYTES
    assert parts.left == len(frame) - cut_off
