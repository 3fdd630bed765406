"""What gRPC does with the name of a method that is no UTF-8, where nobody keeps it from that."""

import asyncio

import grpc
import pytest

from tests.server.client import PATIENCE
from tests.server.raw_http2 import NO_UTF_8, ask


async def test_without_ours_such_a_name_still_ends_the_server() -> None:
    """When this fails, grpcio has mended it: docs/decisions/unknown-methods.md."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await ask(port, NO_UTF_8, tls=False)
    with pytest.raises(UnicodeDecodeError):
        await asyncio.wait_for(server.wait_for_termination(), PATIENCE)
