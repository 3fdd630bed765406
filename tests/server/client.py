"""A peer that says to a mediator what a test wants it to say, in order or not."""

import asyncio
import contextlib
import functools
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from p2p_core.identity import PeerId, RSAPrivateKey, public_der
from p2p_core.proof import ChannelBinding, PathKind, Purpose, Role, Transcript, prove
from p2p_proto import mediator_pb2 as pb
from p2p_proto import mediator_pb2_grpc as rpc
from p2p_server.app import Mediator
from p2p_server.endings import REASON_KEY, RETRY_AFTER_KEY
from p2p_server.tls import CERTIFICATE_NAME, Certificate

from tests import keys

HELPER = 7  # the test key of the peer that `taken` needs
PATIENCE = 10  # s until a test that waits for something that does not come fails


@dataclass(frozen=True)
class End:
    """How a stream ended."""

    code: grpc.StatusCode
    reason: str
    details: str
    retry_after: int | None  # s


def channel_to(mediator: Mediator, *options: tuple[str, Any]) -> grpc.aio.Channel:
    target = f"127.0.0.1:{mediator.listening.port}"
    options = (("grpc.use_local_subchannel_pool", 1), *options)
    if mediator.certificate is None:
        return grpc.aio.insecure_channel(target, options=options)
    leaf = x509.load_der_x509_certificate(mediator.certificate.leaf_der).public_bytes(Encoding.PEM)
    return grpc.aio.secure_channel(
        target,
        grpc.ssl_channel_credentials(root_certificates=leaf),
        options=(*options, ("grpc.ssl_target_name_override", CERTIFICATE_NAME)),
    )


class Peer:
    """One stream. `step` methods send one message each; `read` takes the next one that is not a Ping."""

    def __init__(self, mediator: Mediator, key: RSAPrivateKey, *options: tuple[str, Any]) -> None:
        self.mediator = mediator
        self.key = key
        self.id = PeerId.of(key.public_key())
        self.nonce = os.urandom(32)
        self.pings: list[int] = []
        self.answers_pings = True
        self._channel = channel_to(mediator, *options)

    @functools.cached_property
    def call(self) -> Any:
        """The stream, which begins when it is used first."""
        return rpc.MediatorStub(self._channel).Meet()

    async def connected(self) -> None:
        """Wait for a connection, again if it is reset: one that is made while a certificate is exchanged may be."""
        await asyncio.wait_for(self._channel.channel_ready(), PATIENCE)

    async def close(self) -> None:
        if "call" in self.__dict__:
            self.call.cancel()
        await self._channel.close()

    async def send(self, **step: Any) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it has ended: `end` tells how
            await self.call.write(pb.ToMediator(**step))

    async def send_bytes(self, data: bytes) -> None:
        """Send a message that is not, or need not be, one of the protocol."""
        self.call = self._channel.stream_stream("/punchwire.v1.Mediator/Meet")()
        await self.call.write(data)

    async def receive(self) -> pb.ToPeer:
        """Take the next message, whatever it is."""
        message = await asyncio.wait_for(self.call.read(), PATIENCE)
        assert isinstance(message, pb.ToPeer), f"the stream ended: {await self.end()}"
        return message

    async def read(self, step: str) -> Any:
        """Take the next message but Pings, which are answered; it has to be this step."""
        while True:
            message = await self.receive()
            name = message.WhichOneof("step")
            if name != "ping":
                assert name == step
                return getattr(message, name)
            await self.on_ping(message.ping.id)

    async def on_ping(self, ping: int) -> None:
        self.pings.append(ping)
        if self.answers_pings:
            await self.pong(ping)

    async def pong(self, ping: int) -> None:
        await self.send(pong=pb.Pong(id=ping))

    async def hello(self, **changed: Any) -> None:
        fields = {"version": 1, "public_key": public_der(self.key.public_key()), "nonce": self.nonce}
        await self.send(hello=pb.Hello(**(fields | changed)))

    def transcript(self, challenge: pb.Challenge, certificate: Certificate | None = None) -> Transcript:
        certificate = certificate or self.mediator.certificate
        return Transcript(
            purpose=Purpose.PEER_TO_MEDIATOR,
            prover=Role.INITIATOR,
            path=PathKind.MEDIATOR,
            binding=ChannelBinding.of_certificate(certificate.leaf_der) if certificate else ChannelBinding.none(),
            initiator=self.id,
            responder=PeerId.parse(self.mediator.listening.mediator_id) if certificate else b"",
            initiator_nonce=self.nonce,
            responder_nonce=challenge.nonce,
        )

    async def prove(self, challenge: pb.Challenge, certificate: Certificate | None = None) -> None:
        """Prove the key to the certificate that is shown, or to another one."""
        await self.send(proof=pb.Proof(signature=prove(self.key, self.transcript(challenge, certificate))))

    async def challenged(self) -> pb.Challenge:
        await self.hello()
        return await self.read("challenge")

    async def enter(self) -> pb.Welcome:
        """Take all the steps up to Welcome, and answer the first Ping."""
        await self.prove(await self.challenged())
        welcome = await self.read("welcome")
        first = await self.receive()
        await self.on_ping(first.ping.id)
        return welcome

    async def advertise(self, wanted: bytes, offer: bytes = b"an offer") -> None:
        await self.send(advertise=pb.Advertise(wanted=wanted, offer=offer))

    async def signal(self, peer: bytes, body: bytes) -> None:
        await self.send(signal=pb.Signal(peer=peer, body=body))

    async def leave(self, peer: bytes) -> None:
        await self.send(leave=pb.Leave(peer=peer))

    async def taken(self) -> None:
        """Return when the mediator has taken all that was sent before, in order: it then makes one match more."""
        helper = Peer(self.mediator, keys.key(HELPER))
        await helper.enter()
        await helper.advertise(self.id)
        await self.advertise(helper.id)
        assert (await self.read("match")).peer == helper.id
        await helper.close()
        assert (await self.read("leave")).peer == helper.id

    async def end(self) -> End:
        """Wait for the end of the stream, passing over what comes before."""
        return await _end_of(self.call)


