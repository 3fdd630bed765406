"""Questions to a gateway's port 5351, where both PCP (RFC 6887 §19.1) and NAT-PMP (RFC 6886 §3.1) are answered."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any, TypeVar, cast

from p2p_core.errors import Malformed

from p2p_peer.gather.port_mapping.gateways import Gateway
from p2p_peer.gather.port_mapping.mapper import MappingFailed

__all__ = ["Questions"]

PORT = 5351
# s after each time a question is sent. RFC 6886 §3.1 begins with 0.25, RFC 6887 §8.1.1 with 3, and both go on for
# minutes; a gateway is one hop away, and UPnP is still to be tried within the second that gathering takes.
WAITS = (0.15, 0.3)

T = TypeVar("T")


class Questions(asyncio.DatagramProtocol):
    """One UDP socket towards one gateway. The kernel hands over what comes from there, and nothing else."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._asked: dict[Callable[[bytes], None], asyncio.Future[Any]] = {}

    @classmethod
    async def open(cls, gateway: Gateway) -> "Questions":
        """Open the socket. Raises `MappingFailed`."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.bind((str(gateway.ours), 0))
            sock.connect((str(gateway.ip), PORT))
            return (await asyncio.get_running_loop().create_datagram_endpoint(cls, sock=sock))[1]
        except OSError as error:
            sock.close()
            raise MappingFailed(error.strerror or str(error)) from error
        except BaseException:
            sock.close()
            raise

    async def ask(self, request: bytes, read: Callable[[bytes], T | None], *, take_back: bytes = b"") -> T:
        """Send `request` until something comes in which `read` finds the answer; return that.

        `read` finds nothing, or raises `Malformed`, where it is no answer to this. Raises `MappingFailed`. Where no
        answer came, `take_back` is sent: a gateway that is slow may do, or have done, what it was asked for.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def take(data: bytes) -> None:
            try:
                found = read(data)
            except Malformed:
                return
            if found is not None and not answer.done():
                answer.set_result(found)

        self._asked[take] = answer
        try:
            for wait in WAITS:
                if self._transport is None or self._transport.is_closing():
                    raise MappingFailed("the socket was closed")
                self._transport.sendto(request)
                if (await asyncio.wait([answer], timeout=wait))[0]:
                    break
            else:
                raise MappingFailed("no answer")
            return answer.result()
        finally:
            del self._asked[take]
            if take_back and not answer.done() and self._transport is not None and not self._transport.is_closing():
                self._transport.sendto(take_back)
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # looked at, also where nobody waits any more

    def close(self) -> None:
        """Close the socket."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Show everybody who asked what came."""
        for take in tuple(self._asked):
            take(data)

    def error_received(self, exc: Exception) -> None:
        """Give up what is asked: nobody listens there, as ICMP says, or there is no way there."""
        for answer in self._asked.values():
            if not answer.done():
                answer.set_exception(MappingFailed(getattr(exc, "strerror", None) or str(exc)))
