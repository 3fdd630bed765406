"""A server on the public segment that tells its clients how it sees them; with it the lab proves its own NATs.

    python reflector.py ADDRESS ADDRESS      (the two addresses of the mediator's host)

On each address it serves UDP and TCP on both PORTS, and prints "ready" when it does. All text, addresses as "IP PORT":

    UDP   "where"                      -> "IP PORT", the sender's address as seen here
    UDP   "from IP PORT [IP PORT]..."  -> the same, sent from each of these addresses and ports of this server in turn
    TCP   on connecting                -> "IP PORT", the client's address as seen here
    TCP   "dial IP [IP]..."            -> connects from new ports of these addresses to the client's address, all at
                                          once, and answers with one of connected, refused, silent for each

It stays on one processor: packets that a process sends from two of them may overtake each other.
"""

import asyncio
import errno
import os
import socket
import sys
from typing import cast

PORTS = (443, 3478)
DIAL_TIMEOUT = 0.3  # s; a SYN that is let in is answered by the client's kernel within a millisecond


class UdpReflector(asyncio.DatagramProtocol):
    """One UDP socket among `all_sockets`, which are keyed by their own address."""

    def __init__(self, all_sockets: dict[tuple[str, int], asyncio.DatagramTransport]) -> None:
        self._all_sockets = all_sockets

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._own: tuple[str, int] = transport.get_extra_info("sockname")
        self._all_sockets[self._own] = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        _, *others = data.decode().split()
        senders = [(address, int(port)) for address, port in zip(others[::2], others[1::2], strict=True)]
        for sender in senders or [self._own]:
            self._all_sockets[sender].sendto(f"{addr[0]} {addr[1]}".encode(), addr)


async def reflect_tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serves one TCP connection."""
    client: tuple[str, int] = writer.get_extra_info("peername")
    writer.write(f"{client[0]} {client[1]}\n".encode())
    while line := await reader.readline():
        _, *addresses = line.decode().split()
        results = await asyncio.gather(*(dial(address, client) for address in addresses))
        writer.write(f"{' '.join(results)}\n".encode())
    writer.close()


async def dial(address: str, client: tuple[str, int]) -> str:
    """Tries to connect from a new port of `address` to `client`."""
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.bind((address, 0))
        try:
            async with asyncio.timeout(DIAL_TIMEOUT):
                await asyncio.get_running_loop().sock_connect(sock, client)
        except TimeoutError:
            # Asked once more: on a busy machine it may be this process that was late, not the answer.
            outcome = sock.connect_ex(client)
            return {errno.EISCONN: "connected", 0: "connected", errno.EALREADY: "silent"}.get(outcome, "refused")
        except OSError:
            return "refused"
        return "connected"


async def serve(addresses: list[str]) -> None:
    """Serves until the process is ended."""
    loop = asyncio.get_running_loop()
    all_sockets: dict[tuple[str, int], asyncio.DatagramTransport] = {}
    for address in addresses:
        for port in PORTS:
            await loop.create_datagram_endpoint(lambda: UdpReflector(all_sockets), local_addr=(address, port))
            await asyncio.start_server(reflect_tcp, address, port)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    asyncio.run(serve(sys.argv[1:]))
