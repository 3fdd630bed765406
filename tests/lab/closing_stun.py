"""STUN over TCP that closes each connection after one answer: python closing_stun.py ADDRESS PORT...; says "ready"."""

import asyncio
import sys

from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import HEADER_BYTES, BindingRequest, BindingResponse


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = stun.decode(await reader.readexactly(HEADER_BYTES))
    assert isinstance(request, BindingRequest)
    source = Address.of(*writer.get_extra_info("peername")[:2])
    writer.write(BindingResponse(request.transaction, source).encode())
    await writer.drain()
    writer.close()


async def main(address: str, *ports: str) -> None:
    servers = [await asyncio.start_server(serve, address, int(port)) for port in ports]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main(*sys.argv[1:]))
