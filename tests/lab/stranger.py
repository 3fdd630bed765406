"""Somebody else at a peer's private address: in the other peer's network that address may be anybody's.

    python stranger.py ADDRESS PORT

Over TCP it greets as an SSH server does, and then listens for ever; over UDP it sends back whatever comes, as an echo
server does. Prints "ready" when it can be reached, and one line for each who came, the protocol and where from.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.nat import Lab

PORT = 9999  # any will do: all ports lead there
GREETING = b"SSH-2.0-OpenSSH_9.2\r\n"


@contextmanager
def in_place_of(lab: Lab, peer: str) -> Iterator[list[str]]:
    """Have a stranger at this peer's private address, on every port, in the other peer's network.

    Afterwards the list has who came.
    """
    router = lab.namespace("rb" if peer == "a" else "ra")
    address = lab.address(peer)
    router.ip(f"addr add {address}/32 dev lo")
    router.nft(
        "table ip stranger { chain everybody { type nat hook prerouting priority dstnat - 1;"
        f" ip daddr {address} meta l4proto {{ tcp, udp }} redirect to :{PORT}; }}; }}"
    )
    host = router.name.rpartition("-")[2]
    # `redirect` changes the destination to the address of the interface that the packet came in by.
    process = lab.popen(host, [sys.executable, __file__, "0.0.0.0", str(PORT)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    came: list[str] = []
    yield came
    process.terminate()
    came += process.stdout


class Echo(asyncio.DatagramProtocol):
    """The UDP side."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        print("udp", *addr, flush=True)
        self._transport.sendto(data, addr)


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The TCP side."""
    print("tcp", *writer.get_extra_info("peername"), flush=True)
    writer.write(GREETING)
    while await reader.read(4096):
        pass
    writer.close()


async def serve(address: str, port: int) -> None:
    """Serve until the process is ended."""
    await asyncio.start_server(greet, address, port)
    await asyncio.get_running_loop().create_datagram_endpoint(Echo, local_addr=(address, port))
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
