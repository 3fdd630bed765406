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

from p2p_peer.gather.http_answer import read_body, read_head

__all__ = ["Answer", "Location", "exchange"]

MAX_LINE_BYTES = 4096  # of headers and chunk lengths
MAX_BODY_BYTES = 256 * 1024  # the descriptions of routers that are many devices in one are some 50 KiB
ANSWER_TIME = 3.0  # s for all of it; a router that writes a mapping to flash memory takes a second or two
_PATH = re.compile(r"/[!-~]{0,500}")


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
            answer = await read_head(reader)
            return Answer(answer.status, await read_body(reader, answer, MAX_BODY_BYTES))
        finally:
            writer.transport.abort()
