"""STUN over TCP from the punch port (RFC 8489 §6.2.2), and what it has in common with STUN over UDP."""

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from p2p_core.errors import Malformed
from p2p_core.targets import may_dial
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import HEADER_BYTES, BindingRequest, BindingResponse

__all__ = ["ANSWER_TIME", "Asker", "StunFailed", "TcpStun", "believable"]

ANSWER_TIME = 1.0  # s: a source of candidates that takes longer is left out


class StunFailed(Exception):
    """The server did not answer, or not with STUN, or with nonsense."""


class Asker(Protocol):
    """One local port that can ask STUN servers where they see it."""

    async def ask(self, server: Address) -> Address:
        """Return where `server` sees the port. Raises `StunFailed`, after `ANSWER_TIME` at the latest."""


def believable(mapped: Address, server: Address) -> bool:
    """Say whether `server` may have seen us at `mapped`: an address of its own family that a machine can have."""
    return mapped.ip.version == server.ip.version and may_dial(mapped, loopback=server.ip.is_loopback)


class TcpStun:
    """Asks from the punch port. A connection stays open until it is dropped, and so the NAT keeps the mapping."""

    def __init__(self, socket_towards: Callable[[Address], socket.socket]) -> None:
        """Take sockets on the punch port from `socket_towards`, which may raise `OSError`."""
        self._socket_towards = socket_towards
        self._open: dict[Address, socket.socket] = {}

    async def ask(self, server: Address) -> Address:
        """Ask over the connection to `server`, or a new one. Raises `StunFailed`: then there is none any more."""
        try:
            async with asyncio.timeout(ANSWER_TIME):
                mapped = await _ask(self._open.get(server) or await self._connected(server))
            if not believable(mapped, server):
                raise Malformed(f"it says that we are at {mapped}")
        except TimeoutError:
            self.drop(server)
            raise StunFailed(f"{server}: no answer within {ANSWER_TIME:g} s") from None
        except (OSError, Malformed) as error:
            self.drop(server)
            raise StunFailed(f"{server}: {error}") from error
        except BaseException:
            self.drop(server)
            raise
        return mapped

    def drop(self, server: Address) -> None:
        """Close the connection to `server`, if there is one."""
        if (sock := self._open.pop(server, None)) is not None:
            sock.close()

    def close(self) -> None:
        """Close all connections; nobody may be asking."""
        for server in list(self._open):
            self.drop(server)

    async def _connected(self, server: Address) -> socket.socket:
        sock = self._open[server] = self._socket_towards(server)
        await asyncio.get_running_loop().sock_connect(sock, (server.host, server.port))
        return sock


async def _ask(sock: socket.socket) -> Address:
    loop = asyncio.get_running_loop()
    request = BindingRequest.fresh()
    await loop.sock_sendall(sock, request.encode())
    header = await _exactly(sock, HEADER_BYTES)
    response = stun.decode(header + await _exactly(sock, stun.body_length(header)))
    if not isinstance(response, BindingResponse) or response.transaction != request.transaction:
        raise Malformed("a STUN answer to something else")
    return response.mapped


async def _exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await asyncio.get_running_loop().sock_recv(sock, count - len(data))
        if not part:
            raise ConnectionResetError("the server closed the connection")
        data += part
    return data
