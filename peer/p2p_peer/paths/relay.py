"""Through the mediator: a `Relay` stream, bridged to one end of a socket pair whose other end is the path.

docs/protocol/relay.md. To TLS and all above it the path is a socket like any other; the mediator passes on what it
cannot read.
"""

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Self

import grpc
import grpc.aio
from p2p_core import limits
from p2p_core.allocator import keep_freed_memory
from p2p_core.errors import Malformed, MediatorUnreachable, NoPath, RemoteProtocolError
from p2p_core.packet_budget import PacketBudget
from p2p_core.printable import printable
from p2p_core.proof import PathKind, Role
from p2p_core.targets import may_dial
from p2p_core.wire import relay
from p2p_core.wire.candidate import Address
from p2p_proto import mediator_pb2 as pb

from p2p_peer.mediator import RelayTicket
from p2p_peer.mediator_channel import open_channel
from p2p_peer.mediator_endings import REASON_KEY, RELAY_LIMIT, clause_of
from p2p_peer.mediator_identity import MediatorIdentity, with_new_certificate
from p2p_peer.paths.base import Path

__all__ = ["RelayLimit", "Relaying"]

JOIN_TIME = 10.0  # s for the other side to come: both go there in the same moment; the mediator waits longer
# s for the initiator to nominate what is ready: it waits for something direct, for 2.6 s or six round trips at most.
NOMINATION_TIME = 20.0
# To a relay that does not let us join: a SYN, again after 1, 3 and 7 s, and the same once more, to look whether its
# certificate was renewed.
_PACKETS = 8
_METHOD = "/punchwire.v1.Mediator/Relay"
_MAX_MESSAGE = limits.MAX_RELAY_DATA_BYTES + 64
# What waits between the session and the other peer looks sent, and a chat waits behind it: two messages here, two in
# the mediator, and the socket pair's buffer. So a message may take so long to go out, and the buffer holds two.
_MESSAGE_TIME = 0.05  # s
_LEAST_MESSAGE = 16 * 1024  # bytes, though: a TLS record
_FIRST_MESSAGE = 64 * 1024  # bytes, until it is known
_BUFFER = 2  # messages in the socket pair: one that is read, and one that is written meanwhile
_FAREWELL_TIME = 1.0  # s for what was sent last to get out, and for the other side to end as well
_HANG_UP_CHECK = 0.2  # s between looks whether a half-closed path is closed altogether, of which no event tells

_log = logging.getLogger(__name__)


class RelayLimit(NoPath):
    """The mediator relays no more for these two, and will not for a while: to ask again at once is in vain."""

    advice = "Take one side to a network from which a direct connection comes up, or ask the mediator's owner for more."


