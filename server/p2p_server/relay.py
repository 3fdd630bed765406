"""The `Relay` stream: a ticket, and then bytes for the other peer of a match. docs/protocol/relay.md."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import DecodeError
from p2p_core import limits as protocol
from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address
from p2p_proto import mediator_pb2 as pb

from p2p_server import observed
from p2p_server.admission import Admission
from p2p_server.clock import Clock, Timer
from p2p_server.endings import Ending, StreamEnded
from p2p_server.grpc_server import Service
from p2p_server.limits import Limits
from p2p_server.meet import SERVICE
from p2p_server.metrics import Metrics
from p2p_server.relay_bridge import RelayStream, Seat
from p2p_server.relay_desk import RelayDesk
from p2p_server.stream import Context, when_gone

__all__ = ["RelayService"]

_MAX_TICKET_MESSAGE = 2 * protocol.RELAY_TICKET_BYTES


class RelayService:
    """All `Relay` streams of this instance."""

    def __init__(
        self,
        desk: RelayDesk,
        limits: Limits,
        clock: Clock,
        admission: Admission,
        metrics: Metrics,
        *,
        sees_addresses: bool,
    ) -> None:
        """Count streams at the door, `admission`, while no ticket stands behind them: not yet, or no more."""
        self._desk = desk
        self._limits = limits
        self._clock = clock
        self._admission = admission
        self._metrics = metrics
        self._sees_addresses = sees_addresses
        self._open: dict[RelayStream, _Conversation] = {}
        self._is_stopping = False
        self._emptied = asyncio.Event()

    def service(self) -> Service:
        """Return what gRPC calls, with bytes: data is passed on as it comes, and is never parsed."""
        return Service(SERVICE, {"Relay": grpc.stream_stream_rpc_method_handler(self.relay)})

    async def relay(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Hold one side of a relay."""
        stream = RelayStream(context)
        if self._is_stopping or not self._limits.relay:
            await stream.refuse(Ending.SHUTTING_DOWN if self._is_stopping else Ending.RELAY_OFF)
            return
        address = observed.from_grpc(context.peer()) if self._sees_addresses else None
        timeout = self._limits.handshake_timeout
        conversation = _Conversation(self._desk, self._admission, self._clock, stream, address, timeout=timeout)
        self._open[stream] = conversation
        when_gone(conversation.place.give_back)
        try:
            await stream.run(conversation.hold(), conversation.over)
        finally:
            del self._open[stream]
            self._metrics.ended("relay", stream.outcome)
            if not self._open:
                self._emptied.set()

    @property
    def here(self) -> frozenset[PeerId]:
        """Whose streams are open, with a ticket taken."""
        return frozenset(each.peer for stream, each in self._open.items() if each.peer and not stream.is_over)

    def revoke(self, peers: frozenset[PeerId]) -> None:
        """End the streams of peers whose keys were taken away."""
        for stream, conversation in list(self._open.items()):
            if conversation.peer in peers:
                stream.end(Ending.NOT_ADMITTED)

    async def drain(self, seconds: float) -> None:
        """Let relays go on, and further ones begin; return when there is none, or after `seconds`."""
        timer = self._clock.call_at(self._clock.now() + seconds, self._emptied.set)
        if self._open:
            self._emptied.clear()
            await self._emptied.wait()
        timer.cancel()

    def stop(self) -> None:
        """End all streams, and every further one."""
        self._is_stopping = True
        for stream in self._open:
            stream.end(Ending.SHUTTING_DOWN)


class _Conversation:
    """One peer's stream, from its first message on."""

    def __init__(
        self,
        desk: RelayDesk,
        admission: Admission,
        clock: Clock,
        stream: RelayStream,
        address: Address | None,
        *,
        timeout: float,
    ) -> None:
        self._desk = desk
        self._admission = admission
        self._address = address
        self.place = admission.place(address)
        self._stream = stream
        self._timer: Timer = clock.call_at(clock.now() + timeout, lambda: stream.end(Ending.STEP_TIMEOUT))
        self._seat: Seat | None = None

    @property
    def peer(self) -> PeerId | None:
        """Whose ticket it was, once it has come."""
        return None if self._seat is None else self._seat.peer

    async def hold(self) -> None:
        """Take the ticket, and relay. Raises `StreamEnded`, `HalfClosed` and what gRPC raises."""
        self._admission.check_address(self._address)
        if not self.place.take(lambda: self._stream.end(Ending.TOO_MANY_HANDSHAKES)):
            raise StreamEnded(Ending.TOO_MANY_HANDSHAKES)
        self._seat = self._desk.redeem(_ticket(await self._stream.read_bytes()))
        self._timer.cancel()
        self.place.proved()
        await self._seat.hold(self._stream)

    def over(self) -> None:
        """Give back all that the stream held but its place with gRPC: its end is certain."""
        self._timer.cancel()
        self.place.linger()
        if self._seat is not None:
            self._seat.left()


def _ticket(data: bytes) -> bytes:
    if len(data) > _MAX_TICKET_MESSAGE:
        raise StreamEnded(Ending.TOO_LARGE, "the first message is a ticket, and nothing more")
    try:
        message = pb.RelayMessage.FromString(data)
    except DecodeError:
        raise StreamEnded(Ending.MALFORMED) from None
    if message.WhichOneof("step") != "ticket":
        raise StreamEnded(Ending.OUT_OF_ORDER, "the first message is a ticket")
    return message.ticket
