"""One relay: what comes on either of two streams goes out on the other, unread. docs/protocol/relay.md.

Two tasks copy, one for each way, with two messages under way in each: who does not read holds up only its own relay.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Self

import grpc
from p2p_core.identity import PeerId
from p2p_core.token_bucket import TokenBucket
from p2p_proto import mediator_pb2 as pb

from p2p_server.clock import Clock, Timer
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits
from p2p_server.logs import fields, visits
from p2p_server.metrics import Metrics
from p2p_server.relay_accounts import RATE_BURST, Account, RelayAccounts
from p2p_server.stream import HalfClosed, Stream

__all__ = ["Bridge", "RelayStream", "Seat"]

_PRESENT = pb.RelayMessage(data=b"").SerializeToString()
_END = pb.RelayMessage(end=pb.End()).SerializeToString()
_LEAST_COST = 4096  # bytes of its rate that a message takes at least: whatever is in it, it costs as much time

_log = logging.getLogger(__name__)


class _OneBehind:
    """Lets one piece of work go on while the next one is got ready, which gains a fifth of the speed; leaves none."""

    def __init__(self) -> None:
        self._going_on: asyncio.Task[None] | None = None

    async def then(self, work: Coroutine[Any, Any, None]) -> None:
        """Begin `work` once what was begun before is done. Raises what that raised."""
        try:
            await self.all_done()
        except BaseException:
            work.close()
            raise
        self._going_on = asyncio.create_task(work)

    async def all_done(self) -> None:
        """Wait until what was begun last is done. Raises what that raised."""
        if self._going_on is not None:
            await self._going_on

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._going_on is not None:
            self._going_on.cancel()
            await asyncio.gather(self._going_on, return_exceptions=True)


class RelayStream(Stream):
    """One `Relay` stream."""

    async def write(self, data: bytes) -> None:
        """Send a message; return when gRPC has taken it. Does nothing when the stream is over."""
        if self._over:
            return
        writing = self._writing = asyncio.get_running_loop().create_future()
        try:
            await self._context.write(data)
        except grpc.aio.BaseError:  # the call is gone, and its handler learns it by itself
            self._lost = True
        finally:
            self._writing = None
            if not writing.done():  # whoever waited for it may have been cancelled
                writing.set_result(None)


class Seat:
    """One peer's side of a bridge, to be taken once, with a stream."""

    def __init__(self, bridge: "Bridge", peer: PeerId) -> None:
        self.peer = peer
        self.stream: RelayStream | None = None
        self.is_finished = False  # the peer has half-closed, and what it sent is written
        self._bridge = bridge
        self._accounts: tuple[Account, ...] | None = None
        self._over = asyncio.get_running_loop().create_future()

    async def hold(self, stream: RelayStream) -> None:
        """Relay until there is nothing more to relay, or the stream is ended. Raises `StreamEnded`."""
        try:
            self._accounts = self._bridge.enter(self.peer)
        except StreamEnded as refused:
            self._bridge.end(refused)  # the other side learns why nobody comes
            raise
        self.stream = stream
        self._bridge.join()
        await self._over

    def release(self) -> None:
        """Let `hold` return."""
        if not self._over.done():
            self._over.set_result(None)

    def left(self) -> None:
        """Give back all that was held: the end of the stream is certain."""
        self.release()
        if self._accounts is not None:
            self._bridge.leave(self.peer)
        self._bridge.left()

    @property
    def accounts(self) -> tuple[Account, ...]:
        """Those that what the peer sends is counted in; it has taken the seat."""
        assert self._accounts is not None
        return self._accounts


