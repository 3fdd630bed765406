"""The two limits that gRPC keeps: connections at once, and how long one may be without a stream."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from p2p_core.identity import public_der
from p2p_proto import mediator_pb2 as pb
from p2p_server.app import Mediator

from tests import keys
from tests.server.client import PATIENCE, until
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.raw_http2 import ShutConnection

HELLO = pb.Hello(version=1, public_key=public_der(keys.key(0).public_key()), nonce=bytes(32))


class Silent:
    """Connections that say nothing, not even TLS's first word."""

    def __init__(self) -> None:
        self.writers: list[asyncio.StreamWriter] = []

    async def open(self, mediator: Mediator) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", mediator.listening.port)
        self.writers.append(writer)
        return reader


@pytest.fixture
async def silent() -> AsyncIterator[Silent]:
    connections = Silent()
    yield connections
    for writer in connections.writers:
        writer.transport.abort()


@pytest.mark.parametrize("insecure", [False, True])
async def test_one_connection_more_than_allowed_is_closed_until_another_one_goes(
    start: StartMediator, peer: OpenPeer, silent: Silent, insecure: bool
) -> None:
    mediator = await start(max_connections=2, insecure=insecure)
    held = [await silent.open(mediator) for _ in range(2)]
    third = await silent.open(mediator)
    assert await asyncio.wait_for(third.read(), PATIENCE) == b""
    late = peer(mediator, 0)
    await late.hello()
    assert (await late.end()).code == grpc.StatusCode.UNAVAILABLE
    assert not any(reader.at_eof() for reader in held)
    silent.writers[0].transport.abort()
    async with asyncio.timeout(PATIENCE):
        while not await has_entered(peer, mediator):
            pass  # the mediator has yet to see that it is gone


async def has_entered(peer: OpenPeer, mediator: Mediator) -> bool:
    one = peer(mediator, 1)
    await one.hello()
    try:
        return await one.call.read() is not grpc.aio.EOF
    except grpc.aio.AioRpcError:
        return False


async def test_a_connection_without_a_stream_is_closed(start: StartMediator) -> None:
    mediator = await start(connection_idle=0.5, insecure=True)
    used = await ShutConnection.open(mediator)
    stream = used.call("/punchwire.v1.Mediator/Meet", pb.ToMediator(hello=HELLO).SerializeToString())
    await until(lambda: stream in used.begun)
    idle = await ShutConnection.open(mediator)
    await asyncio.wait_for(asyncio.wait([idle._reading]), PATIENCE)
    assert isinstance(idle._reading.exception(), asyncio.IncompleteReadError | ConnectionError)
    assert not used._reading.done()
    await used.close()
    await idle.close()
