"""The field encoding (identity.md)."""

import struct

from tests.vectors import pages
from tests.vectors.independent.checks import check

__all__ = ["VERSION", "fields_of", "join", "x"]


def fields_of(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        at += 4
        assert at + length <= len(data)
        found.append(data[at : at + length])
        at += length
    return found


def join(label: str, *fields: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in (label.encode(), *fields))


VERSION = b"\x00\x01"


def x(byte: int, count: int = 32) -> bytes:
    return bytes([byte] * count)


@check("fields")
def _fields(name: str) -> None:
    assert fields_of(pages.read(name)) == [b"punchwire example", b"", b"a", b"\x00\xff"]
