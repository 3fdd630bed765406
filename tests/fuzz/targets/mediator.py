"""The mediator's own side: what peers, Prometheus and Redis say to it."""

import asyncio
import contextlib
import functools
import logging
from typing import Any

import grpc
from p2p_core.errors import UsageError
from p2p_core.identity import PeerId, public_der
from p2p_core.proof import ChannelBinding, PathKind, Purpose, Role, Transcript, prove
from p2p_core.wire.candidate import Address
from p2p_proto import mediator_pb2 as pb
from p2p_server.admission import Admission
from p2p_server.authorized import admit_anyone
from p2p_server.conversation import Setting, _match
from p2p_server.endings import Ending, StreamEnded
from p2p_server.inbox import Inbox
from p2p_server.limits import Limits
from p2p_server.meet import MeetService
from p2p_server.metrics import Metrics
from p2p_server.metrics_endpoint import MetricsEndpoint
from p2p_server.metrics_endpoint import _Connection as MetricsConnection
from p2p_server.refusals import Refusals
from p2p_server.relay import _ticket
from p2p_server.relay_desk import RelayDesk
from p2p_server.stores.base import RelayTicket
from p2p_server.stores.memory import MemoryStore
from p2p_server.stores.redis_events import Entry, Meeting, pack_address, pack_ticket, read_entry
from p2p_server.stores.redis_link import _run_of
from p2p_server.stun_responder import StunResponder
from p2p_server.tls import Identity

from tests.fuzz.shapes import chosen, framed, in_loop, unframed
from tests.fuzz.target import Target
from tests.keys import key
from tests.server.clock import ManualClock
from tests.vectors import pages

_NONCE = bytes(32)
_LIMITS = Limits()
_STEPS = ("meet-pong", "meet-advertise", "meet-withdraw", "meet-signal-to", "meet-leave")
_MESSAGES = 30  # of one stream; each costs a turn of the loop


class _Aborted(Exception):
    """What gRPC raises in a handler that has aborted."""


class _Call:
    """A call of gRPC's: the messages of a client, and what it is answered."""

    def __init__(self, messages: list[bytes], knows: bool) -> None:
        """`knows`: the client proves its key first."""
        self._messages = messages
        self._step = 0 if knows else 2
        self.answers: list[pb.ToPeer] = []
        self.ending: tuple[grpc.StatusCode, str] | None = None

    def peer(self) -> str:
        return "ipv4:192.0.2.1:5000"

    async def read(self) -> Any:
        await asyncio.sleep(0)
        self._step += 1
        if self._step == 1:
            hello = pb.Hello(version=1, public_key=public_der(key(0).public_key()), nonce=_NONCE)
            return pb.ToMediator(hello=hello).SerializeToString()
        if self._step == 2:
            return pb.ToMediator(proof=pb.Proof(signature=prove(key(0), self._transcript()))).SerializeToString()
        return self._messages.pop(0) if self._messages else grpc.aio.EOF

    def _transcript(self) -> Transcript:
        return Transcript(
            purpose=Purpose.PEER_TO_MEDIATOR,
            prover=Role.INITIATOR,
            path=PathKind.MEDIATOR,
            binding=ChannelBinding.none(),
            initiator=PeerId.of(key(0).public_key()),
            responder=b"",
            initiator_nonce=_NONCE,
            responder_nonce=self.answers[0].challenge.nonce,
        )

    async def write(self, data: bytes) -> None:
        self.answers.append(pb.ToPeer.FromString(data))

    async def abort(self, code: grpc.StatusCode, details: str, trailing: Any = ()) -> None:
        assert self.ending is None, "a stream that ends twice"
        self.ending = code, dict(trailing)["punchwire-reason"]
        raise _Aborted


