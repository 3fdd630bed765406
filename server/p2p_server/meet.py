"""The `Meet` stream: one peer's conversation with the mediator. docs/protocol/mediator.md.

Hello → Challenge → Proof → Welcome, and then, in any order: Advertise, Withdraw, Signal, Leave, Pong in; Match,
Signal, Leave, Ping out
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass

import grpc
from p2p_core import limits as protocol
from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.wire.candidate import Address, Transport
from p2p_proto import mediator_pb2 as pb

from p2p_server import observed
from p2p_server.authorized import Admits
from p2p_server.clock import Clock, Timer
from p2p_server.config import StunServer
from p2p_server.endings import Ending, StreamEnded
from p2p_server.handshake import Handshake
from p2p_server.heartbeat import Heartbeat, Lost
from p2p_server.limits import Limits
from p2p_server.quota import Place, Quota, source_of
from p2p_server.refusals import Refusals
from p2p_server.stores.base import (
    Displaced,
    Event,
    Left,
    Matched,
    NotMatched,
    Signalled,
    Store,
    StreamId,
    TooManyOthers,
)
from p2p_server.stream import Context, MeetStream, when_gone
from p2p_server.tls import Identity

__all__ = ["SERVICE", "Inbox", "MeetService", "Setting"]

SERVICE = pb.DESCRIPTOR.services_by_name["Mediator"].full_name

_ROLES = {Role.INITIATOR: pb.INITIATOR, Role.RESPONDER: pb.RESPONDER}
_TRANSPORTS = {Transport.UDP: pb.UDP, Transport.TCP: pb.TCP}

_log = logging.getLogger(__name__)


class Inbox:
    """Where the store's events reach the streams of this instance."""

    def __init__(self) -> None:
        self._takers: dict[StreamId, Callable[[Event], None]] = {}

    def open(self, stream: StreamId, take: Callable[[Event], None]) -> None:
        """Call `take` with the events of `stream`, until it is closed."""
        self._takers[stream] = take

    def close(self, stream: StreamId) -> None:
        """Drop what still comes for `stream`."""
        self._takers.pop(stream, None)

    def deliver(self, stream: StreamId, event: Event) -> None:
        """Take an event from the store."""
        if (take := self._takers.get(stream)) is not None:
            take(event)


@dataclass(frozen=True, slots=True)
class Setting:
    """What every conversation needs to know."""

    identity: Identity
    admits: Admits
    refusals: Refusals
    limits: Limits
    clock: Clock
    store: Store
    inbox: Inbox
    quota: Quota  # of streams that nobody's key stands behind: not yet, or no more
    stun: tuple[StunServer, ...]


