"""A little STUN server over TCP or UDP that answers as a test wants it to."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import HEADER_BYTES, BindingRequest, BindingResponse

Answer = Callable[[BindingRequest, Address], bytes | None]  # None: silence; b"": the connection is closed


def honest(request: BindingRequest, source: Address) -> bytes:
    return BindingResponse(request.transaction, source).encode()


class StunServer:
    """Counts its requests; `address` is where it listens."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.sources: list[Address] = []
        self.closed = 0  # connections that the client ended
        self.address: Address

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = Address.of(*writer.get_extra_info("peername")[:2])
        try:
            while data := await reader.read(HEADER_BYTES):
                request = stun.decode(data)
                assert isinstance(request, BindingRequest)
                self.sources.append(source)
                answer = self.answer(request, source)
                if answer == b"":
                    break
                writer.write(answer or b"")
            else:
                self.closed += 1
        except ConnectionResetError:
            self.closed += 1
        finally:
            writer.close()


@asynccontextmanager
async def stun_server(answer: Answer = honest, host: str = "127.0.0.1") -> AsyncIterator[StunServer]:
    server = StunServer(answer)
    # Without SO_REUSEADDR on both sides a punch port bound to every address would not mind.
    listening = await asyncio.start_server(server.serve, host, 0, family=socket.AF_UNSPEC)
    server.address = Address.of(*listening.sockets[0].getsockname()[:2])
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()


class UdpStunServer(asyncio.DatagramProtocol):
    """Notes who asked and what; `address` is where it is bound."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.sources: list[Address] = []
        self.requests: list[BindingRequest] = []
        self.address: Address
        self.transport: asyncio.DatagramTransport

    def datagram_received(self, data: bytes, name: tuple[str, int]) -> None:
        request = stun.decode(data)
        assert isinstance(request, BindingRequest)
        source = Address.of(*name[:2])
        self.sources.append(source)
        self.requests.append(request)
        if answer := self.answer(request, source):
            self.transport.sendto(answer, name)


@asynccontextmanager
async def udp_stun_server(answer: Answer = honest, host: str = "127.0.0.1") -> AsyncIterator[UdpStunServer]:
    server = UdpStunServer(answer)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: server, local_addr=(host, 0))
    server.transport = transport
    server.address = Address.of(*transport.get_extra_info("sockname")[:2])
    try:
        yield server
    finally:
        transport.close()
        await asyncio.sleep(0)  # until it is closed
