"""Get something small from the web: by the proxy of the environment, with few redirects, not much of it.

It is for a URL that the user has named; where that leads is up to whoever answers there.
"""

import asyncio
import base64
import contextlib
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from p2p_core.errors import Malformed

from p2p_peer.gather.http_answer import read_body, read_head
from p2p_peer.gather.interfaces import IPAddress

__all__ = ["MAX_BODY_BYTES", "Url", "get"]

MAX_BODY_BYTES = 256
MAX_REDIRECTS = 3
MAX_URL_CHARS = 2048
_LIMIT = 16 * 1024  # bytes of a header line; some sites have long ones
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9._-]+|\[[0-9a-f.]*:[0-9a-f:.]*\]")


@dataclass(frozen=True, slots=True)
class Url:
    """Where something is to be had by HTTP or HTTPS."""

    scheme: Literal["http", "https"]
    host: str  # a name or an address
    port: int
    target: str  # path and query

    @classmethod
    def of(cls, text: str, base: str = "") -> "Url":
        """Read a URL, which may be relative to `base`. Raises `Malformed`, with a clause."""
        if not re.fullmatch(f"[!-~]{{1,{MAX_URL_CHARS}}}", text):
            raise Malformed(f"a URL has 1 to {MAX_URL_CHARS} visible ASCII characters")
        try:
            parts = urlsplit(urljoin(base, text))
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise Malformed("that is no URL") from None
        if parts.scheme not in ("http", "https"):
            raise Malformed("it begins neither with https:// nor with http://")
        if "@" in parts.netloc:
            raise Malformed("a name or a password does not belong into it")
        if not _HOST.fullmatch(f"[{host}]" if "[" in parts.netloc else host) or port == 0:
            raise Malformed("it names no computer")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls("https" if parts.scheme == "https" else "http", host, port or _PORTS[parts.scheme], target)

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def netloc(self) -> str:
        """Host, and the port if it is not the usual one: there are servers that know themselves by no other name."""
        return self.authority.removesuffix(f":{_PORTS[self.scheme]}")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}{self.target}"


@dataclass(frozen=True, slots=True)
class _Proxy:
    host: str
    port: int
    headers: tuple[str, ...] = field(repr=False)  # that are for the proxy itself: a password, say

    @classmethod
    def of(cls, text: str) -> "_Proxy":
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port or _PORTS["http"]
        except ValueError:
            host = None
        if host is None or parts.scheme != "http":
            raise Malformed("the proxy of the environment is none that is spoken to by HTTP")
        if parts.username is None:
            return cls(host, port, ())
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode(errors="surrogateescape")
        return cls(host, port, (f"Proxy-Authorization: Basic {base64.b64encode(login).decode('ascii')}",))

    @classmethod
    def towards(cls, url: Url) -> "_Proxy | None":
        """Return the one that the environment (http_proxy, https_proxy, no_proxy) or the system names for `url`."""
        text = getproxies().get(url.scheme)
        return None if not text or proxy_bypass(url.authority) else cls.of(text)


async def get(url: Url, family: socket.AddressFamily, source: IPAddress | None = None) -> bytes:
    """Return what is at `url`, asked over `family` and from `source`, which may be any address if it is None.

    Whoever calls it sets the time limit. Raises `OSError` where nobody answers, or nobody vouches for who does, and
    `Malformed`, with a clause, where the answer is none, or longer than `MAX_BODY_BYTES`.
    """
    for _ in range(MAX_REDIRECTS + 1):
        found = await _get_once(url, family, source)
        if isinstance(found, bytes):
            return found
        if url.scheme == "https" != found.scheme:
            raise Malformed("it leads from https to http")
        url = found
    raise Malformed(f"it leads on more than {MAX_REDIRECTS} times")


async def _get_once(url: Url, family: socket.AddressFamily, source: IPAddress | None) -> bytes | Url:
    """Return what is at `url`, or where that leads."""
    proxy = _Proxy.towards(url)
    through = proxy if url.scheme == "http" else None  # it reads our request; in TLS it does not
    lines = [
        f"GET {url if through else url.target} HTTP/1.1",
        f"Host: {url.netloc}",
        "User-Agent: punchwire",  # some sites answer nobody who has no name
        "Accept: text/plain, application/json",
        "Connection: close",
        *(through.headers if through else ()),
    ]
    async with _connection(url, proxy, family, source) as (reader, writer):
        writer.write(_request(lines))
        head = await read_head(reader)
        if head.status in _REDIRECTS:
            return Url.of(head.headers.get("location", ""), str(url))
        if head.status != 200:
            raise Malformed(f"it answers with status {head.status}")
        return await read_body(reader, head, MAX_BODY_BYTES)


@contextlib.asynccontextmanager
async def _connection(
    url: Url, proxy: _Proxy | None, family: socket.AddressFamily, source: IPAddress | None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to the server of `url`, or to `proxy`, which for HTTPS leads there (RFC 9110 §9.3.6)."""
    first = proxy or url
    tls = ssl.create_default_context() if url.scheme == "https" else None
    reader, writer = await asyncio.open_connection(
        first.host,
        first.port,
        family=family,
        local_addr=None if source is None else (str(source), 0),
        ssl=None if proxy else tls,
        limit=_LIMIT,
    )
    try:
        if proxy is not None and tls is not None:
            writer.write(_request([f"CONNECT {url.authority} HTTP/1.1", f"Host: {url.authority}", *proxy.headers]))
            if (status := (await read_head(reader)).status) != 200:
                raise Malformed(f"the proxy answers with status {status}")
            await writer.start_tls(tls, server_hostname=url.host)
        yield reader, writer
    finally:
        writer.transport.abort()


def _request(lines: list[str]) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("ascii")
