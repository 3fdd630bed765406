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
from p2p_core.errors import Malformed, MediatorUnreachable, RemoteProtocolError
from p2p_core.printable import printable
from p2p_core.proof import PathKind, Role
from p2p_core.targets import may_dial
from p2p_core.wire import relay
from p2p_core.wire.candidate import Address
from p2p_proto import mediator_pb2 as pb

from p2p_peer.mediator import RelayTicket
from p2p_peer.mediator_channel import open_channel
from p2p_peer.mediator_endings import REASON_KEY, clause_of
from p2p_peer.mediator_identity import MediatorIdentity
from p2p_peer.paths.base import Path

__all__ = ["Relaying"]

JOIN_TIME = 10.0  # s for the other side to come: both go there in the same moment; the mediator waits longer
_METHOD = "/punchwire.v1.Mediator/Relay"
_MAX_MESSAGE = limits.MAX_RELAY_DATA_BYTES + 64
_BUFFER = 1024 * 1024  # bytes asked for in each direction of the socket pair; systems give less
_FAREWELL_TIME = 1.0  # s for what was sent last to get out, and for the other side to end as well
_HANG_UP_CHECK = 0.2  # s between looks whether a half-closed path is closed altogether, of which no event tells

_log = logging.getLogger(__name__)


class Relaying:
    """The relay of one match: joined at once, and ready when the other side has joined as well."""

    def __init__(self, mediator: MediatorIdentity, ticket: RelayTicket, role: Role) -> None:
        """Go to the relay for which `ticket` is good, of the mediator that gave it."""
        loop = asyncio.get_running_loop()
        self.found: asyncio.Future[None] = loop.create_future()  # the other side is there
        self.nominated: asyncio.Future[Path] = loop.create_future()  # responder: it has begun to speak
        self.exhausted: asyncio.Future[str] = loop.create_future()
        self._mediator, self._ticket, self._role = mediator, ticket, role
        self._path: Path | None = None
        self._taken = False
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
        try:
            why = await self._relay()
        except (MediatorUnreachable, RemoteProtocolError) as error:
            why = str(error)
        _log.info("the relay is over: %s", why)
        if not self.exhausted.done():
            self.exhausted.set_result(why)

    async def _relay(self) -> str:
        """Relay to the end; return a clause that says how it came."""
        address = await _address(self._ticket, self._mediator.address)
        channel = open_channel(replace(self._mediator, address=address), _MAX_MESSAGE)
        stream = _RelayStream(channel.stream_stream(_METHOD)())
        try:
            await self._join(stream)
            ours, theirs = _socket_pair()
            with ours:
                self._ready(Path(PathKind.RELAY, theirs, address))
                await _bridge(ours, stream)
            stream.call.cancel()
            return await stream.why_it_ended()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return await stream.why_it_ended()
        finally:
            stream.call.cancel()
            await channel.close()

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
        self._stop_waiting(path.socket)
        if not path.socket.recv(1, socket.MSG_PEEK):  # the other side has left without a word: it took another path
            return
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
        await self.call.write(message)

    async def why_it_ended(self) -> str:
        """Return a clause for people."""
        trailing = dict(await self.call.trailing_metadata() or ())
        code, details = await self.call.code(), await self.call.details() or ""
        return clause_of(code, str(trailing.get(REASON_KEY, "")), details)


async def _bridge(ours: socket.socket, stream: _RelayStream) -> None:
    """Copy both ways until the stream ends, or the other end of the socket pair is closed."""
    keep_freed_memory()
    ways = [asyncio.create_task(_send(ours, stream)), asyncio.create_task(_receive(ours, stream))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        outcomes = await asyncio.gather(*ways, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, RemoteProtocolError):
            raise outcome


async def _send(ours: socket.socket, stream: _RelayStream) -> None:
    """Copy from the path to the relay; return when the path was closed, and not only half-closed, a while ago."""
    loop = asyncio.get_running_loop()
    space = memoryview(bytearray(limits.MAX_RELAY_DATA_BYTES))  # one for all: fresh memory costs more than a copy
    with contextlib.suppress(ConnectionError):
        async with _OneBehind() as writing:
            while count := await loop.sock_recv_into(ours, space):
                await writing.then(stream.write(space[:count]))
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
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for one in pair:
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
    return pair


async def _address(ticket: RelayTicket, dialled: Address) -> Address:
    """Return where the ticket is good. Raises `MediatorUnreachable`."""
    port = ticket.port or dialled.port
    if not ticket.host:
        return Address(dialled.ip, port)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(ticket.host, port, type=socket.SOCK_STREAM)
        address = Address.of(*found[0][4][:2])
    except (OSError, ValueError, Malformed):  # some are no names at all
        name = printable(ticket.host)
        raise MediatorUnreachable(f"the mediator's relay has a name that nobody knows: {name}") from None
    if not may_dial(address, loopback=dialled.ip.is_loopback):  # nobody talks us into trying our own services
        raise MediatorUnreachable(f"the mediator names {address} as its relay, where it has no business")
    return address
