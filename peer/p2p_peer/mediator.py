"""The peer's side of the mediator's protocol: docs/protocol/mediator.md."""

import asyncio
import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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

from p2p_peer.mediator_channel import open_channel
from p2p_peer.mediator_endings import REASON_KEY, REASON_LOST, RETRY_KEY, error_of
from p2p_peer.mediator_identity import MediatorIdentity

__all__ = ["Introduction", "MediatorClient", "RelayTicket", "StunServer", "Welcome"]

STEP_TIME = 10.0  # s for the mediator to answer a step of the handshake
ANSWER_TIME = 2.0  # s for it to show that it is still there: some round trips, and a packet lost
_ATTEMPTS = 3  # to hear the reason: it is lost seldom
_MAX_INTRODUCTIONS = 8  # not yet taken; a mediator that sends more has to wait
_MAX_SIGNALS = 8  # likewise; what comes above that is dropped
_METHOD = "/punchwire.v1.Mediator/Meet"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"  # its messages are not read here: empty ones are as good
_ROLES: dict[Any, Role] = {pb.INITIATOR: Role.INITIATOR, pb.RESPONDER: Role.RESPONDER}
_TRANSPORTS: dict[Any, Transport] = {pb.UDP: Transport.UDP, pb.TCP: Transport.TCP}
_MAX_MESSAGE = 2 * limits.MAX_OFFER_BYTES

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
    relays: bool = False


@dataclass(frozen=True, slots=True)
class RelayTicket:
    """Lets us into the relay of one match. An empty host, and a port of 0, are those of the mediator we dialled."""

    ticket: bytes = field(repr=False)
    host: str = ""
    port: int = 0


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
    relay: RelayTicket | None = None  # None: the mediator does not relay for this match


def _ignore(error: PunchwireError) -> None:
    """Tell nobody."""


