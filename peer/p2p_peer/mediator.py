"""The peer's side of the mediator's protocol: docs/protocol/mediator.md."""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from p2p_core import limits
from p2p_core.errors import (
    Malformed,
    MediatorUnreachable,
    PunchwireError,
    RemoteProtocolError,
)
from p2p_core.identity import PeerId, RSAPrivateKey, public_der
from p2p_core.proof import PathKind, Purpose, Role, Transcript, prove
from p2p_core.wire.candidate import Address, Transport
from p2p_proto import mediator_pb2 as pb

from p2p_peer.mediator_endings import REASON_KEY, error_of
from p2p_peer.mediator_identity import MediatorIdentity

__all__ = ["Introduction", "MediatorClient", "StunServer", "Welcome"]

STEP_TIME = 10.0  # s for the mediator to answer a step of the handshake
_LOST = "Internal error from Core"  # in place of the reason, when a write meets the end of the stream before it is read
_ATTEMPTS = 3  # to hear the reason: it is lost seldom
_MAX_INTRODUCTIONS = 8  # not yet taken; a mediator that sends more has to wait
_METHOD = "/punchwire.v1.Mediator/Meet"
_ROLES: dict[Any, Role] = {pb.INITIATOR: Role.INITIATOR, pb.RESPONDER: Role.RESPONDER}
_TRANSPORTS: dict[Any, Transport] = {pb.UDP: Transport.UDP, pb.TCP: Transport.TCP}
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 2 * limits.MAX_OFFER_BYTES),
    ("grpc.keepalive_time_ms", 20_000),  # shorter than routers forget an idle TCP mapping; the mediator allows it
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),  # else it stops asking after two, and a dead mediator goes unnoticed
    ("grpc.enable_retries", 0),
)

_log = logging.getLogger(__name__)


class _ReasonLost(MediatorUnreachable):
    """The stream has ended, and gRPC has lost why."""


@dataclass(frozen=True, slots=True)
class StunServer:
    """A STUN server the mediator names. An empty host is the mediator's own."""

    host: str
    port: int
    transport: Transport


@dataclass(frozen=True, slots=True)
class Welcome:
    """The mediator admits us."""

    observed: Address | None  # ours, as it sees this stream
    stun: tuple[StunServer, ...]
    clock_ahead: float | None  # s that its clock is ahead of ours, if it tells


@dataclass(frozen=True, slots=True)
class Introduction:
    """The other peer wants us too: a `Match`, checked."""

    peer: PeerId
    role: Role
    offer: bytes  # the other side's, sealed
    own_offer_hash: bytes  # of ours that was matched
    observed: Address | None  # the other side's, as the mediator sees it
    start_after: float  # s to wait, so that both sides start together
    one_way: float  # s this message travelled, by the mediator's estimate
    received_at: float  # `time.monotonic()` when it came


