"""One peer's conversation with the mediator: docs/protocol/mediator.md.

Hello → Challenge → Proof → Welcome, and then, in any order: Advertise, Withdraw, Signal, Leave, Pong in; Match,
Signal, Leave, Ping out
"""

import logging
import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

from p2p_core import limits as protocol
from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.token_bucket import TokenBucket
from p2p_core.wire.candidate import Address, Transport
from p2p_proto import mediator_pb2 as pb

from p2p_server.admission import Admission
from p2p_server.authorized import Admits
from p2p_server.clock import Clock, Timer
from p2p_server.config import StunServer
from p2p_server.endings import Ending, StreamEnded
from p2p_server.handshake import Handshake
from p2p_server.heartbeat import Heartbeat, HeartbeatLost
from p2p_server.inbox import Inbox
from p2p_server.limits import Limits
from p2p_server.logs import fields, visits
from p2p_server.metrics import Metrics
from p2p_server.refusals import Refusals
from p2p_server.stores.base import (
    Displaced,
    Event,
    Left,
    Lost,
    Matched,
    NotMatched,
    Signalled,
    Store,
    StoreUnavailable,
    StreamId,
    TooManyOthers,
)
from p2p_server.stream import MeetStream
from p2p_server.tls import Identity

__all__ = ["Conversation", "Setting"]

_IN_FLIGHT = 15.0  # s after a match: no attempt to connect takes longer

_ROLES = {Role.INITIATOR: pb.INITIATOR, Role.RESPONDER: pb.RESPONDER}
_TRANSPORTS = {Transport.UDP: pb.UDP, Transport.TCP: pb.TCP}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Setting:
    """What every conversation needs to know."""

    identities: Callable[[], Sequence[Identity]]  # the present one first
    admits: Admits
    refusals: Refusals
    limits: Limits
    clock: Clock
    store: Store
    inbox: Inbox
    admission: Admission
    metrics: Metrics
    stun: tuple[StunServer, ...]