class Relaying:
    """The relay of one match: joined at once, and ready when the other side has joined as well."""

    def __init__(self, mediator: MediatorIdentity, ticket: RelayTicket, role: Role, budget: PacketBudget) -> None:
        """Go to the relay for which `ticket` is good, of the mediator that gave it.

        `budget` is asked if that is another host than the mediator's, which would be one that it chose to name.
        """
        loop = asyncio.get_running_loop()
        self.found: asyncio.Future[None] = loop.create_future()  # the other side is there
        self.nominated: asyncio.Future[Path] = loop.create_future()  # responder: it has begun to speak
        self.exhausted: asyncio.Future[str] = loop.create_future()
        self._mediator, self._ticket, self._role, self._budget = mediator, ticket, role, budget
        self.is_at_limit = False  # that is how it ended
        self._path: Path | None = None
        self._patience: asyncio.Timeout | None = None  # responder: with an initiator that does not nominate
        self._taken = False
        self._not_reached = False  # there was no connection at all
        self.over = loop.create_task(self._run())  # done when nothing is left of it, a moment after the path was closed

    def nominate(self) -> Path:
        """Take the path, once it is found: its socket is the caller's, and closing that ends the relay."""
        assert self._path is not None
        self._taken = True
        return self._path

    def close(self) -> None:
        """Leave the relay, unless its path was taken."""
        if not self._taken:
            self.over.cancel()
            if self._path is not None:
                self._stop_waiting(self._path.socket)
                self._path.socket.close()

    async def _run(self) -> None:
        with contextlib.ExitStack() as end_of_path:
            try:
                why = await self._relay(end_of_path)
            except (MediatorUnreachable, RemoteProtocolError) as error:
                why = str(error)
            _log.info("the relay is over: %s", why)
            self.exhausted.set_result(why)  # before the path ends, whose owner asks why

    async def _relay(self, end_of_path: contextlib.ExitStack) -> str:
        """Relay to the end; return a clause that says how it came. Our end of the path is `end_of_path`'s to close."""
        mediator = replace(self._mediator, address=await _address(self._ticket, self._mediator.address))
        why = await self._relay_at(mediator, end_of_path)
        renewed = None
        if self._not_reached:
            with contextlib.suppress(MediatorUnreachable):  # as was said
                renewed = await with_new_certificate(mediator)
        return why if renewed is None else await self._relay_at(renewed, end_of_path)

    async def _relay_at(self, mediator: MediatorIdentity, end_of_path: contextlib.ExitStack) -> str:
        """As `_relay`, with one connection."""
        if not self._may_go_to(mediator.address):
            return f"as many packets went to {mediator.address}, the relay that the mediator names, unanswered as may"
        channel = open_channel(mediator, _MAX_MESSAGE, is_bulk=True)
        stream = _RelayStream(channel.stream_stream(_METHOD)())
        try:
            await self._join(stream)
            self._budget.answered(mediator.address.ip, asyncio.get_running_loop().time())
            ours, theirs = _socket_pair()
            end_of_path.enter_context(ours)
            async with asyncio.timeout(NOMINATION_TIME if self._role is Role.RESPONDER else None) as self._patience:
                self._ready(Path(PathKind.RELAY, theirs, mediator.address, why_it_ended=self._why_it_ended))
                await _bridge(ours, theirs, stream)
            stream.call.cancel()
            return await self._end_of(stream)
        except TimeoutError:
            return f"the other side did not take the mediator's relay within {NOMINATION_TIME:g} s"
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return await self._end_of(stream)
        finally:
            stream.call.cancel()
            await channel.close()

    def _may_go_to(self, relay: Address) -> bool:
        now = asyncio.get_running_loop().time()
        return not self._ticket.host or all(self._budget.spend(relay.ip, now) for _ in range(_PACKETS))

    async def _end_of(self, stream: "_RelayStream") -> str:
        """Return a clause that says how `stream` ended."""
        code, reason, details = await stream.ending()
        self.is_at_limit = reason == RELAY_LIMIT
        self._not_reached = code is grpc.StatusCode.UNAVAILABLE and not reason and self._path is None
        return clause_of(code, reason, details)

    def _why_it_ended(self) -> str:
        return self.exhausted.result() if self.exhausted.done() else ""

    async def _join(self, stream: "_RelayStream") -> None:
        try:
            async with asyncio.timeout(JOIN_TIME):
                await stream.call.write(pb.RelayMessage(ticket=self._ticket.ticket).SerializeToString())
                first = await stream.read()
                if first is None or len(first):
                    raise RemoteProtocolError("data before the other side was there").by("the relay")
        except TimeoutError:
            raise MediatorUnreachable(f"the mediator's relay was not ready within {JOIN_TIME:g} s") from None

    def _ready(self, path: Path) -> None:
        self._path = path
        self.found.set_result(None)
        if self._role is Role.RESPONDER:
            asyncio.get_running_loop().add_reader(path.socket, self._nominated, path)

    def _nominated(self, path: Path) -> None:
        assert self._patience is not None
        self._stop_waiting(path.socket)
        if self._patience.expired():
            return
        if not path.socket.recv(1, socket.MSG_PEEK):  # the other side has left without a word: it took another path
            return
        self._patience.reschedule(None)
        self._taken = True
        self.nominated.set_result(path)

    def _stop_waiting(self, sock: socket.socket) -> None:
        if self._role is Role.RESPONDER and sock.fileno() >= 0 and not self.nominated.done():
            asyncio.get_running_loop().remove_reader(sock)


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


class _Pace:
    """How large messages should be, by how fast they go: as much as goes out in `_MESSAGE_TIME`."""

    def __init__(self) -> None:
        self.message = _FIRST_MESSAGE  # bytes
        self._bytes = 0  # that went out since that was found
        self._seconds = 0.0  # of which they were held up

    def went_out(self, count: int, seconds: float) -> bool:
        """Take note of `count` bytes that were held up for `seconds`; return whether `message` has changed."""
        self._bytes += count
        self._seconds += seconds
        if self._seconds < _MESSAGE_TIME:  # gRPC takes some at once and holds up the next: one alone says nothing
            return False
        wanted = int(self._bytes * _MESSAGE_TIME / self._seconds)
        before, self.message = self.message, min(max(wanted, _LEAST_MESSAGE), limits.MAX_RELAY_DATA_BYTES)
        self._bytes, self._seconds = 0, 0.0
        return self.message != before