class MediatorClient:
    """One authenticated `Meet` stream."""

    def __init__(
        self, channel: grpc.aio.Channel, call: Any, ended: Callable[[PunchwireError], None]
    ) -> None:  # a call's generic type is not importable
        self._channel = channel
        self._call = call
        self._on_end = ended
        self._writing = asyncio.Lock()  # gRPC fails the whole call when two writes overlap
        self._arrivals: asyncio.Queue[Introduction | PunchwireError] = asyncio.Queue(_MAX_INTRODUCTIONS)
        self._reader: asyncio.Task[None] | None = None
        self._ended: PunchwireError | None = None
        self._signals: asyncio.Queue[tuple[PeerId, bytes]] = asyncio.Queue(_MAX_SIGNALS)
        self._departures: dict[PeerId, asyncio.Future[None]] = {}
        self.why_ended: PunchwireError | None = None  # None: the stream goes on
        self.welcome = Welcome(None, (), None)

    @classmethod
    async def connect(
        cls, mediator: MediatorIdentity, key: RSAPrivateKey, ended: Callable[[PunchwireError], None] = _ignore
    ) -> "MediatorClient":
        """Prove our key to the mediator; `ended` is told at once when the stream ends, once it has begun, and why.

        Raises `MediatorUnreachable`, `NotAdmitted` or `RemoteProtocolError`.
        """
        for _ in range(_ATTEMPTS - 1):
            with contextlib.suppress(_ReasonLost):
                return await cls._connect(mediator, key, ended)
        return await cls._connect(mediator, key, ended)

    @classmethod
    async def _connect(
        cls, mediator: MediatorIdentity, key: RSAPrivateKey, ended: Callable[[PunchwireError], None]
    ) -> "MediatorClient":
        channel = open_channel(mediator, _MAX_MESSAGE)
        # What comes is parsed here, and not by gRPC, which would not say that it was the mediator who sent nonsense.
        client = cls(channel, channel.stream_stream(_METHOD, pb.ToMediator.SerializeToString)(), ended)
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

    async def withdraw(self, wanted: PeerId) -> None:
        """Say that nobody stands behind the last offer any more, if it was not matched yet."""
        await self._write(pb.ToMediator(withdraw=pb.Withdraw(wanted=wanted)))

    async def leave(self, peer: PeerId) -> None:
        """Say that the session with `peer` is over, or that it is no longer wanted."""
        await self._write(pb.ToMediator(leave=pb.Leave(peer=peer)))

    async def signal(self, peer: PeerId, body: bytes) -> None:
        """Send `body` to a peer that was introduced, and has not left since."""
        if self.is_matched(peer):
            await self._write(pb.ToMediator(signal=pb.Signal(peer=peer, body=body)))

    async def signalled(self) -> tuple[PeerId, bytes]:
        """Wait for the next signal of a peer that was introduced."""
        return await self._signals.get()

    def is_matched(self, peer: PeerId) -> bool:
        """Whether `peer` was introduced on this stream, and has not left since."""
        departure = self._departures.get(peer)
        return departure is not None and not departure.done()

    def has_left(self, peer: PeerId) -> bool:
        """Whether `peer` was introduced on this stream, and has left since."""
        departure = self._departures.get(peer)
        return departure is not None and departure.done()

    async def introduction(self) -> Introduction:
        """Wait for the next match. Raises what ended the stream, if it ends first."""
        if self._ended is not None:
            raise self._ended
        arrival = await self._arrivals.get()  # when it is cancelled, what has come stays in the queue
        if isinstance(arrival, Introduction):
            return arrival
        self._ended = arrival
        raise arrival

    async def answers(self) -> bool:
        """Ask whether the mediator is still there, over the connection that has the stream.

        Nothing that is sent on the stream has an answer, but a health check beside it has (gRPC Health Checking
        Protocol); an error is one, too. gRPC itself takes up to 30 s to notice that a network is no more.
        """
        check: Any = self._channel.unary_unary(_HEALTH_CHECK)
        try:
            await check(b"", timeout=ANSWER_TIME)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE):
                return False
        return self.why_ended is None

    def departure(self, peer: PeerId) -> "asyncio.Future[None]":
        """Return what is done once the mediator says that `peer`, which it has introduced, has left it."""
        return self._departures[peer]

    async def close(self) -> None:
        """End the stream and the connection."""
        self.why_ended = self.why_ended or MediatorUnreachable("the stream to the mediator was closed")
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
        if challenge.version != limits.PROTOCOL_VERSION:
            raise RemoteProtocolError(f"a challenge of version {challenge.version}").by("the mediator")
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
                    case "signal":
                        with contextlib.suppress(asyncio.QueueFull):
                            self._signals.put_nowait((_peer_id(message.signal.peer), message.signal.body))
                    case _:  # a step of a later version
                        continue
        except PunchwireError as error:
            _log.info("the mediator's stream ended: %s", error)
            self.why_ended = error
            self._on_end(error)
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
        if details == REASON_LOST:
            return _ReasonLost("the mediator ended the connection")
        reason, retry_after = (str(trailing.get(key, "")) for key in (REASON_KEY, RETRY_KEY))
        return error_of(await self._call.code(), reason, details, retry_after)


def _welcome(message: pb.Welcome) -> Welcome:
    servers = tuple(
        StunServer(server.host, server.port, _TRANSPORTS[server.transport])
        for server in message.stun
        if server.transport in _TRANSPORTS and 0 < server.port < 65536
    )
    ahead = message.unix_seconds - time.time() if message.unix_seconds else None
    observed = _endpoint(message.observed) if message.HasField("observed") else None
    return Welcome(observed, servers, ahead, message.relays)


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
        relay=_relay_ticket(message),
    )


def _relay_ticket(message: pb.Match) -> RelayTicket | None:
    if not message.relay_ticket:
        return None
    if len(message.relay_ticket) != limits.RELAY_TICKET_BYTES or message.relay_port > 65535:
        raise RemoteProtocolError("a match with a ticket for no relay").by("the mediator")
    return RelayTicket(message.relay_ticket, message.relay_host, message.relay_port)


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
