"""Just enough HTTP/1.1 (RFC 9112) to talk to a router: one request, one bounded answer, one connection.

No names are looked up, no redirect is followed: nobody is talked to but the address given.
"""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from urllib.parse import urljoin, urlsplit

from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address

__all__ = ["Answer", "Location", "exchange"]

MAX_LINE_BYTES = 4096
MAX_HEADERS = 64
MAX_BODY_BYTES = 256 * 1024  # the descriptions of routers that are many devices in one are some 50 KiB
ANSWER_TIME = 3.0  # s for all of it; a router that writes a mapping to flash memory takes a second or two
_PATH = re.compile(r"/[!-~]{0,500}")
_STATUS = re.compile(r"HTTP/1\.[01] ([1-5][0-9]{2})( .*)?")
_CHUNK = re.compile(r"([0-9A-Fa-f]{1,8})[ \t]*(;.*)?")


@dataclass(frozen=True, slots=True)
class Location:
    """Where something is to be had by HTTP."""

    server: Address
    path: str  # of visible ASCII characters, the first one a slash

    @classmethod
    def of(cls, text: str, base: str = "") -> "Location":
        """Read a URL, which may be relative to `base`. Raises `Malformed`, for names as well: addresses only."""
        try:
            parts = urlsplit(urljoin(base, text))
            host, port = parts.hostname or "", parts.port or 80
        except ValueError:
            raise Malformed("not a URL") from None
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if parts.scheme != "http" or not _PATH.fullmatch(path):
            raise Malformed("not the URL of something to be had by HTTP")
        return cls(Address.of(host, port), path)

    def __str__(self) -> str:
        return f"http://{self.server}{self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


async def exchange(
    location: Location, ours: IPv4Address, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """Get what is at `location`, or post `body` there, from our address `ours`; return the answer.

    Raises `OSError` when nothing answers within `ANSWER_TIME`, `Malformed` when it is not HTTP or too much.
    """
    server = location.server
    lines = [f"{'POST' if body else 'GET'} {location.path} HTTP/1.1", f"Host: {server}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    async with asyncio.timeout(ANSWER_TIME):
        reader, writer = await asyncio.open_connection(
            server.host, server.port, local_addr=(str(ours), 0), limit=MAX_LINE_BYTES
        )
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
            return await _read_answer(reader)
        except EOFError:
            raise Malformed("the answer ends too early") from None
        finally:
            writer.transport.abort()


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    match = _STATUS.fullmatch(await _read_line(reader))
    if match is None:
        raise Malformed("the answer is not HTTP")
    headers = {}
    while line := await _read_line(reader):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
        if len(headers) > MAX_HEADERS:
            raise Malformed("the answer has too many headers")
    return Answer(int(match[1]), await _read_body(reader, headers))


async def _read_line(reader: asyncio.StreamReader) -> str:
    try:
        line = await reader.readline()
    except ValueError:
        raise Malformed("the answer has a line that is too long") from None
    if not line.endswith(b"\n"):
        raise Malformed("the answer ends too early")
    return line.decode("latin-1").rstrip("\r\n")


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    """Read as far as the headers say, or until the connection ends where they say nothing (RFC 9112 §6.3)."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return await _read_chunks(reader)
    if (length := headers.get("content-length")) is not None:
        if not (length.isascii() and length.isdecimal()):
            raise Malformed("the answer has a length that is no number")
        return await reader.readexactly(_bounded(int(length[:16])))
    body = b""
    while part := await reader.read(MAX_LINE_BYTES):
        body += part
        _bounded(len(body))
    return body


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        match = _CHUNK.fullmatch(await _read_line(reader))
        if match is None:
            raise Malformed("the answer has a chunk without a length")
        if (length := int(match[1], 16)) == 0:
            return body  # trailers are left unread
        _bounded(len(body) + length)
        body += await reader.readexactly(length)
        if await _read_line(reader):
            raise Malformed("the answer has a chunk that is longer than it says")


def _bounded(length: int) -> int:
    if length > MAX_BODY_BYTES:
        raise Malformed("the answer is too long")
    return length