class _Failed(logging.Handler):
    """Raises for a stream that failed: the mediator itself only logs it, and goes on."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            raise record.exc_info[1]


def _meet(data: bytes) -> tuple[_Call, int]:
    """Let a peer say these messages, known or not, while another one waits for it."""
    knows, data = chosen(data, 2)
    messages = list(unframed(data))[:_MESSAGES]
    call, clock = _Call(messages, bool(knows)), ManualClock()
    log = logging.getLogger("p2p_server.stream")
    failed, propagates = _Failed(level=logging.ERROR), log.propagate
    desk = RelayDesk(_LIMITS, clock, admit_anyone, _shared_metrics())
    inbox = Inbox()
    store = MemoryStore(inbox.deliver, _LIMITS.max_advertisements, desk)

    async def run() -> int:
        setting = Setting(
            identities=lambda: (Identity.none(),),
            admits=admit_anyone,
            refusals=Refusals(clock),
            limits=_LIMITS,
            clock=clock,
            store=store,
            inbox=inbox,
            admission=Admission(_LIMITS, clock, by_address=True),
            metrics=_shared_metrics(),
            stun=(),
        )
        await store.start()
        inbox.open("other", lambda event: None)  # type: ignore[arg-type]
        await store.claim("other", PeerId(bytes([2]) * 32), None, 0.1)  # type: ignore[arg-type]
        await store.advertise("other", PeerId.of(key(0).public_key()), b"offer")  # type: ignore[arg-type]
        meet = MeetService(setting, sees_addresses=True)
        with contextlib.suppress(_Aborted):
            await asyncio.create_task(meet.meet(None, call))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        return meet.peers

    log.addHandler(failed)
    log.propagate = False
    try:
        return call, in_loop(run)
    finally:
        log.removeHandler(failed)
        log.propagate = propagates


def _meet_holds(held: tuple[_Call, int]) -> None:
    """The stream is over, for a reason that is not the mediator's fault, and nothing is left of it."""
    call, left = held
    assert left == 0
    assert call.ending is None or call.ending[1] != Ending.INTERNAL.reason
    assert len(call.answers) <= 3 + 2 * _MESSAGES


def _messages(*names: str) -> list[bytes]:
    return [pages.read(name) for name in names]


def _to_other(**step: Any) -> bytes:
    return pb.ToMediator(**step).SerializeToString()


def _meet_seeds() -> list[bytes]:
    other = bytes([2]) * 32
    known = [
        _messages(*_STEPS),
        [
            _to_other(advertise=pb.Advertise(wanted=other, offer=b"o")),
            _to_other(signal=pb.Signal(peer=other, body=b"s")),
            _to_other(leave=pb.Leave(peer=other)),
            _to_other(withdraw=pb.Withdraw(wanted=other)),
        ],
        [_to_other(pong=pb.Pong(id=1)) + _to_other(leave=pb.Leave(peer=other))],
    ]
    unknown = [_messages("meet-hello", "meet-proof"), _messages("later-hello"), _messages(*_STEPS), [b""], [b"\xff"]]
    return [*(b"\1" + framed(one) for one in known), *(b"\0" + framed(one) for one in unknown)]


class _Transport(asyncio.Transport):
    """A connection's way out, with nothing behind it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5000)})
        self.written = b""
        self.is_over = False

    def write(self, data: Any) -> None:
        assert not self.is_over, "something is written to a connection that is closed"
        self.written += bytes(data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is kept here."""

    def close(self) -> None:
        self.is_over = True

    def abort(self) -> None:
        self.is_over = True


def _connected(protocol: asyncio.Protocol, data: bytes) -> bytes:
    """Give a connection what comes, in two pieces; return what it answers. What it keeps stays small."""
    cut, data = chosen(data, 256)
    transport = _Transport()
    protocol.connection_made(transport)
    for piece in (data[:cut], data[cut:]):
        if piece and not transport.is_over:
            protocol.data_received(piece)
    protocol.connection_lost(None)
    return transport.written


def _metrics(data: bytes) -> bytes:
    endpoint = MetricsEndpoint(_shared_metrics(), lambda: True, ManualClock())
    opened: dict[MetricsConnection, None] = {}

    async def run() -> bytes:
        return _connected(MetricsConnection(endpoint._answer, ManualClock(), opened), data)

    return bytes(in_loop(run))