class _RelayStream:
    """A `Relay` stream, with messages turned into bytes."""

    def __init__(self, call: Any) -> None:  # a call's generic type is not importable
        self.call = call

    async def read(self) -> memoryview | None:
        """Return the next data; None when the other side has half-closed. Raises what gRPC raises at the end."""
        raw = await self.call.read()
        if not isinstance(raw, bytes):  # grpc.aio.EOF
            raise asyncio.InvalidStateError
        try:
            return relay.decode(raw)
        except Malformed as error:
            raise error.by("the relay") from None

    def write(self, data: memoryview) -> Coroutine[Any, Any, None]:
        """Send data, which is copied before this returns; await the result to know when gRPC has taken it."""
        return self._write(relay.encode(data))

    async def _write(self, message: bytes) -> None:
        """As `call.write`, which would lose the mediator's reason: docs/decisions/grpc-write.md."""
        try:
            await self.call._cython_call.send_serialized_message(message)
        except grpc.aio.InternalError:
            raise asyncio.InvalidStateError from None

    async def ending(self) -> tuple[grpc.StatusCode, str, str]:
        """Return gRPC's code, the mediator's reason and its sentence, once the stream is over."""
        trailing = dict(await self.call.trailing_metadata() or ())
        return await self.call.code(), str(trailing.get(REASON_KEY, "")), await self.call.details() or ""


async def _bridge(ours: socket.socket, theirs: socket.socket, stream: _RelayStream) -> None:
    """Copy both ways until the stream ends, or the other end of the socket pair is closed."""
    keep_freed_memory()
    ways = [asyncio.create_task(_send(ours, theirs, stream)), asyncio.create_task(_receive(ours, stream))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        outcomes = await asyncio.gather(*ways, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, RemoteProtocolError):
            raise outcome


async def _send(ours: socket.socket, theirs: socket.socket, stream: _RelayStream) -> None:
    """Copy from the path to the relay; return when the path was closed, and not only half-closed, a while ago."""
    loop = asyncio.get_running_loop()
    space = memoryview(bytearray(limits.MAX_RELAY_DATA_BYTES))  # one for all: fresh memory costs more than a copy
    pace = _Pace()
    with contextlib.suppress(ConnectionError):
        async with _OneBehind() as writing:
            while count := await loop.sock_recv_into(ours, space[: pace.message]):
                begun = loop.time()
                await writing.then(stream.write(space[:count]))
                if pace.went_out(count, loop.time() - begun):
                    _set_buffer(theirs, pace.message)
            await writing.all_done()
    await stream.call.done_writing()
    poll = select.poll()
    poll.register(ours, 0)  # hanging up is told without asking
    while not poll.poll(0):  # noqa: ASYNC110 – no event tells of it
        await asyncio.sleep(_HANG_UP_CHECK)
    await asyncio.sleep(_FAREWELL_TIME)


async def _receive(ours: socket.socket, stream: _RelayStream) -> None:
    """Copy from the relay to the path, for as long as that is open. Raises what gRPC raises at the stream's end."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        async with _OneBehind() as writing:
            while (data := await stream.read()) is not None:
                await writing.then(loop.sock_sendall(ours, data))
            await writing.all_done()
        ours.shutdown(socket.SHUT_WR)
    while True:
        await stream.read()


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return our end, and the path's."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for one, message in zip(pair, (limits.MAX_RELAY_DATA_BYTES, _FIRST_MESSAGE), strict=True):
        one.setblocking(False)
        _set_buffer(one, message)
    return pair


def _set_buffer(sock: socket.socket, message: int) -> None:
    """Let `sock` hold so much that it takes: a few messages of `message` bytes."""
    with contextlib.suppress(OSError):  # it was closed meanwhile
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER * message)


async def _address(ticket: RelayTicket, dialled: Address) -> Address:
    """Return where the ticket is good. Raises `MediatorUnreachable`."""
    port = ticket.port or dialled.port
    if not ticket.host:
        return Address(dialled.ip, port)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(ticket.host, port, type=socket.SOCK_STREAM)
        family = socket.AF_INET if dialled.ip.version == 4 else socket.AF_INET6  # which is known to work from here
        chosen = next((one for one in found if one[0] is family), found[0])
        address = Address.of(*chosen[4][:2])
    except (OSError, ValueError, Malformed):  # some are no names at all
        name = printable(ticket.host)
        raise MediatorUnreachable(f"the mediator's relay has a name that nobody knows: {name}") from None
    if not may_dial(address, loopback=dialled.ip.is_loopback):  # nobody talks us into trying our own services
        raise MediatorUnreachable(f"the mediator names {address} as its relay, where it has no business")
    return address
