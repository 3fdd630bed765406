"""A mediator that means ill: real gRPC and TLS on loopback, honest but for what a test bends.

Its words are made as the protocol says, and go through a function that may change, drop, multiply or keep them.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from p2p_core.identity import PeerId, public_from_der
from p2p_proto import mediator_pb2 as pb

from tests.attack.victims import until
from tests.peer.tls_server import Shown, shown

__all__ = ["Guest", "MaliciousMediator", "falsified"]

NONCE = bytes(range(32))


def falsified(match: pb.Match, **fields: Any) -> pb.Match:
    """The same match with other fields."""
    return pb.Match(**({field.name: value for field, value in match.ListFields()} | fields))


@dataclass(eq=False)
class Guest:
    """One peer's stream, and what it has said."""

    context: Any
    hello: pb.Hello
    proof: pb.Proof = field(default_factory=pb.Proof)
    offers: list[bytes] = field(default_factory=list)
    said: list[pb.ToMediator] = field(default_factory=list)
    matched: "Guest | None" = None
    over: bool = False
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def peer(self) -> PeerId:
        return PeerId.of(public_from_der(self.hello.public_key))

    async def send(self, **step: Any) -> None:
        """Send one message, unless it has gone.

        One at a time: gRPC refuses a write during another with the error that it has for a stream that is over.
        """
        with contextlib.suppress(grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError):
            async with self._writing:
                await self.context.write(pb.ToPeer(**step))

    async def end(self, code: grpc.StatusCode, details: str = "", reason: str = "", retry_after: str = "") -> None:
        said = {"punchwire-reason": reason, "punchwire-retry-after": retry_after}
        await self.context.abort(code, details, tuple((key, value) for key, value in said.items() if value))

    def heard(self, step: str) -> list[Any]:
        """All of this step that it has said."""
        return [getattr(message, step) for message in self.said if message.WhichOneof("step") == step]


Tell = Callable[[Guest, pb.Match], Sequence[pb.Match]]
Begin = Callable[[Guest], Coroutine[Any, Any, None]]
# What came from the initiator (0) or the responder (1) → what goes to which of them; None: the end.
Carry = Callable[[int, bytes], Sequence[tuple[int, bytes | None]]]


def _honestly(guest: Guest, match: pb.Match) -> Sequence[pb.Match]:
    return [match]


def _as_it_is(seat: int, data: bytes) -> Sequence[tuple[int, bytes | None]]:
    return [(1 - seat, data)]


async def _always_the_same(hello: pb.Hello) -> bytes:
    return NONCE


async def _nothing_more(guest: Guest) -> None:
    """Begin nothing beside what the protocol says."""


