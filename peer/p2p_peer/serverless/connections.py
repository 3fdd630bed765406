"""All TCP connections of one `direct`, dialled and accepted, until one of them is kept: docs/protocol/direct.md.

Each is a task of its own: TLS, introduction, proofs. Then the session's initiator keeps the first connection that has
got so far, and says so on it; the responder keeps the one on which that is said. All others are closed.
"""

import asyncio
import contextlib
import logging
import secrets
import socket
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Self

from p2p_core.errors import (
    ConnectionLost,
    NoPath,
    NotAdmitted,
    NotAuthenticated,
    PeerKeyChanged,
    PeerUnknown,
    ProofFailed,
    PunchwireError,
    RemoteProtocolError,
    SameKey,
)
from p2p_core.identity import PeerId, RSAPrivateKey
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.frames import Chosen

from p2p_peer.channel.channel import HANDSHAKE_TIME, Channel, read_frame, send_frame
from p2p_peer.channel.introduction import Introduced, introduce
from p2p_peer.events import PeerMet, TurnedAway
from p2p_peer.paths.base import Path
from p2p_peer.serverless.judging import Judge
from p2p_peer.serverless.tcp_port import Place, dial, why_not

__all__ = ["MAX_ACCEPTED", "Connections", "Kept"]

DIAL_TIME = 10.0  # s for a connection to be there: three SYNs, and a link that takes its time
MAX_ACCEPTED = 64  # connections that have been accepted and proved nothing; each may take 150 KB and 10 s
_MAX_TOLD = 16  # addresses that our user is told of, because whoever came from there was turned away
PAUSE = 0.1  # s after the system had no room for one more connection

_STRANGERS_DOING = (NotAuthenticated, NoPath, RemoteProtocolError, SameKey)
"""What anybody on the network can make of a connection that comes in: no reason to end."""
_TURNED_AWAY = (PeerKeyChanged, PeerUnknown, ProofFailed)
"""What of that is told: it may be the other side that came, with a key that is not believed."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Kept:
    """The connection that the session runs on."""

    introduced: Introduced
    met: PeerMet
    seconds: float  # from the connection to the choice


@dataclass(slots=True)
class _Accepted:
    """A connection that came in. Its socket is ours until something is said on it, and the channel's from then on."""

    socket: socket.socket
    address: Address
    is_silent: bool = True