class MeetService:
    """All `Meet` streams of this instance."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._streams: set[MeetStream] = set()
        self._forgetting: set[asyncio.Task[None]] = set()
        self._stopping = False

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what gRPC calls. It hands over bytes, so that what does not parse is answered like any other fault."""
        meet: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self.meet)
        return grpc.method_handlers_generic_handler(SERVICE, {"Meet": meet})

    async def meet(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Hold one conversation."""
        stream = MeetStream(context, self._setting.limits.outgoing_bytes)
        if self._stopping:
            await stream.refuse(Ending.SHUTTING_DOWN)
            return
        observed_at = observed.from_grpc(context.peer())
        place = Place(self._setting.quota, source_of(observed_at))
        conversation = _Conversation(self._setting, stream, observed_at, place, self._in_background)
        self._streams.add(stream)
        when_gone(context, place.give_back)
        try:
            await stream.run(conversation.hold(), conversation.over)
        finally:
            self._streams.discard(stream)

    def stop(self) -> None:
        """End all streams, and every further one."""
        self._stopping = True
        for stream in self._streams:
            stream.end(Ending.SHUTTING_DOWN)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)


class _Conversation:
    """What one peer has said so far, and what follows from it."""

    def __init__(
        self,
        setting: Setting,
        stream: MeetStream,
        observed_at: Address | None,
        place: Place,
        in_background: Callable[[Coroutine[None, None, None]], None],
    ) -> None:
        self._setting = setting
        self._stream = stream
        self._observed = observed_at
        self._place = place
        self._in_background = in_background
        self._timer: Timer | None = None
        self._id: StreamId | None = None

    async def hold(self) -> None:
        """Talk with the peer until its stream ends. Raises `StreamEnded`, `HalfClosed` and what gRPC raises."""
        if not self._place.take():
            raise StreamEnded(Ending.TOO_MANY_HANDSHAKES)
        peer, round_trip = await self._authenticate()
        self._place.give_back()
        await self._serve(peer, round_trip)

    def over(self) -> None:
        """Give back all that the stream held but its place with gRPC: its end is certain.

        How long the call then lasts is up to the client, which may refuse to take the last message for ever: until
        gRPC has done with it, it is counted, so that nobody piles up streams that are over.
        """
        self._stop_timer()
        if self._id is not None:
            self._place.take_anyway()
            self._setting.inbox.close(self._id)
            self._in_background(self._setting.store.forget(self._id))

    async def _authenticate(self) -> tuple[PeerId, float]:
        """Return the peer that proved its key, and how long the last step took: a first guess at the round trip."""
        clock, setting = self._setting.clock, self._setting
        self._within_step_timeout()
        hello = await self._expect("hello")
        handshake = Handshake(hello.hello, setting.identity)
        self._within_step_timeout()
        challenged = clock.now()
        self._stream.send(pb.ToPeer(challenge=handshake.challenge()))
        proof = await self._expect("proof")
        return handshake.prove(proof.proof, self._admits), clock.now() - challenged

    async def _serve(self, peer: PeerId, round_trip: float) -> None:
        setting = self._setting
        heartbeat = Heartbeat(setting.clock.now(), setting.limits.heartbeat, setting.limits.patience, round_trip)
        stream = StreamId(os.urandom(16).hex())
        self._id = stream
        setting.inbox.open(stream, self._take)
        await setting.store.claim(stream, peer, self._observed, round_trip)
        _log.debug("%s is here", peer.short)
        self._stream.send(pb.ToPeer(welcome=self._welcome()))
        self._beat(heartbeat, peer)
        while True:
            message = await self._stream.read()
            match message.WhichOneof("step"):
                case "advertise":
                    await self._advertise(stream, peer, message.advertise)
                case "withdraw":
                    await setting.store.withdraw(stream, _peer_id(message.withdraw.wanted))
                case "signal":
                    await self._signal(stream, message.signal)
                case "leave":
                    await setting.store.leave(stream, _peer_id(message.leave.peer))
                case "pong":
                    heartbeat.on_pong(message.pong.id, setting.clock.now())
                    await setting.store.measured(stream, heartbeat.round_trip)
                case step:
                    raise _out_of_order(step)

    async def _advertise(self, stream: StreamId, peer: PeerId, message: pb.Advertise) -> None:
        wanted = _peer_id(message.wanted)
        _check_size("an offer", message.offer, protocol.MAX_OFFER_BYTES)
        if wanted == peer:
            raise StreamEnded(Ending.ADVERTISED_SELF)
        try:
            await self._setting.store.advertise(stream, wanted, message.offer)
        except TooManyOthers:
            raise StreamEnded(Ending.TOO_MANY_ADVERTISEMENTS) from None

    async def _signal(self, stream: StreamId, message: pb.Signal) -> None:
        to = _peer_id(message.peer)
        _check_size("a signal", message.body, protocol.MAX_SIGNAL_BYTES)
        try:
            await self._setting.store.signal(stream, to, message.body)
        except NotMatched:
            raise StreamEnded(Ending.NOT_YOUR_MATCH) from None

    def _take(self, event: Event) -> None:
        """Pass on what the store delivers."""
        match event:
            case Matched():
                self._stream.send(pb.ToPeer(match=_match(event)))
            case Signalled(peer, body):
                self._stream.send(pb.ToPeer(signal=pb.Signal(peer=peer, body=body)))
            case Left(peer):
                self._stream.send(pb.ToPeer(leave=pb.Leave(peer=peer)))
            case Displaced():
                self._stream.end(Ending.REPLACED)

    def _beat(self, heartbeat: Heartbeat, peer: PeerId) -> None:
        """Send the Ping that is due, and come back when the next one is."""
        try:
            ping = heartbeat.on_deadline(self._setting.clock.now())
        except Lost:
            self._stream.end(Ending.HEARTBEAT_LOST)
            return
        if not self._admits(peer):  # its key was taken away
            self._stream.end(Ending.NOT_ADMITTED)
            return
        if ping is not None:
            self._stream.send(pb.ToPeer(ping=pb.Ping(id=ping)))
        self._call_at(heartbeat.deadline(), lambda: self._beat(heartbeat, peer))

    def _admits(self, peer: PeerId) -> bool:
        admitted = self._setting.admits(peer)
        if not admitted:
            self._setting.refusals.tell(peer)
        return admitted

    def _welcome(self) -> pb.Welcome:
        return pb.Welcome(
            observed=_endpoint(self._observed),
            stun=[
                pb.StunServer(host=server.host, port=server.port, transport=_TRANSPORTS[server.transport])
                for server in self._setting.stun
            ],
            heartbeat_seconds=round(self._setting.limits.heartbeat),
            unix_seconds=int(self._setting.clock.unix_time()),
            relays=self._setting.limits.relay,
        )

    async def _expect(self, step: str) -> pb.ToMediator:
        message = await self._stream.read()
        if message.WhichOneof("step") != step:
            raise _out_of_order(message.WhichOneof("step"))
        return message

    def _within_step_timeout(self) -> None:
        when = self._setting.clock.now() + self._setting.limits.step_timeout
        self._call_at(when, lambda: self._stream.end(Ending.STEP_TIMEOUT))

    def _call_at(self, when: float, callback: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._setting.clock.call_at(when, callback)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _out_of_order(step: str | None) -> StreamEnded:
    if step is None:
        return StreamEnded(Ending.MALFORMED, "a message without a step that this version knows")
    return StreamEnded(Ending.OUT_OF_ORDER, f"{step} may not come now")


def _peer_id(value: bytes) -> PeerId:
    try:
        return PeerId(value)
    except Malformed as error:
        raise StreamEnded(Ending.MALFORMED, str(error)) from None


def _check_size(what: str, value: bytes, most: int) -> None:
    if not value:
        raise StreamEnded(Ending.MALFORMED, f"{what} is empty")
    if len(value) > most:
        raise StreamEnded(Ending.TOO_LARGE, f"{what} has at most {most} bytes, this has {len(value)}")


def _match(event: Matched) -> pb.Match:
    return pb.Match(
        peer=event.peer,
        role=_ROLES[event.role],
        offer=event.offer,
        own_offer_hash=event.own_offer_hash,
        observed=_endpoint(event.observed),
        start_after_us=round(event.start_after * 1e6),
        one_way_us=round(event.one_way * 1e6),
        relay_ticket=event.relay.ticket if event.relay else b"",
        relay_host=event.relay.host if event.relay else "",
        relay_port=event.relay.port if event.relay else 0,
    )


def _endpoint(address: Address | None) -> pb.Endpoint | None:
    return None if address is None else pb.Endpoint(ip=address.ip.packed, port=address.port)
