"""A mediator that says what a test wants it to say: a real gRPC server on loopback."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
from p2p_core.proof import ChannelBinding
from p2p_core.wire.candidate import Address
from p2p_peer.mediator_identity import MediatorIdentity
from p2p_proto import mediator_pb2 as pb

from tests.peer.pair import soon

NONCE = bytes(range(32))


class Stream:
    """The mediator's side of one `Meet` stream."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.read_so_far: list[pb.ToMediator] = []

    async def read(self, step: str) -> Any:
        """Take the next message, which has to be this step."""
        message = await soon(self._context.read())
        assert isinstance(message, pb.ToMediator), f"the peer ended where a {step} belongs"
        self.read_so_far.append(message)
        assert message.WhichOneof("step") == step
        return getattr(message, step)

    async def send(self, **step: Any) -> None:
        await self._context.write(pb.ToPeer(**step))

    async def send_bytes(self, data: bytes) -> None:
        """Send a message that need not be one of the protocol."""
        await self._context.write(data)

    async def admit(self, **welcome: Any) -> None:
        """Take the steps up to Welcome, believing everything."""
        await self.read("hello")
        await self.send(challenge=pb.Challenge(version=1, nonce=NONCE))
        await self.read("proof")
        await self.send(welcome=pb.Welcome(**welcome))

    async def end(self, code: grpc.StatusCode, details: str = "", reason: str = "", retry_after: str = "") -> None:
        said = {"punchwire-reason": reason, "punchwire-retry-after": retry_after}
        await self._context.abort(code, details, tuple((key, value) for key, value in said.items() if value))

    async def stay(self) -> None:
        """Read on until the peer ends the stream."""
        while isinstance(await self._context.read(), pb.ToMediator):
            pass


Script = Callable[[Stream], Awaitable[None]]


@asynccontextmanager
async def scripted_mediator(script: Script, *, is_deaf: bool = False) -> AsyncIterator[MediatorIdentity]:
    """Run one; yield what a peer knows of it. An assertion that fails in the script fails the test.

    It answers no health check if it `is_deaf`; else that it has none.
    """
    failures: list[BaseException] = []

    async def meet(request_iterator: Any, context: Any) -> None:
        try:
            await script(Stream(context))
        except (AssertionError, TimeoutError) as error:
            failures.append(error)
            raise

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(meet, pb.ToMediator.FromString, _serialized)
    service = grpc.method_handlers_generic_handler("punchwire.v1.Mediator", {"Meet": handler})
    server.add_generic_rpc_handlers([service])
    if is_deaf:
        check = grpc.unary_unary_rpc_method_handler(_for_ever)
        server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})]
        )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield at(port)
    finally:
        await server.stop(0)
        await asyncio.sleep(0)
    if failures:
        raise failures[0]


async def _for_ever(request: bytes, context: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


def _serialized(message: pb.ToPeer | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def at(port: int) -> MediatorIdentity:
    return MediatorIdentity(Address.of("127.0.0.1", port), None, None, b"", "", ChannelBinding.none())