class Bridge:
    """Two peers that were matched, and their streams once they come."""

    def __init__(
        self, peers: tuple[PeerId, PeerId], limits: Limits, clock: Clock, accounts: RelayAccounts, metrics: Metrics
    ) -> None:
        """Make two seats, for `peers`; nothing is held for them until one is taken."""
        self._peers = peers
        self._accounts = accounts
        self.seats = Seat(self, peers[0]), Seat(self, peers[1])
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._bytes = 0
        self._why: StreamEnded | None = None
        self._heard = 0.0
        self._timer: Timer | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._copying: list[asyncio.Task[None]] = []

    def enter(self, peer: PeerId) -> tuple[Account, ...]:
        """Count `peer` in; return the accounts that what it sends is counted in. Raises `StreamEnded`."""
        return self._accounts.enter(peer, self._other(peer))

    def leave(self, peer: PeerId) -> None:
        """Count `peer` out."""
        self._accounts.leave(peer, self._other(peer))

    def _other(self, peer: PeerId) -> PeerId:
        first, second = self._peers
        return second if peer == first else first

    def join(self) -> None:
        """Begin if both seats are taken, else wait for the other. Raises `StreamEnded` if that was taken and left."""
        if self._ended.done():
            raise self._why or StreamEnded(Ending.RELAY_PEER_GONE)
        streams = [seat.stream for seat in self.seats if seat.stream is not None]
        if len(streams) < len(self.seats):
            self._call_in(self._limits.relay_ticket_life, lambda: self.end(StreamEnded(Ending.RELAY_PEER_GONE)))
            return
        first, second = self.seats
        visits.info("a relay began", extra=fields(event="relay-began", peer=first.peer, other=second.peer))
        self._heard = self._clock.now()
        self._beat()
        self._copying = [
            asyncio.create_task(self._copy(first, streams[0], second, streams[1])),
            asyncio.create_task(self._copy(second, streams[1], first, streams[0])),
        ]

    def left(self) -> None:
        """Let the relay end, since a stream has."""
        if self._ended.done():
            return
        self._set_ended()
        # In a moment: whatever ends one stream may be about to end the other, and to say why.
        asyncio.get_running_loop().call_soon(self.end, StreamEnded(Ending.RELAY_PEER_GONE))

    async def _copy(self, source: Seat, incoming: RelayStream, sink: Seat, outgoing: RelayStream) -> None:
        try:
            await outgoing.write(_PRESENT)
            await self._pass_on(source.accounts, incoming, outgoing)
        except HalfClosed:
            await outgoing.write(_END)
            source.is_finished = True
            if sink.is_finished and not self._ended.done():
                self._set_ended()
                source.release()
                sink.release()
        except StreamEnded as ended:
            self.end(ended)
        except grpc.aio.BaseError:  # a stream is gone, and its handler learns it by itself
            return
        except Exception:
            _log.exception("a relay failed", extra=fields(event="relay-failed"))
            self.end(StreamEnded(Ending.INTERNAL))

    async def _pass_on(self, accounts: tuple[Account, ...], incoming: RelayStream, outgoing: RelayStream) -> None:
        """Copy messages, no sooner than the limits allow. Raises `HalfClosed`, `StreamEnded` and what gRPC raises."""
        rate = self._limits.relay_rate
        rates = TokenBucket(rate, rate * RATE_BURST, self._clock.now()), *(account.rate for account in accounts)
        async with _OneBehind() as writing:
            while True:
                try:
                    data = await incoming.read_bytes()
                except HalfClosed:
                    await writing.all_done()
                    raise
                self._heard = now = self._clock.now()
                self._count(len(data), accounts, now)
                for bucket in rates:
                    bucket.take(max(len(data), _LEAST_COST), now)
                free = max(bucket.free_at(now) for bucket in rates)
                if free > now:
                    await self._until(free)
                await writing.then(outgoing.write(data))

    def _count(self, size: int, accounts: tuple[Account, ...], now: float) -> None:
        self._bytes += size
        self._metrics.relayed(size)
        for account in accounts:
            account.volume.take(size, now)
        for account in accounts:
            account.check(now)

    async def _until(self, when: float) -> None:
        """Wait until `when`, or the end of the relay."""
        due = asyncio.get_running_loop().create_future()
        timer = self._clock.call_at(when, lambda: due.set_result(None))
        await asyncio.wait((due, self._ended), return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()

    def _beat(self) -> None:
        """Look from time to time whether anything is said."""
        if self._clock.now() >= self._heard + self._limits.relay_idle:
            self.end(StreamEnded(Ending.RELAY_IDLE))
            return
        self._call_in(self._limits.heartbeat, self._beat)

    def end(self, why: StreamEnded) -> None:
        """End both streams, those that are there and one that is still to come; the first ending counts."""
        if self._why is None:
            self._why = why
            if self._copying and why.ending is Ending.RELAY_LIMIT:
                peer, other = self._peers
                _log.info(
                    "no more is relayed between two peers",
                    extra=fields(event="relay-limit", peer=peer, other=other, why=str(why)),
                )
        for seat in self.seats:
            if seat.stream is not None:
                seat.stream.end(why.ending, str(why), why.retry_after)

    def _set_ended(self) -> None:
        self._ended.set_result(None)
        peer, other = self._peers
        visits.info("a relay ended", extra=fields(event="relay-ended", peer=peer, other=other, bytes=self._bytes))
        if self._timer is not None:
            self._timer.cancel()

    def _call_in(self, seconds: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_at(self._clock.now() + seconds, callback)