class Connections:
    """Listens and dials with one key. Leaving it closes all but a connection that was taken."""

    def __init__(self, key: RSAPrivateKey, judge: Judge, turned_away: Callable[[TurnedAway], None]) -> None:
        """`turned_away` is told of peers that came with a key that is not believed, or not theirs; once an address."""
        self._key, self._judge, self._turned_away = key, judge, turned_away
        self._own = PeerId.of(key.public_key())
        self._loop = asyncio.get_running_loop()
        self._kept: asyncio.Future[Kept] = self._loop.create_future()
        self._is_taken = False
        self._choosing = asyncio.Lock()
        self._listeners: list[socket.socket] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._accepted: dict[asyncio.Task[Any], _Accepted] = {}
        self._told: set[str] = set()
        self._target: frozenset[str] = frozenset()
        self._proved = 0  # connections with peers that have proved their keys, and nobody has chosen yet

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener)
            listener.close()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._kept.done() and not self._kept.cancelled() and self._kept.exception() is None and not self._is_taken:
            self._kept.result().introduced.channel.stream.close()

    async def first(self) -> Kept:
        """Wait for the connection that is kept, and take it. Raises what has ended the search."""
        kept = await self._kept
        self._is_taken = True
        return kept

    def listen(self, listener: socket.socket) -> None:
        """Accept whatever comes at `listener`, which is closed in the end."""
        self._listeners.append(listener)
        self._loop.add_reader(listener, self._accept, listener)

    @property
    def is_settled(self) -> bool:
        """Whether one is kept, or the search is over, or a peer has proved its key and one is about to be kept."""
        return self._kept.done() or self._proved > 0

    async def dial(self, places: Sequence[Place]) -> dict[Place, PunchwireError | None]:
        """Dial all places at once; return, once nothing more comes of any, why not, for each but one that is kept.

        A key that is shown there and not believed, or not proved, ends the search. That ours is not believed does not:
        a connection ends in the same way when another one is chosen.
        """
        self._target = frozenset(place.address.host for place in places)
        dials = [self.start(self._dial(place)) for place in places]
        await asyncio.wait(dials)
        return {place: task.result() for place, task in zip(places, dials, strict=True)}

    def start(self, work: Coroutine[Any, Any, Any], accepted: _Accepted | None = None) -> "asyncio.Task[Any]":
        """Do `work` until the search is over; what it raises ends that."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._over(task, accepted))
        return task

    def _over(self, task: "asyncio.Task[Any]", accepted: _Accepted | None) -> None:
        self._tasks.discard(task)
        self._accepted.pop(task, None)
        if accepted is not None and accepted.is_silent:
            accepted.socket.close()
        if not task.cancelled() and (error := task.exception()) is not None and not self._kept.done():
            self._kept.set_exception(error)

    # What comes in.

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, name = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):  # it was gone before we looked
            return
        except OSError as error:
            _log.warning("cannot accept a connection: %s", error.strerror)
            self._loop.remove_reader(listener)
            self._loop.call_later(PAUSE, self._accept_again, listener)
            return
        sock.setblocking(False)
        self._make_room()
        accepted = _Accepted(sock, Address.of(name[0], name[1]))
        _log.debug("accepted a connection from %s", accepted.address)
        self._accepted[self.start(self._hear(accepted), accepted)] = accepted

    def _accept_again(self, listener: socket.socket) -> None:
        if listener.fileno() >= 0:
            self._loop.add_reader(listener, self._accept, listener)

    def _make_room(self) -> None:
        """Have room for one more: a connection that said nothing yet goes, or else any, whichever chance names.

        Strangers who knock again and again then cannot keep the other peer out, as they could if the last who came
        or the first who came had to go.
        """
        if len(self._accepted) == MAX_ACCEPTED:
            silent = [task for task, accepted in self._accepted.items() if accepted.is_silent]
            dropped = secrets.choice(silent or list(self._accepted))
            del self._accepted[dropped]
            dropped.cancel()

    async def _hear(self, accepted: _Accepted) -> None:
        try:
            await self._first_byte(accepted.socket)
            accepted.is_silent = False
            path = Path(PathKind.TCP, accepted.socket, accepted.address)
            await self._meet(path, Role.RESPONDER, at_target=accepted.address.host in self._target)
        except _STRANGERS_DOING as error:
            self._turn_away(accepted.address, error)

    async def _first_byte(self, sock: socket.socket) -> None:
        """Wait for it: a connection costs next to nothing until then."""
        said = asyncio.Event()
        self._loop.add_reader(sock, said.set)
        try:
            async with asyncio.timeout(HANDSHAKE_TIME):
                await said.wait()
        except TimeoutError:
            raise ConnectionLost(f"nothing was said on it within {HANDSHAKE_TIME:g} s") from None
        finally:
            self._loop.remove_reader(sock)

    def _turn_away(self, address: Address, error: PunchwireError) -> None:
        _log.info("nothing came of the connection from %s: %s", address, error)
        if isinstance(error, _TURNED_AWAY) and address.host not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(address.host)
            self._turned_away(TurnedAway(address, error))

    # What goes out.

    async def _dial(self, place: Place) -> PunchwireError | None:
        _log.debug("dialling %s", place.address)
        why: PunchwireError
        try:
            async with asyncio.timeout(DIAL_TIME):
                sock = await dial(place)
        except OSError as error:
            why = NoPath(why_not(error))
        else:
            try:
                await self._meet(Path(PathKind.TCP, sock, place.address), Role.INITIATOR, at_target=True)
            except (NoPath, NotAdmitted, RemoteProtocolError) as error:
                why = error
            else:
                return None
        _log.info("nothing came of dialling %s: %s", place.address, why)
        return why

    # What both come to.

    async def _meet(self, path: Path, tls_role: Role, *, at_target: bool) -> None:
        """Make a channel of a connection, and keep it if it is the one. Closes it if not, and raises why."""
        began, address = self._loop.time(), path.address
        with contextlib.suppress(OSError):  # macOS: it is gone already, as reading will show
            path.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        introduced = await introduce(
            path, tls_role, self._key, judge=lambda key: self._believe(PeerId.of(key), address)
        )
        self._proved += 1
        try:
            async with asyncio.timeout(HANDSHAKE_TIME):
                if introduced.agreement.role is Role.RESPONDER:
                    await _until_chosen(introduced.channel)
                async with self._choosing:
                    await self._keep(introduced, began, at_target=at_target)
        except TimeoutError:
            introduced.channel.stream.close()
            raise ConnectionLost(f"the connection was not chosen within {HANDSHAKE_TIME:g} s") from None
        except BaseException:
            introduced.channel.stream.close()
            raise
        finally:
            self._proved -= 1

    def _believe(self, peer: PeerId, address: Address) -> None:
        self._judge.check(peer, address)

    async def _keep(self, introduced: Introduced, began: float, *, at_target: bool) -> None:
        if self._kept.done():
            raise ConnectionLost("another connection was chosen")
        channel, agreement = introduced.channel, introduced.agreement
        peer = agreement.other.peer
        standing = self._judge.check(peer, channel.path.address)  # again: another process may have met it meanwhile
        name = self._judge.remember(peer, standing, at_target=at_target)
        if agreement.role is Role.INITIATOR:
            await send_frame(channel.stream, Chosen())
        self._kept.set_result(Kept(introduced, PeerMet(peer, standing, self._own, name), self._loop.time() - began))


async def _until_chosen(channel: Channel) -> None:
    try:
        await read_frame(channel.stream, channel.reader, Chosen)
    except ConnectionLost as error:
        raise ConnectionLost("the other side did not choose this connection") from error
    except RemoteProtocolError as error:
        raise error.by("the other side") from error
