"""Protobuf, as much of it as is needed (protobuf.dev/programming-guides/encoding)."""

from collections.abc import Iterator

__all__ = ["records", "varint"]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def records(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        value, at = varint(message, at)
        if wire_type == 2:
            assert at + value <= len(message)
            yield number, message[at : at + value]
            at += value
        else:
            assert wire_type == 0
            yield number, value
