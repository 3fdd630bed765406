"""A gRPC client made of HTTP/2 frames (RFC 9113), which does what a library would not: it never opens its window."""

import asyncio
import ssl
import struct
from collections import defaultdict

from p2p_server.app import Mediator

from tests.server.client import PATIENCE

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
REFUSED_STREAM, ENHANCE_YOUR_CALM = 7, 11
ACK = END_STREAM = 1
END_HEADERS = 4
INITIAL_WINDOW_SIZE = 4
MAX_STREAMS = 8  # that the mediator allows on one connection


class ShutConnection:
    """A connection with a flow-control window of 0: headers come through, messages do not."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._ids = iter(range(1, 2 * MAX_STREAMS, 2))
        self.begun: set[int] = set()  # streams on which the mediator has something to say
        self.over: set[int] = set()  # streams that it ended
        self.received: defaultdict[int, bytes] = defaultdict(bytes)  # by stream
        self.sent = 0  # bytes of messages
        # RFC 9113 §6.9.2. The windows are the mediator's: what it is ready to take.
        self._initial_window = 65535
        self._windows: defaultdict[int, int] = defaultdict(lambda: self._initial_window)
        self._acknowledged: asyncio.Queue[None] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def open(cls, mediator: Mediator) -> "ShutConnection":
        return await cls.at(mediator.listening.port, None if mediator.certificate is None else any_certificate())

    @classmethod
    async def at(cls, port: int, context: ssl.SSLContext | None) -> "ShutConnection":
        """Open one to whoever listens there; without a context, without TLS."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(PREFACE + frame(SETTINGS, 0, 0, _setting(INITIAL_WINDOW_SIZE, 0)))
        return cls(reader, writer)

    def call(self, method: str, message: bytes | None) -> int:
        """Open a stream and send a message, if there is one; return the stream."""
        stream = next(self._ids)
        self._writer.write(frame(HEADERS, END_HEADERS, stream, call_headers(method)))
        if message is not None:
            self.send_message(stream, message)
        return stream

    def send_message(self, stream: int, message: bytes) -> None:
        data = b"\0" + struct.pack(">I", len(message)) + message
        self._writer.write(frame(DATA, 0, stream, data))
        self._windows[stream] -= len(data)
        self._windows[0] -= len(data)
        self.sent += len(data)

    async def flood(self, stream: int, message: bytes) -> None:
        """Send a message over and over for as long as the mediator takes it; then see whether it has."""
        while min(self._windows[stream], self._windows[0]) >= 5 + len(message):
            self.send_message(stream, message)
        self._writer.write(frame(SETTINGS, 0, 0, b""))
        await asyncio.wait_for(self._acknowledged.get(), PATIENCE)

    def half_close(self, stream: int) -> None:
        self._writer.write(frame(DATA, END_STREAM, stream, b""))

    def open_window(self, stream: int, size: int) -> None:
        """Let that many bytes come on the stream."""
        self._writer.write(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", size)))

    async def close(self) -> None:
        self._reading.cancel()
        self._writer.transport.abort()
        await asyncio.wait([self._reading])

    async def _read(self) -> None:
        while True:
            header = await self._reader.readexactly(9)
            size, kind, flags, stream = int.from_bytes(header[:3]), header[3], header[4], int.from_bytes(header[5:])
            payload = await self._reader.readexactly(size)
            if kind in (SETTINGS, PING) and not flags & ACK:
                self._writer.write(frame(kind, ACK, 0, payload if kind == PING else b""))
            if kind == SETTINGS and flags & ACK:
                self._acknowledged.put_nowait(None)
            elif kind == SETTINGS:
                self._on_settings(payload)
            elif kind == WINDOW_UPDATE:
                self._windows[stream] += int.from_bytes(payload)
            elif kind == DATA:
                self.received[stream] += payload
            elif kind == HEADERS:
                (self.over if flags & END_STREAM else self.begun).add(stream)

    def _on_settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == INITIAL_WINDOW_SIZE:
                for stream in self._windows.keys() - {0}:
                    self._windows[stream] += value - self._initial_window
                self._initial_window = value


NO_UTF_8 = b"/\xff\xfe"


async def ask(port: int, path: bytes, *, tls: bool) -> None:
    """Call a method on a connection of its own, until the stream has ended."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=any_certificate() if tls else None)
    call = frame(HEADERS, END_HEADERS | END_STREAM, 1, call_headers(path))
    writer.write(PREFACE + frame(SETTINGS, 0, 0, b"") + call)
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                header = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(header[:3]))
                if header[3] in (RST_STREAM, HEADERS):
                    break
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.transport.abort()


def call_headers(method: str | bytes) -> bytes:
    """The header block of a gRPC call (RFC 7541 §6.2.2, and gRPC over HTTP/2)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "mediator",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())


def any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _setting(name: int, value: int) -> bytes:
    return struct.pack(">HI", name, value)


def _text(value: str | bytes) -> bytes:
    """A string of HPACK, literal and without Huffman code (RFC 7541 §5.2)."""
    data = value.encode() if isinstance(value, str) else value
    return bytes([len(data)]) + data