class RelayPeer:
    """One `Relay` stream."""

    def __init__(self, mediator: Mediator, *options: tuple[str, Any]) -> None:
        self._channel = channel_to(mediator, *options)
        self.call = self._channel.stream_stream("/punchwire.v1.Mediator/Relay")()

    async def close(self) -> None:
        self.call.cancel()
        await self._channel.close()

    async def send(self, **step: Any) -> None:
        await self.send_bytes(pb.RelayMessage(**step).SerializeToString())

    async def send_bytes(self, data: bytes) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it has ended: `end` tells how
            await asyncio.wait_for(self.call.write(data), PATIENCE)

    async def read(self) -> pb.RelayMessage:
        raw = await asyncio.wait_for(self.call.read(), PATIENCE)
        assert isinstance(raw, bytes), f"the stream ended: {await self.end()}"
        return pb.RelayMessage.FromString(raw)

    async def present(self) -> None:
        """Wait until the other side is there."""
        assert await self.read() == pb.RelayMessage(data=b"")

    async def end(self) -> End:
        """Wait for the end of the stream, passing over what comes before."""
        return await _end_of(self.call)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


async def _end_of(call: Any) -> End:
    try:
        async with asyncio.timeout(PATIENCE):
            while isinstance(await call.read(), pb.ToPeer | bytes):
                pass
    except grpc.aio.AioRpcError:
        pass
    trailing = dict(await call.trailing_metadata() or ())
    retry_after = int(trailing[RETRY_AFTER_KEY]) if RETRY_AFTER_KEY in trailing else None
    return End(await call.code(), str(trailing.get(REASON_KEY, "")), await call.details() or "", retry_after)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until the condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)
