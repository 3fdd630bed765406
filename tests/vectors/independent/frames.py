"""The form of a frame, and frames whose body is a protobuf message (channel.md)."""

import struct

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.protobuf import records

__all__ = ["body_of", "check_control"]


def body_of(frame: bytes, kind: int) -> bytes:
    assert struct.unpack_from(">IB", frame) == (len(frame) - 5, kind)
    return frame[5:]


def check_control(frames: dict[str, tuple[int, list[tuple[int, int | bytes]]]]) -> None:
    """Register a check for each of `frames`: its kind, and the fields of its message."""

    @check(*frames)
    def _control(name: str) -> None:
        kind, expected = frames[name]
        assert list(records(body_of(pages.read(name), kind))) == expected
