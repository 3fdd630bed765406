"""STUN Binding over UDP and TCP (RFC 8489 §6.2): "this is the address you come from, as I see it".

Peers ask from the ports they are going to punch from, and once more every 15 s to hold the mappings open.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence

from p2p_core.errors import Malformed
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address, Transport

from p2p_server import listeners, observed
from p2p_server.clock import Clock, Timer
from p2p_server.limits import Limits
from p2p_server.metrics import Metrics
from p2p_server.quota import Quota, source_of
from p2p_server.rate import Rate
from p2p_server.stun_datagrams import StunDatagrams

__all__ = ["StunResponder"]

_MAX_UNANSWERED = 4096  # bytes that may arrive at once: two hundred requests, where a peer has one under way
_SEND_BUFFER = 4096  # bytes the system keeps for a client that does not read; an answer has 32 or 44


class StunResponder:
    """Answers on the sockets it is given, over TCP and UDP."""

    def __init__(self, limits: Limits, clock: Clock, metrics: Metrics) -> None:
        """Hold to `limits`."""
        self._quota = Quota(limits.stun_connections, limits.stun_connections_per_address)
        self._rate = Rate(limits.stun_requests_per_second, limits.stun_requests_at_once, limits.stun_sources, clock)
        self._idle = limits.stun_idle
        self._clock = clock
        self._metrics = metrics
        self._servers: list[asyncio.Server] = []
        self._datagrams: list[StunDatagrams] = []
        self._open: set[_Connection] = set()

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Answer on listening TCP and bound UDP sockets, which are the responder's from here on."""
        loop = asyncio.get_running_loop()
        for one in sockets:
            if one.type == socket.SOCK_DGRAM:
                self._datagrams.append(StunDatagrams(one, self._rate, self._metrics))
            else:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)  # connections inherit it
                self._servers.append(await loop.create_server(self._connection, sock=one))

    async def stop(self) -> None:
        """Close all connections and sockets; returns when they are closed."""
        for datagrams in self._datagrams:
            datagrams.close()
        await listeners.stop(self._servers, self._open)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def _connection(self) -> "_Connection":
        return _Connection(self._quota, self._clock, self._metrics, self._idle, self._open)


class _Connection(asyncio.Protocol):
    """One client. What is not a Binding request closes it."""

    def __init__(self, quota: Quota, clock: Clock, metrics: Metrics, idle: float, opened: "set[_Connection]") -> None:
        self._quota = quota
        self._clock = clock
        self._metrics = metrics
        self._idle = idle
        self._opened = opened
        self.gone = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._client: Address | None = None
        self._counted = False
        self._received = b""
        self._heard = 0.0
        self._timer: Timer | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._opened.add(self)
        name = transport.get_extra_info("peername")
        self._client = observed.from_socket(name[0], name[1]) if name else None
        self._counted = self._client is not None and self._quota.enter(source_of(self._client))
        if not self._counted:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=0)
        self._heard = self._clock.now()
        self._wait()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _MAX_UNANSWERED:
            self.cut()
            return
        try:
            answers = [self._answer(request) for request in self._requests()]
        except Malformed:
            self.cut()
            return
        if answers and self._transport is not None:
            self._heard = self._clock.now()
            self._transport.write(b"".join(answers))
            for _ in answers:
                self._metrics.stun_answered(Transport.TCP)

    def pause_writing(self) -> None:
        """Cut a client that asks and does not read: the system has taken all that it keeps for one."""
        self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._opened.discard(self)
        self.gone.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._counted:
            self._quota.leave(source_of(self._client))
            self._counted = False

    def cut(self) -> None:
        """Close the connection, with nothing left to say."""
        if self._transport is not None:
            self._transport.abort()

    def _requests(self) -> Iterator[bytes]:
        """Take the whole messages out of what was received. Raises `Malformed`."""
        while len(self._received) >= stun.HEADER_BYTES:
            length = stun.HEADER_BYTES + stun.body_length(self._received[: stun.HEADER_BYTES])
            if len(self._received) < length:
                break
            message, self._received = self._received[:length], self._received[length:]
            yield message

    def _answer(self, message: bytes) -> bytes:
        request = stun.decode(message)
        if not isinstance(request, stun.BindingRequest) or self._client is None:
            raise Malformed("a STUN message that asks for nothing")
        return stun.BindingResponse(request.transaction, self._client).encode()

    def _wait(self) -> None:
        """Close when the client has been silent for long enough, else look again when it would have been."""
        if self._clock.now() >= self._heard + self._idle:
            self.cut()
        else:
            self._timer = self._clock.call_at(self._heard + self._idle, self._wait)