class MediatorClient:
    """One authenticated `Meet` stream."""

    def __init__(self, channel: grpc.aio.Channel, call: Any) -> None:  # a call's generic type is not importable
        self._channel = channel
        self._call = call
        self._writing = asyncio.Lock()  # gRPC fails the whole call when two writes overlap
        self._arrivals: asyncio.Queue[Introduction | PunchwireError] = asyncio.Queue(_MAX_INTRODUCTIONS)
        self._reader: asyncio.Task[None] | None = None
        self._ended: PunchwireError | None = None
        self._departures: dict[PeerId, asyncio.Future[None]] = {}
        self.welcome = Welcome(None, (), None)

    @classmethod
    async def connect(cls, mediator: MediatorIdentity, key: RSAPrivateKey) -> "MediatorClient":
        """Prove our key to the mediator. Raises `MediatorUnreachable`, `NotAdmitted` or `RemoteProtocolError`."""
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(_ReasonLost):
                return await cls._connect(mediator, key)
        return await cls._connect(mediator, key)

    @classmethod
    async def _connect(cls, mediator: MediatorIdentity, key: RSAPrivateKey) -> "MediatorClient":
        channel = _channel_to(mediator)
        # What comes is parsed here, and not by gRPC, which would not say that it was the mediator who sent nonsense.
        client = cls(channel, channel.stream_stream(_METHOD, pb.ToMediator.SerializeToString)())
        try:
            await client._authenticate(mediator, key)
        except BaseException:
            await client.close()
            raise
        client._reader = asyncio.create_task(client._read_on())
        return client

    async def advertise(self, wanted: PeerId, offer: bytes) -> None:
        """Say that we want to meet `wanted`, with our sealed offer; again to refresh it."""
        await self._write(pb.ToMediator(advertise=pb.Advertise(wanted=wanted, offer=offer)))

    async def leave(self, peer: PeerId) -> None:
        """Say that the session with `peer` is over, or that it is no longer wanted."""
        await self._write(pb.ToMediator(leave=pb.Leave(peer=peer)))

    async def introduction(self) -> Introduction:
        """Wait for the next match. Raises what ended the stream, if it ends first."""
        if self._ended is not None:
            raise self._ended
        arrival = await self._arrivals.get()  # when it is cancelled, what has come stays in the queue
        if isinstance(arrival, Introduction):
            return arrival
        self._ended = arrival
        raise arrival

    def departure(self, peer: PeerId) -> "asyncio.Future[None]":
        """Return what is done once the mediator says that `peer`, which it has introduced, has left it."""
        return self._departures[peer]

    async def close(self) -> None:
        """End the stream and the connection."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self._call.cancel()
        await self._channel.close()

    async def _authenticate(self, mediator: MediatorIdentity, key: RSAPrivateKey) -> None:
        nonce = os.urandom(limits.NONCE_BYTES)
        public = key.public_key()
        hello = pb.Hello(version=limits.PROTOCOL_VERSION, public_key=public_der(public), nonce=nonce)
        challenge = (await self._ask(pb.ToMediator(hello=hello), "challenge")).challenge
        if len(challenge.nonce) != limits.NONCE_BYTES:
            raise RemoteProtocolError(f"a nonce of {len(challenge.nonce)} bytes").by("the mediator")
        _log.info("the mediator sent its challenge; proving our key")
        transcript = Transcript(
            purpose=Purpose.PEER_TO_MEDIATOR,
            prover=Role.INITIATOR,
            path=PathKind.MEDIATOR,
            binding=mediator.binding,
            initiator=PeerId.of(public),
            responder=mediator.id or b"",
            initiator_nonce=nonce,
            responder_nonce=challenge.nonce,
        )
        proof = pb.ToMediator(proof=pb.Proof(signature=prove(key, transcript)))
        self.welcome = _welcome((await self._ask(proof, "welcome")).welcome)
        _log.info("admitted; the mediator sees us at %s", self.welcome.observed or "an address it does not tell")

    async def _ask(self, message: pb.ToMediator, step: str) -> pb.ToPeer:
        """Send `message`; the answer must be `step`."""
        try:
            async with asyncio.timeout(STEP_TIME):
                await self._write(message)
                answer = await self._read()
        except TimeoutError:
            raise MediatorUnreachable(f"the mediator did not answer within {STEP_TIME:g} s") from None
        if answer.WhichOneof("step") != step:
            came = answer.WhichOneof("step") or "step of another version"
            raise RemoteProtocolError(f"a {came} where a {step} belongs").by("the mediator")
        return answer

    async def _read_on(self) -> None:
        """Read until the stream ends, and queue why it did."""
        try:
            while True:
                message = await self._read()
                match message.WhichOneof("step"):
                    case "match":
                        introduction = _introduction(message.match)
                        self._departures[introduction.peer] = asyncio.get_running_loop().create_future()
                        await self._arrivals.put(introduction)
                    case "leave":
                        departure = self._departures.get(_peer_id(message.leave.peer))
                        if departure is not None and not departure.done():
                            departure.set_result(None)
                    case "ping":
                        await self._write(pb.ToMediator(pong=pb.Pong(id=message.ping.id)))
                    case _:  # a signal, which nobody waits for yet, or a step of a later version
                        continue
        except PunchwireError as error:
            _log.info("the mediator's stream ended: %s", error)
            await self._arrivals.put(error)

    async def _read(self) -> pb.ToPeer:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise await self._why_it_ended() from error
        if not isinstance(message, bytes):  # grpc.aio.EOF
            raise await self._why_it_ended()
        try:
            return pb.ToPeer.FromString(message)
        except DecodeError as error:
            raise Malformed("a message that does not parse").by("the mediator") from error

    async def _write(self, message: pb.ToMediator) -> None:
        try:
            async with self._writing:
                await self._call.write(message)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._why_it_ended() from error

    async def _why_it_ended(self) -> PunchwireError:
        trailing = dict(await self._call.trailing_metadata() or ())
        details = await self._call.details() or ""
        if details == _LOST:
            return _ReasonLost("the mediator ended the connection")
        return error_of(await self._call.code(), str(trailing.get(REASON_KEY, "")), details)


def _channel_to(mediator: MediatorIdentity) -> grpc.aio.Channel:
    host = f"[{mediator.address.host}]" if mediator.address.ip.version == 6 else mediator.address.host
    target = f"ipv{mediator.address.ip.version}:{host}:{mediator.address.port}"
    options = list(_CHANNEL_OPTIONS)
    if mediator.id is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates=mediator.leaf_pem)
    override = ("grpc.ssl_target_name_override", mediator.leaf_name)
    return grpc.aio.secure_channel(target, credentials, options=[*options, override])


def _welcome(message: pb.Welcome) -> Welcome:
    servers = tuple(
        StunServer(server.host, server.port, _TRANSPORTS[server.transport])
        for server in message.stun
        if server.transport in _TRANSPORTS and 0 < server.port < 65536
    )
    ahead = message.unix_seconds - time.time() if message.unix_seconds else None
    return Welcome(_endpoint(message.observed) if message.HasField("observed") else None, servers, ahead)


def _introduction(message: pb.Match) -> Introduction:
    received_at = time.monotonic()
    if message.role not in _ROLES or len(message.own_offer_hash) != hashlib.sha256().digest_size:
        raise RemoteProtocolError("a match without a role, or without the offer it belongs to").by("the mediator")
    return Introduction(
        peer=_peer_id(message.peer),
        role=_ROLES[message.role],
        offer=message.offer,
        own_offer_hash=message.own_offer_hash,
        observed=_endpoint(message.observed) if message.HasField("observed") else None,
        start_after=min(message.start_after_us / 1e6, limits.MAX_START_DELAY),
        one_way=min(message.one_way_us / 1e6, limits.MAX_START_DELAY),
        received_at=received_at,
    )


def _peer_id(value: bytes) -> PeerId:
    try:
        return PeerId(value)
    except Malformed as error:
        raise error.by("the mediator") from None


def _endpoint(message: pb.Endpoint) -> Address | None:
    try:
        return Address.from_packed(message.ip, message.port)
    except Malformed:  # one candidate less
        return None
