"""The `Relay` stream: a ticket, and then bytes for the other peer of a match. docs/protocol/relay.md."""

from collections.abc import AsyncIterator

import grpc
from google.protobuf.message import DecodeError
from p2p_core import limits as protocol
from p2p_proto import mediator_pb2 as pb

from p2p_server import observed
from p2p_server.clock import Clock, Timer
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits
from p2p_server.meet import SERVICE
from p2p_server.quota import Place, Quota, source_of
from p2p_server.relay_bridge import RelayStream, Seat
from p2p_server.relay_desk import RelayDesk
from p2p_server.stream import Context, when_gone

__all__ = ["RelayService"]

_MAX_TICKET_MESSAGE = 2 * protocol.RELAY_TICKET_BYTES


class RelayService:
    """All `Relay` streams of this instance."""

    def __init__(self, desk: RelayDesk, limits: Limits, clock: Clock, quota: Quota) -> None:
        """Count streams in `quota` while no ticket stands behind them: not yet, or no more."""
        self._desk = desk
        self._limits = limits
        self._clock = clock
        self._quota = quota
        self._streams: set[RelayStream] = set()
        self._stopping = False

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what gRPC calls, with bytes: data is passed on as it comes, and is never parsed."""
        relay: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self.relay)
        return grpc.method_handlers_generic_handler(SERVICE, {"Relay": relay})

    async def relay(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Hold one side of a relay."""
        stream = RelayStream(context)
        if self._stopping or not self._limits.relay:
            await stream.refuse(Ending.SHUTTING_DOWN if self._stopping else Ending.RELAY_OFF)
            return
        place = Place(self._quota, source_of(observed.from_grpc(context.peer())))
        conversation = _Conversation(self._desk, self._limits.step_timeout, self._clock, place, stream)
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


class _Conversation:
    """One peer's stream, from its first message on."""

    def __init__(self, desk: RelayDesk, timeout: float, clock: Clock, place: Place, stream: RelayStream) -> None:
        self._desk = desk
        self._place = place
        self._stream = stream
        self._timer: Timer = clock.call_at(clock.now() + timeout, lambda: stream.end(Ending.STEP_TIMEOUT))
        self._seat: Seat | None = None

    async def hold(self) -> None:
        """Take the ticket, and relay. Raises `StreamEnded`, `HalfClosed` and what gRPC raises."""
        if not self._place.take():
            raise StreamEnded(Ending.TOO_MANY_HANDSHAKES)
        self._seat = self._desk.redeem(_ticket(await self._stream.read_bytes()))
        self._timer.cancel()
        self._place.give_back()
        await self._seat.hold(self._stream)

    def over(self) -> None:
        """Give back all that the stream held but its place with gRPC: its end is certain."""
        self._timer.cancel()
        if self._seat is not None:
            self._place.take_anyway()
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
