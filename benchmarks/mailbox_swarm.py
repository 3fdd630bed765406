"""Pairs that meet at magic-wormhole's mailbox server as its clients do: run by `benchmarks/mediator.py`.

    mailbox_swarm.py PORT PAIRS [--together 16] [--tls]

Each peer has a connection of its own, with `--tls` one of TLS 1.3 to a server that nobody vouches for. It binds, claims
its pair's nameplate, opens the mailbox that this names, adds a message of an offer's size, waits for the other's,
releases, closes and leaves. Prints {"pairs", "seconds", "p50_ms", "p99_ms", "match_seconds", "failed"} as JSON, the
times being what a peer waits from its `add` for the message of a partner who added before.
"""

import argparse
import asyncio
import json
import os
import ssl
import statistics
import time
from typing import Any

HOST = "127.0.0.1"
OFFER = os.urandom(960).hex()  # as large as a sealed offer with six candidates; the mailbox takes hexadecimal
PATIENCE = 30.0  # s for each answer
TEXT, CLOSE = 0x81, 0x88  # the first byte of a whole frame (RFC 6455 §5.2)
MASKED, LENGTH_16, LENGTH_64 = 0x80, 126, 127  # in the second byte


class WebSocket:
    """As much of RFC 6455 as the mailbox server needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None) -> "WebSocket":
        """Connect and shake hands."""
        reader, writer = await asyncio.open_connection(HOST, port, ssl=tls)
        writer.write(
            b"GET /v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in answer.partition(b"\r\n")[0]:
            raise ConnectionError(answer)
        return cls(reader, writer)

    def say(self, kind: str, **fields: str) -> None:
        """Send one command."""
        self._frame(TEXT, json.dumps({"type": kind, **fields}).encode())

    async def answer(self, kind: str) -> dict[str, Any]:
        """Return the next message of this kind, passing over others."""
        async with asyncio.timeout(PATIENCE):
            while True:
                message: dict[str, Any] = json.loads(await self._payload())
                if message["type"] == "error":
                    raise ConnectionError(message["error"])
                if message["type"] == kind:
                    return message

    async def close(self) -> None:
        """Close as both sides should: frame for frame, and then the connection."""
        self._frame(CLOSE, (1000).to_bytes(2))
        await asyncio.wait_for(self._reader.read(), PATIENCE)
        self._writer.close()

    def _frame(self, first: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([MASKED | size]) if size < LENGTH_16 else bytes([MASKED | LENGTH_16]) + size.to_bytes(2)
        mask = os.urandom(4)
        pad = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(payload) ^ int.from_bytes(pad)).to_bytes(size)
        self._writer.write(bytes([first]) + length + mask + masked)

    async def _payload(self) -> bytes:
        first, length = await self._reader.readexactly(2)
        if first != TEXT:
            raise ConnectionError(f"a frame that begins with {first:#x}")
        if length == LENGTH_16:
            length = int.from_bytes(await self._reader.readexactly(2))
        elif length == LENGTH_64:
            length = int.from_bytes(await self._reader.readexactly(8))
        return await self._reader.readexactly(length)


async def main() -> None:
    """Let the pairs meet, and print what they took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("pairs", type=int)
    parser.add_argument("--together", type=int, default=16, help="pairs at a time")
    parser.add_argument("--tls", action="store_true", help="with TLS 1.3")
    arguments = parser.parse_args()
    tls = _any_certificate() if arguments.tls else None
    numbers = iter(range(1, arguments.pairs + 1))
    waited: list[float] = []
    failed: list[int] = []  # the server drops one in some hundreds: its database does not let it forget a mailbox

    async def some() -> None:
        for number in numbers:
            both = (_peer(arguments.port, tls, str(number), side) for side in "ab")
            met = [one for one in await asyncio.gather(*both, return_exceptions=True) if isinstance(one, float)]
            if len(met) == 2:
                waited.append(min(met))
            else:
                failed.append(number)

    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for _ in range(arguments.together):
            group.create_task(some())
    seconds = time.monotonic() - began
    centiles = statistics.quantiles(waited, n=100, method="inclusive") if len(waited) > 1 else waited * 99
    figures = {"pairs": len(waited), "seconds": seconds, "p50_ms": centiles[49] * 1e3, "p99_ms": centiles[98] * 1e3}
    print(json.dumps(figures | {"match_seconds": waited, "failed": {"dropped": len(failed)} if failed else {}}))


async def _peer(port: int, tls: ssl.SSLContext | None, nameplate: str, side: str) -> float:
    """Meet the other one; return the seconds from the own message to the other's."""
    socket = await WebSocket.open(port, tls)
    socket.say("bind", appid="punchwire-benchmark", side=side)
    socket.say("claim", nameplate=nameplate)
    mailbox = (await socket.answer("claimed"))["mailbox"]
    socket.say("open", mailbox=mailbox)
    socket.say("add", phase="offer", body=OFFER)
    added = time.monotonic()
    while (await socket.answer("message"))["side"] == side:
        pass
    waited = time.monotonic() - added
    socket.say("release", nameplate=nameplate)
    socket.say("close", mailbox=mailbox, mood="happy")
    await socket.answer("closed")
    await socket.close()
    return waited


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    asyncio.run(main())