@dataclass
class MaliciousMediator:
    """Admits everybody and matches who want each other.

    `tell` makes what a guest is told of its match; `begin` runs for each guest once it was welcomed; `carry` makes
    what goes on of what comes through the relay. What comes as a signal goes through `signal`.
    """

    tell: Tell = _honestly
    welcome: pb.Welcome = field(default_factory=pb.Welcome)
    begin: Begin = _nothing_more
    carry: Carry = _as_it_is
    signal: Callable[[Guest, pb.Signal], Sequence[tuple[Guest, pb.Signal]]] | None = None
    challenge: Callable[[pb.Hello], Awaitable[bytes]] = _always_the_same
    tells_departures: bool = True
    shows: Shown | None = field(default_factory=shown)  # None: no TLS
    partner: Callable[[Guest], PeerId | None] = lambda guest: None  # who is matched with it, whoever it wants
    guests: list[Guest] = field(default_factory=list)
    port: int = 0
    _server: grpc.aio.Server | None = None
    _waiting: list[tuple[Guest, PeerId, bytes]] = field(default_factory=list)
    _seats: dict[bytes, "_Seat"] = field(default_factory=dict)
    _cuts: "list[asyncio.Future[None]]" = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator["MaliciousMediator"]:
        """Serve, until it is left."""
        server = grpc.aio.server()
        methods: dict[str, Any] = {
            "Meet": grpc.stream_stream_rpc_method_handler(self._meet, pb.ToMediator.FromString, _serialized),
            "Relay": grpc.stream_stream_rpc_method_handler(self._relay, pb.RelayMessage.FromString, _serialized),
        }
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("punchwire.v1.Mediator", methods)])
        where = f"127.0.0.1:{self.port}"
        if self.shows is None:
            self.port = server.add_insecure_port(where)
        else:
            key = self.shows.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            self.port = server.add_secure_port(where, grpc.ssl_server_credentials([(key, self.shows.pem)]))
        await server.start()
        self._server = server
        try:
            yield self
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Serve no more: every stream ends at once."""
        if self._server is not None:
            await self._server.stop(0)
            await asyncio.sleep(0)

    def cut_relays(self) -> int:
        """End every stream of the relay, in the middle of whatever it carries; return how many there were."""
        for cut in self._cuts:
            cut.set_result(None)
        return len(self._cuts)

    async def _meet(self, request_iterator: Any, context: Any) -> None:
        first = await context.read()
        if not isinstance(first, pb.ToMediator):
            return
        guest = Guest(context, first.hello)
        self.guests.append(guest)
        await guest.send(challenge=pb.Challenge(version=1, nonce=await self.challenge(first.hello)))
        second = await context.read()
        if not isinstance(second, pb.ToMediator):
            return
        guest.proof = second.proof
        await guest.send(welcome=self.welcome)
        beginning = asyncio.create_task(self.begin(guest))
        try:
            while isinstance(message := await context.read(), pb.ToMediator):
                guest.said.append(message)
                await self._heard(guest, message)
        finally:
            guest.over = True
            self._waiting = [each for each in self._waiting if each[0] is not guest]
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
            if self.tells_departures and guest.matched is not None and not guest.matched.over:
                await guest.matched.send(leave=pb.Leave(peer=guest.peer))

    async def _heard(self, guest: Guest, message: pb.ToMediator) -> None:
        match message.WhichOneof("step"):
            case "advertise":
                guest.offers.append(message.advertise.offer)
                wanted = self.partner(guest) or PeerId(message.advertise.wanted)
                await self._wants(guest, wanted, message.advertise.offer)
            case "withdraw":
                self._waiting = [each for each in self._waiting if each[0] is not guest]
            case "signal" if guest.matched is not None:
                passed = [(guest.matched, pb.Signal(peer=guest.peer, body=message.signal.body))]
                for to, signal in passed if self.signal is None else self.signal(guest, message.signal):
                    await to.send(signal=signal)

    async def _wants(self, guest: Guest, wanted: PeerId, offer: bytes) -> None:
        for earlier in self._waiting:
            if earlier[0].peer == wanted and earlier[1] == guest.peer:
                self._waiting.remove(earlier)
                await self._match(earlier[0], earlier[2], guest, offer)
                return
        self._waiting = [each for each in self._waiting if each[0] is not guest]
        self._waiting.append((guest, wanted, offer))

    async def _match(self, first: Guest, first_offer: bytes, second: Guest, second_offer: bytes) -> None:
        first.matched, second.matched = second, first
        tickets = [os.urandom(32) if self.welcome.relays else b"" for _ in range(2)]
        if self.welcome.relays:
            seats = [_Seat(number) for number in range(2)]
            seats[0].other, seats[1].other = seats[1], seats[0]
            self._seats |= dict(zip(tickets, seats, strict=True))
        for guest, other, own, theirs, role, ticket in (
            (first, second, first_offer, second_offer, pb.INITIATOR, tickets[0]),
            (second, first, second_offer, first_offer, pb.RESPONDER, tickets[1]),
        ):
            digest = hashlib.sha256(own).digest()
            match = pb.Match(peer=other.peer, role=role, offer=theirs, own_offer_hash=digest, relay_ticket=ticket)
            for told in self.tell(guest, match):
                await guest.send(match=told)

    async def _relay(self, request_iterator: Any, context: Any) -> None:
        first = await context.read()
        seat = self._seats.get(first.ticket) if isinstance(first, pb.RelayMessage) else None
        if seat is None or seat.other is None:
            return
        other, cut = seat.other, asyncio.get_running_loop().create_future()
        seat.context = context
        await until(lambda: other.context is not None)
        await seat.send(data=b"")
        seat.joined = True
        await until(lambda: other.joined or other.over)
        carrying = asyncio.create_task(self._carry(seat, other))
        self._cuts.append(cut)
        await asyncio.wait([carrying, cut], return_when=asyncio.FIRST_COMPLETED)
        self._cuts.remove(cut)
        if not carrying.done():
            carrying.cancel()
            await asyncio.gather(carrying, return_exceptions=True)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "cut")

    async def _carry(self, seat: "_Seat", other: "_Seat") -> None:
        with contextlib.suppress(grpc.aio.InternalError, grpc.aio.UsageError, asyncio.InvalidStateError):
            while isinstance(message := await seat.context.read(), pb.RelayMessage):
                for to, piece in self.carry(seat.number, message.data):
                    receiver = seat if to == seat.number else other
                    await (receiver.send(end=pb.End()) if piece is None else receiver.send(data=piece))
            if not other.over:
                await other.send(end=pb.End())
        seat.over = True
        while not other.over:
            await asyncio.sleep(0.001)


@dataclass(eq=False)
class _Seat:
    """One side of a relay."""

    number: int
    context: Any = None
    other: "_Seat | None" = None
    joined: bool = False
    over: bool = False
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def send(self, **said: Any) -> None:
        """Send one message, as `Guest.send`."""
        async with self._writing:
            await self.context.write(pb.RelayMessage(**said))


def _serialized(message: Any) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
