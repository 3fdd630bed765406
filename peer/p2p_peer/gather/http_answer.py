"""An HTTP/1.1 answer (RFC 9112), read from a stream within bounds. Whoever reads sets the time limit."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass

from p2p_core.errors import Malformed

__all__ = ["Head", "read_body", "read_head"]

MAX_HEADERS = 64
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})( .*)?")
_CHUNK = re.compile(r"([0-9A-Fa-f]{1,8})[ \t]*(;.*)?")


@dataclass(frozen=True, slots=True)
class Head:
    """What comes before the body."""

    status: int
    headers: Mapping[str, str]  # by lower-case name; of several of one name the last


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Read the status and the headers. Raises `Malformed`, for an end that comes too early as well."""
    match = _STATUS.fullmatch(await _read_line(reader))
    if match is None:
        raise Malformed("the answer is not HTTP")
    headers: dict[str, str] = {}
    count = 0
    while line := await _read_line(reader):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
        count += 1
        if count > MAX_HEADERS:
            raise Malformed("the answer has too many headers")
    return Head(int(match[1]), headers)


async def read_body(reader: asyncio.StreamReader, head: Head, most: int) -> bytes:
    """Read at most `most` bytes: as far as the headers say, or until the connection ends where they say nothing (§6.3).

    Raises `Malformed` for a body that is longer, or shorter than it says.
    """
    try:
        if head.headers.get("transfer-encoding", "").lower() == "chunked":
            return await _read_chunks(reader, most)
        if (length := head.headers.get("content-length")) is not None:
            if not (length.isascii() and length.isdecimal()):
                raise Malformed("the answer has a length that is no number")
            return await reader.readexactly(_bounded(int(length[:16]), most))
        body = b""
        while part := await reader.read(most + 1):
            body += part
            _bounded(len(body), most)
        return body
    except EOFError:
        raise Malformed("the answer ends too early") from None


async def _read_line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readline()
    except ValueError:
        raise Malformed("the answer has a line that is too long") from None
    if not line.endswith(b"\n"):
        raise Malformed("the answer ends too early")
    return line.decode("latin-1").rstrip("\r\n")


async def _read_chunks(reader: asyncio.StreamReader, most: int) -> bytes:
    body = b""
    while True:
        match = _CHUNK.fullmatch(await _read_line(reader))
        if match is None:
            raise Malformed("the answer has a chunk without a length")
        if (length := int(match[1], 16)) == 0:
            return body  # trailers are left unread
        _bounded(len(body) + length, most)
        body += await reader.readexactly(length)
        if await _read_line(reader):
            raise Malformed("the answer has a chunk that is longer than it says")


def _bounded(length: int, most: int) -> int:
    if length > most:
        raise Malformed("the answer is too long")
    return length
