"""The server-reflexive candidate, by STUN over TCP from the punch port itself (RFC 8489 §6.2.2)."""

import asyncio
import socket
from types import TracebackType

from p2p_core.errors import Malformed
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import HEADER_BYTES, BindingRequest, BindingResponse

from p2p_peer.gather.punch_port import PunchPort

__all__ = ["ANSWER_TIME", "StunConnection", "StunFailed"]

ANSWER_TIME = 1.0  # s: a source of candidates that takes longer is left out
KEEPALIVE = 15.0  # s; TCP mappings live longer, but home routers are seen to drop idle ones after a minute or less


class StunFailed(Exception):
    """The server did not answer, or not with STUN."""


class StunConnection:
    """A connection to a STUN server from the punch port. While it is open, the NAT keeps the port's mapping."""

    def __init__(self, sock: socket.socket, mapped: Address) -> None:
        self.mapped = mapped
        self._socket = sock
        self._keeper = asyncio.create_task(self._keep_alive())

    @classmethod
    async def open(cls, port: PunchPort, server: Address) -> "StunConnection":
        """Ask `server` for our address. Raises `StunFailed`."""
        try:
            sock = port.socket_towards(server)
        except OSError as error:
            raise StunFailed(f"{server}: {error.strerror}") from error
        try:
            async with asyncio.timeout(ANSWER_TIME):
                await asyncio.get_running_loop().sock_connect(sock, (server.host, server.port))
                mapped = await _ask(sock)
        except TimeoutError:
            sock.close()
            raise StunFailed(f"{server}: no answer within {ANSWER_TIME:g} s") from None
        except (OSError, Malformed) as error:
            sock.close()
            raise StunFailed(f"{server}: {error}") from error
        except BaseException:
            sock.close()
            raise
        return cls(sock, mapped)

    async def close(self) -> None:
        """Let go of the mapping."""
        self._keeper.cancel()
        try:
            await asyncio.gather(self._keeper, return_exceptions=True)
        finally:
            self._socket.close()

    async def __aenter__(self) -> "StunConnection":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _keep_alive(self) -> None:
        """Ask again now and then; stop when the server is gone: the mapping then lives as long as it lives."""
        while True:
            await asyncio.sleep(KEEPALIVE)
            try:
                async with asyncio.timeout(KEEPALIVE):
                    self.mapped = await _ask(self._socket)
            except (OSError, Malformed):
                return


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
