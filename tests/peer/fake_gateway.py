"""A gateway on loopback that answers as a test wants it to: datagrams, and HTTP."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

import pytest
from p2p_core.wire.candidate import Address
from p2p_peer.gather.port_mapping import questions
from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.http import Location

__all__ = ["GATEWAY", "Datagrams", "WebServer", "datagrams", "http_answer", "impatient", "web_server"]

GATEWAY = Gateway(IPv4Address("127.0.0.1"), IPv4Address("127.0.0.1"))


class Datagrams(asyncio.DatagramProtocol):
    """A UDP port; `answer` says which datagrams go back."""

    def __init__(self, answer: Callable[[bytes], Iterable[bytes]]) -> None:
        self.answer = answer
        self.received: list[bytes] = []
        self.sources: list[Any] = []
        self.port = 0
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.append(data)
        self.sources.append(addr)
        for one in self.answer(data):
            self.transport.sendto(one, addr)


@asynccontextmanager
async def datagrams(answer: Callable[[bytes], Iterable[bytes]], host: str = "127.0.0.1") -> AsyncIterator[Datagrams]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: Datagrams(answer), local_addr=(host, 0))
    try:
        yield server
    finally:
        transport.close()


@contextmanager
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A datagram that is not answered is sent twice, and soon given up."""
    with monkeypatch.context() as patch:
        patch.setattr(questions, "WAITS", (0.02, 0.02))
        yield


@dataclass
class WebServer:
    """Answers with bytes, after which it closes the connection. None: it stays silent, and open."""

    answer: Callable[[str, bytes], bytes | None]
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)  # first line, headers, body
    port: int = 0

    def at(self, path: str = "/") -> Location:
        return Location(Address.of("127.0.0.1", self.port), path)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.requests.append((first, headers, body))
            answer = self.answer(first, body)
            if answer is None:
                await reader.read()
            else:
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def web_server(
    answer: Callable[[str, bytes], bytes | None], tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[WebServer]:
    server = WebServer(answer)
    listening = await asyncio.start_server(server.serve, host, 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


def http_answer(body: bytes, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("ascii") + body
