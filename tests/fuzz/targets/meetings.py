"""What a peer is told by a mediator, which may be hostile, and through its relay."""

import asyncio
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from p2p_core import limits
from p2p_core.errors import Malformed, MediatorUnreachable, NotAdmitted, PunchwireError, RemoteProtocolError, Replaced
from p2p_core.wire import relay
from p2p_peer.mediator import Introduction, MediatorClient, Welcome, _welcome
from p2p_peer.mediator_endings import clause_of, error_of
from p2p_proto import mediator_pb2 as pb

from tests.fuzz.shapes import chosen, framed, in_loop, shown, text_of, unframed
from tests.fuzz.target import Target
from tests.vectors import pages

_MESSAGES = ("meet-match", "meet-signal-from", "meet-ping", "meet-left", "meet-challenge")
_PINGS = 64  # messages of one stream
_CODES = tuple(grpc.StatusCode)


class _Call:
    """A stream of gRPC's that says these messages, and then ends."""

    def __init__(self, messages: list[bytes]) -> None:
        self._messages = messages
        self.written: list[pb.ToMediator] = []

    async def read(self) -> Any:
        return self._messages.pop(0) if self._messages else grpc.aio.EOF

    async def write(self, message: pb.ToMediator) -> None:
        self.written.append(message)

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""

    async def trailing_metadata(self) -> tuple[()]:
        return ()

    def cancel(self) -> None:
        """It is over already."""


class _Channel:
    async def close(self) -> None:
        """Nothing is open."""


def _stream(data: bytes) -> tuple[list[Introduction], PunchwireError]:
    """Listen to a mediator until its stream ends; return whom it introduced, and why it ended."""
    messages = list(unframed(data))[:_PINGS]
    count, call, found = len(messages), _Call(messages), list[Introduction]()

    async def run() -> PunchwireError:
        client = MediatorClient(_Channel(), call, lambda error: None)  # type: ignore[arg-type]
        reading = asyncio.create_task(client._read_on())
        try:
            while True:
                found.append(await client.introduction())
        except PunchwireError as error:
            await reading
            return error
        finally:
            reading.cancel()
            await client.close()

    error = in_loop(run)
    assert len(call.written) <= count
    return found, error


def _stream_holds(read: tuple[list[Introduction], PunchwireError]) -> None:
    found, error = read
    assert type(error) in (MediatorUnreachable, RemoteProtocolError, Malformed)
    for one in found:
        assert 0 <= one.start_after <= limits.MAX_START_DELAY
        assert 0 <= one.one_way <= limits.MAX_START_DELAY
        assert one.relay is None or (len(one.relay.ticket) == 32 and one.relay.port < 65536)
        shown(str(one.observed))


def _welcomed(data: bytes) -> Welcome:
    return _welcome(pb.ToPeer.FromString(data).welcome)


def _welcomed_holds(read: Welcome) -> None:
    assert all(0 < server.port < 65536 for server in read.stun)
    shown(str(read.observed))


def _relayed(data: bytes) -> memoryview | None:
    found = relay.decode(data)
    try:
        parsed = pb.RelayMessage.FromString(data)
    except Exception as error:
        raise AssertionError(f"protobuf does not take it: {error}") from error
    assert found == (parsed.data if parsed.WhichOneof("step") == "data" else None)
    return found


def _relayed_holds(read: memoryview | None) -> None:
    assert read is None or relay.decode(relay.encode(read)) == read


def _ended(data: bytes) -> PunchwireError:
    which, data = chosen(data, len(_CODES))
    reason, details, retry = [*map(text_of, unframed(data)), "", "", ""][:3]
    clause_of(_CODES[which], reason, details)
    return error_of(_CODES[which], reason, details, retry)


def _ended_holds(error: PunchwireError) -> None:
    assert type(error) in (MediatorUnreachable, NotAdmitted, RemoteProtocolError, Replaced)
    assert error.advice
    shown(str(error))


TARGETS = (
    Target(
        name="mediator-stream",
        of=("p2p_peer.mediator.MediatorClient",),
        parse=_stream,
        seeds=lambda: [
            framed(map(pages.read, _MESSAGES)),
            framed([pages.read("meet-match")] * 3),
            framed([b"", b"\xff"]),
        ],
        holds=_stream_holds,
    ),
    Target(
        name="welcome",
        of=("p2p_peer.mediator._welcome",),
        parse=_welcomed,
        raises=(DecodeError,),
        seeds=lambda: [pages.read("meet-welcome")],
        holds=_welcomed_holds,
    ),
    Target(
        name="relayed",
        of=("p2p_core.wire.relay.decode",),
        parse=_relayed,
        raises=(Malformed,),
        seeds=lambda: [*map(pages.read, ("relay-data", "relay-end", "relay-ticket")), b"\x12\x80\x01" + bytes(128)],
        holds=_relayed_holds,
    ),
    Target(
        name="ending",
        of=("p2p_peer.mediator_endings.error_of", "p2p_peer.mediator_endings.clause_of"),
        parse=_ended,
        seeds=lambda: [
            bytes([number % len(_CODES)]) + framed([reason, b"details; last error: x", b"7"])
            for number, reason in enumerate(
                (b"", b"not-admitted", b"replaced", b"step-rate", b"malformed", b"internal")
            )
        ],
        holds=_ended_holds,
    ),
)