class Conversation:
    """What one peer has said so far, and what follows from it."""

    def __init__(
        self,
        setting: Setting,
        stream: MeetStream,
        observed: Address | None,
        in_background: Callable[[Coroutine[None, None, None]], None],
        return_in: Callable[[], float],
    ) -> None:
        """Talk on `stream`, with a peer at `observed`; `in_background` does what may take longer than the stream.

        `return_in` says when a peer that is sent away together with all others is to come again (s).
        """
        self._setting = setting
        self._stream = stream
        self._observed = observed
        self._in_background = in_background
        self._return_in = return_in
        self.place = setting.admission.place(observed)
        self.peer: PeerId | None = None  # once it is welcome
        self._id: StreamId | None = None
        self._timer: Timer | None = None
        self._last_call: Timer | None = None
        self._wanted: dict[PeerId, float] = {}  # and since when
        self._matched_at = -_IN_FLIGHT + setting.clock.now()
        limits = setting.limits
        now = setting.clock.now()
        self._steps = TokenBucket(limits.steps_per_second, limits.steps_at_once, now)
        self._signals = TokenBucket(limits.signals_per_second, limits.signals_at_once, now)

    async def hold(self) -> None:
        """Talk with the peer until its stream ends. Raises `StreamEnded`, `HalfClosed` and what gRPC raises."""
        setting = self._setting
        setting.admission.check_address(self._observed)
        if not self.place.take(lambda: self._stream.end(Ending.TOO_MANY_HANDSHAKES)):
            raise StreamEnded(Ending.TOO_MANY_HANDSHAKES)
        opened = setting.clock.now()
        peer, round_trip = await self._authenticate()
        self.place.proved()
        setting.admission.check_key(peer)
        setting.metrics.proved(setting.clock.now() - opened)
        try:
            await self._serve(peer, round_trip)
        except StoreUnavailable:
            raise StreamEnded(Ending.STORE_UNAVAILABLE) from None

    def over(self) -> None:
        """Give back all that the stream held but its place with gRPC: its end is certain.

        How long the call then lasts is up to the client, which may refuse to take the last message for ever: until
        gRPC has done with it, it is counted, so that nobody piles up streams that are over; it takes nobody's place.
        """
        self._stop_timer()
        if self._last_call is not None:
            self._last_call.cancel()
        self._wanted.clear()
        self.place.linger()
        if self._id is not None:
            visits.info("a peer is gone", extra=fields(event="peer-gone", peer=self.peer, reason=self._stream.outcome))
            self._setting.inbox.close(self._id)
            self._in_background(self._forget(self._id))

    @property
    def is_waiting(self) -> bool:
        """Whether the peer waits for another one."""
        return bool(self._wanted)

    def shut_down(self, until: float) -> None:
        """End the stream for a shutdown: at once, unless its peer was just matched and is about to connect."""
        now = self._setting.clock.now()
        when = min(self._matched_at + _IN_FLIGHT, until)
        if when <= now:
            self._stream.end(Ending.SHUTTING_DOWN, retry_after=self._return_in())
        elif self._last_call is None:
            self._last_call = self._setting.clock.call_at(when, lambda: self._shut_down_late(until))

    def _shut_down_late(self, until: float) -> None:
        self._last_call = None
        self.shut_down(until)  # it may have been matched once more

    def revoke(self) -> None:
        """End the stream of a peer whose key was taken away."""
        _log.info("a peer's key was taken away: it is sent away", extra=fields(event="key-revoked", peer=self.peer))
        self._stream.end(Ending.NOT_ADMITTED)

    async def _authenticate(self) -> tuple[PeerId, float]:
        """Return the peer that proved its key, and how long the last step took: a first guess at the round trip."""
        clock, setting = self._setting.clock, self._setting
        self._within_step_timeout()
        hello = await self._expect("hello")
        handshake = Handshake(hello.hello, setting.identities())
        self._within_step_timeout()
        challenged = clock.now()
        self._stream.send(pb.ToPeer(challenge=handshake.challenge()))
        proof = await self._expect("proof")
        return handshake.prove(proof.proof, self._admits), clock.now() - challenged

    async def _serve(self, peer: PeerId, round_trip: float) -> None:
        setting = self._setting
        heartbeat = Heartbeat(setting.clock.now(), setting.limits.heartbeat, setting.limits.patience, round_trip)
        stream = StreamId(os.urandom(16).hex())
        self.peer, self._id = peer, stream
        setting.inbox.open(stream, self._take)
        await setting.store.claim(stream, peer, self._observed, round_trip)
        if self._stream.is_over:
            return
        visits.info("a peer is here", extra=fields(event="peer-here", peer=peer, address=self._observed))
        self._stream.send(pb.ToPeer(welcome=self._welcome()))
        self._beat(heartbeat)
        while True:
            message = await self._stream.read()
            match message.WhichOneof("step"):
                case "advertise":
                    await self._advertise(stream, peer, message.advertise)
                case "withdraw":
                    self._count(self._steps, Ending.STEP_RATE)
                    wanted = _peer_id(message.withdraw.wanted)
                    self._wanted.pop(wanted, None)
                    await setting.store.withdraw(stream, wanted)
                case "signal":
                    await self._signal(stream, message.signal)
                case "leave":
                    self._count(self._steps, Ending.STEP_RATE)
                    other = _peer_id(message.leave.peer)
                    self._wanted.pop(other, None)
                    await setting.store.leave(stream, other)
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
        self._count(self._steps, Ending.STEP_RATE)
        self._wanted[wanted] = self._setting.clock.now()
        try:
            await self._setting.store.advertise(stream, wanted, message.offer)
        except TooManyOthers:
            raise StreamEnded(Ending.TOO_MANY_ADVERTISEMENTS) from None

    async def _signal(self, stream: StreamId, message: pb.Signal) -> None:
        to = _peer_id(message.peer)
        _check_size("a signal", message.body, protocol.MAX_SIGNAL_BYTES)
        self._count(self._signals, Ending.SIGNAL_RATE)
        try:
            await self._setting.store.signal(stream, to, message.body)
        except NotMatched:
            raise StreamEnded(Ending.NOT_YOUR_MATCH) from None
        self._setting.metrics.signalled()

    def _count(self, bucket: TokenBucket, ending: Ending) -> None:
        now = self._setting.clock.now()
        bucket.take(1, now)
        if not bucket.has(0, now):
            raise StreamEnded(ending, retry_after=bucket.free_at(now) - now)

    def _take(self, event: Event) -> None:
        """Pass on what the store delivers."""
        match event:
            case Matched():
                self._note_match(event)
                self._stream.send(pb.ToPeer(match=_match(event)))
            case Signalled(peer, body):
                self._stream.send(pb.ToPeer(signal=pb.Signal(peer=peer, body=body)))
            case Left(peer):
                self._stream.send(pb.ToPeer(leave=pb.Leave(peer=peer)))
            case Displaced():
                self._stream.end(Ending.REPLACED)
            case Lost():
                self._stream.end(Ending.STORE_UNAVAILABLE, retry_after=self._return_in())

    def _note_match(self, event: Matched) -> None:
        self._matched_at = now = self._setting.clock.now()
        since = self._wanted.pop(event.peer, now)
        if event.role is Role.RESPONDER:
            self._setting.metrics.matched(now - since)
            visits.info("two peers are matched", extra=fields(event="peers-matched", peer=self.peer, other=event.peer))

    def _beat(self, heartbeat: Heartbeat) -> None:
        """Send the Ping that is due, and come back when the next one is."""
        try:
            ping = heartbeat.on_deadline(self._setting.clock.now())
        except HeartbeatLost:
            self._stream.end(Ending.HEARTBEAT_LOST)
            return
        if ping is not None:
            self._stream.send(pb.ToPeer(ping=pb.Ping(id=ping)))
        self._call_at(heartbeat.deadline(), lambda: self._beat(heartbeat))

    def _admits(self, peer: PeerId) -> bool:
        admitted = self._setting.admits(peer)
        if not admitted:
            self._setting.refusals.tell(peer)
        return admitted

    async def _forget(self, stream: StreamId) -> None:
        try:
            await self._setting.store.forget(stream)
        except StoreUnavailable:  # it forgets by itself those that it hears nothing of
            _log.debug("the store could not be told that a stream has ended", extra=fields(event="not-forgotten"))

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
        when = self._setting.clock.now() + self._setting.limits.handshake_timeout
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