@functools.cache
def _shared_metrics() -> Metrics:
    return Metrics()


def _metrics_hold(answer: bytes) -> None:
    assert not answer or answer.split(b" ", 2)[1] in (b"200", b"400", b"404", b"405", b"503")
    assert answer.count(b"HTTP/1.1 ") <= 1


def _stun(data: bytes) -> bytes:
    async def run() -> bytes:
        responder = StunResponder(_LIMITS, ManualClock(), _shared_metrics())
        answer = _connected(responder._connection(), data)
        assert responder.connections == 0
        assert len(answer) <= 44 * (len(data) // 20)
        return answer

    return bytes(in_loop(run))


def _event(data: bytes) -> Entry:
    """Read an entry as XREAD returns it."""
    entry_id, *values = list(unframed(data)) or [b""]
    return read_entry(b"1-%d" % len(entry_id), values)


def _event_holds(entry: Entry) -> None:
    """What a stream is told of it can be sent."""
    if isinstance(entry.what, Meeting):
        _match(entry.what.matched).SerializeToString()


def _event_seeds() -> list[bytes]:
    address, ticket = Address.of("192.0.2.1", 5), RelayTicket(bytes(32), "relay.example", 54700)
    peer = bytes(32)
    told = {
        b"stream": b"s",
        b"kind": b"matched",
        b"of": peer,
        b"peer": peer,
        b"role": b"initiator",
        b"offer": b"o",
        b"own": b"1|o",
        b"observed": pack_address(address),
        b"rtt": b"0.100000",
        b"their_rtt": b"0.2",
        b"ticket": pack_ticket(ticket),
        b"match": b"1",
    }
    matched = [b"", *(part for pair in told.items() for part in pair)]
    short = [b"", b"stream", b"s", b"kind", b"left", b"peer", peer]
    signal = [b"", b"stream", b"s", b"kind", b"signal", b"peer", peer, b"body", b"b"]
    return [
        framed(matched),
        framed(short),
        framed(signal),
        framed([b"", b"kind", b"proposed", b"of", b"", b"peer", b""]),
    ]


TARGETS = (
    Target(
        name="meet",
        of=(
            "p2p_server.stream.MeetStream.read",
            "p2p_server.handshake.Handshake",
            "p2p_server.conversation.Conversation",
        ),
        parse=_meet,
        seeds=_meet_seeds,
        holds=_meet_holds,
    ),
    Target(
        name="relay-ticket",
        of=("p2p_server.relay._ticket",),
        parse=_ticket,
        raises=(StreamEnded,),
        seeds=lambda: _messages("relay-ticket", "relay-present", "relay-end"),
    ),
    Target(
        name="metrics-request",
        of=("p2p_server.metrics_endpoint.MetricsEndpoint",),
        parse=_metrics,
        seeds=lambda: [
            b"\7GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\0GET /health?x HTTP/1.0\r\n\r\n",
            b"\0POST / HTTP/1.1\r\n\r\n",
            b"\0\r\n\r\n",
        ],
        holds=_metrics_hold,
    ),
    Target(
        name="stun-connection",
        of=("p2p_server.stun_responder.StunResponder",),
        parse=_stun,
        seeds=lambda: [bytes([cut]) + 2 * pages.read("stun-request") for cut in (0, 7, 20)],
    ),
    Target(
        name="redis-event",
        of=("p2p_server.stores.redis_events.read_entry",),
        parse=_event,
        seeds=_event_seeds,
        holds=_event_holds,
    ),
    Target(
        name="redis-about",
        of=("p2p_server.stores.redis_link._run_of",),
        parse=_run_of,
        raises=(UsageError,),
        seeds=lambda: [b"# Server\r\nredis_version:7.2.4\r\nrun_id:abc\r\n", b"redis_version:6.0.1\r\n"],
    ),
)
