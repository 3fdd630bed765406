"""Two peers in one event loop, with agreements made by hand: no mediator, but a real connection on 127.0.0.1."""

import asyncio
import hashlib
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from p2p_core.agreement import Agreement, Side
from p2p_core.errors import NoPath
from p2p_core.identity import PeerId, RSAPrivateKey
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.offer import Offer
from p2p_peer.channel.channel import Channel, establish
from p2p_peer.events import SessionEvent, TransferOffered, TransferReceived, TransferSent
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.paths.base import Path as PeerPath
from p2p_peer.paths.race import Racer
from p2p_peer.paths.tcp import TcpPunching
from p2p_peer.session import Session
from p2p_peer.session_driver import Keeper

from tests.keys import key

PATIENCE = 30.0  # s until a test that waits for what does not come fails
NOW = 1_700_000_000

_T = TypeVar("_T")


async def soon(waiting: Awaitable[_T]) -> _T:
    """Await what has to come; fail instead of hanging."""
    return await asyncio.wait_for(waiting, PATIENCE)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until `condition` holds: for what shows itself only from outside."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


class Clock:
    """Shows the event loop's time, and whatever was added to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._ahead = 0.0

    def __call__(self) -> float:
        return self._real() + self._ahead

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once."""
        self._ahead += seconds


def offer(seed: int) -> Offer:
    return Offer(NOW, NOW + 600, bytes([seed, 1]) * 16, bytes([seed, 2]) * 16, ())


INITIATOR_KEY, RESPONDER_KEY, STRANGER_KEY = key(0), key(1), key(2)


def agreement(role: Role, seed: int = 1) -> Agreement:
    """What the peer in `role` holds; another `seed` makes other offers, so another session."""
    sides = {
        Role.INITIATOR: Side.of(PeerId.of(INITIATOR_KEY.public_key()), offer(seed), b"initiator's sealed %d" % seed),
        Role.RESPONDER: Side.of(
            PeerId.of(RESPONDER_KEY.public_key()), offer(seed + 1), b"responder's sealed %d" % seed
        ),
    }
    return Agreement.between(role, sides[role], sides[role.other])


def own_key(role: Role) -> RSAPrivateKey:
    return INITIATOR_KEY if role is Role.INITIATOR else RESPONDER_KEY


def socket_paths() -> tuple[PeerPath, PeerPath]:
    """Two ends of a plain TCP connection on loopback, as paths: the initiator's and the responder's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return _path(ours), _path(theirs)


def _path(sock: socket.socket) -> PeerPath:
    return PeerPath(PathKind.TCP, sock, Address.of(*sock.getpeername()))


async def punched_paths() -> tuple[PeerPath, PeerPath]:
    """The same, truly punched: both ends listen and dial."""
    with Ports() as (ours, theirs):
        return await soon(
            asyncio.gather(
                punch(ours, Role.INITIATOR, theirs.number),
                punch(theirs, Role.RESPONDER, ours.number),
            )
        )


async def punch(port: PunchPort, role: Role, *targets: int, seed: int = 1) -> PeerPath:
    """Punch from `port` towards ports on loopback."""
    return await path_of(punching(port, agreement(role, seed), *targets))


def punching(
    port: PunchPort, held: Agreement, *targets: int, host: str = "127.0.0.1", after: float = 0.0
) -> TcpPunching:
    """Begin to punch towards ports of this machine, `after` seconds from now."""
    addresses = [Address.of(host, number) for number in targets]
    start = asyncio.get_running_loop().time() + after
    return TcpPunching(port, held.terms, addresses, start=start, round_trip=0.001, budget=PacketBudget())


async def path_of(racer: Racer) -> PeerPath:
    """Wait for what comes of one way, as the race does. Raises `NoPath` for nothing."""
    try:
        await asyncio.wait((racer.found, racer.nominated, racer.exhausted), return_when=asyncio.FIRST_COMPLETED)
        if racer.exhausted.done():
            raise NoPath(racer.exhausted.result())
        if racer.nominated.done():
            return racer.nominated.result()
        racer.found.result()
        return racer.nominate()
    finally:
        racer.close()


class Ports:
    """Two punch ports, closed at the end."""

    def __enter__(self) -> tuple[PunchPort, PunchPort]:
        self._ports = PunchPort.open(), PunchPort.open()
        return self._ports

    def __exit__(self, *_: object) -> None:
        for port in self._ports:
            port.close()


async def channels(paths: tuple[PeerPath, PeerPath] | None = None, seed: int = 1) -> tuple[Channel, Channel]:
    """Two ends of an authenticated channel: the initiator's and the responder's."""
    paths = paths or socket_paths()
    return await soon(
        asyncio.gather(
            *(
                establish(path, agreement(role, seed), own_key(role), own_key(role.other).public_key())
                for path, role in zip(paths, (Role.INITIATOR, Role.RESPONDER), strict=True)
            )
        )
    )


def session_on(channel: Channel, role: Role, keeper: Keeper | None = None, *, seed: int = 1, **options: Any) -> Session:
    return Session(
        channel,
        agreement(role, seed),
        own_key(role),
        own_key(role.other).public_key(),
        resources=AsyncExitStack(),
        keeper=keeper,
        **options,
    )


@dataclass
class Peer:
    """One live session, and everything it has said."""

    session: Session
    events: list[SessionEvent] = field(default_factory=list)
    ended: BaseException | None = None
    on_event: Callable[[SessionEvent], None] = lambda event: None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for event in self.session:
                self.events.append(event)
                self.on_event(event)
                self._changed.set()
        except Exception as error:
            self.ended = error
        self._changed.set()

    def all(self, kind: type[_T]) -> list[_T]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(self, kind: type[_T], count: int = 1) -> _T:
        """Return event number `count` of this kind, once it has come."""
        async with asyncio.timeout(PATIENCE):
            while len(self.all(kind)) < count:
                assert not self._reading.done(), f"ended before {count} {kind.__name__}: {self.events}, {self.ended!r}"
                self._changed.clear()
                await self._changed.wait()
        return self.all(kind)[count - 1]

    async def end(self) -> BaseException | None:
        """Wait until the events end; return the error they ended with."""
        await soon(self._reading)
        return self.ended

    def accept_all(self, folder: Path, **options: Any) -> None:
        """Take everything that is offered from now on."""

        def accept(event: SessionEvent) -> None:
            if isinstance(event, TransferOffered):
                self.session.accept(event, folder, **options)

        self.on_event = accept


@dataclass
class Pair:
    """Both ends of a session, and a folder for each."""

    initiator: Peer
    responder: Peer
    outbox: Path
    inbox: Path

    @classmethod
    def on(
        cls,
        ends: tuple[Channel, Channel],
        folder: Path,
        keepers: tuple[Keeper | None, Keeper | None] = (None, None),
        **options: Any,
    ) -> "Pair":
        """Start a session on a channel; everything it needs on a disk is in `folder`, as it was left there."""
        peers = [
            Peer(session_on(*each, state_dir=state_dir(folder, each[1]), **options))
            for each in zip(ends, (Role.INITIATOR, Role.RESPONDER), keepers, strict=True)
        ]
        for name in ("outbox", "inbox"):
            (folder / name).mkdir(exist_ok=True)
        return cls(*peers, folder / "outbox", folder / "inbox")

    @property
    def sessions(self) -> tuple[Session, Session]:
        return self.initiator.session, self.responder.session

    def file(self, name: str, size: int) -> Path:
        """Make a file of `size` random bytes to send."""
        path = self.outbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
        return path

    def start(self, *names: str) -> "asyncio.Task[TransferSent]":
        """Begin to send what is in the outbox from the initiator to the responder."""
        return asyncio.create_task(self.initiator.session.send([self.outbox / name for name in names]))

    async def close(self) -> None:
        """Close both ends; one that has failed is let go."""
        await soon(asyncio.gather(*(session.close() for session in self.sessions)))
        await asyncio.gather(self.initiator.end(), self.responder.end())

    async def leave(self) -> None:
        """End both at once, whatever they do; nothing may be left of them."""
        await soon(asyncio.gather(*(session.abort("the test is over") for session in self.sessions)))
        await asyncio.gather(self.initiator.end(), self.responder.end())

    async def transfer(self, name: str, size: int) -> TransferReceived:
        """Send a file from the initiator to the responder's inbox."""
        self.responder.accept_all(self.inbox)
        before = len(self.responder.all(TransferReceived))
        await soon(self.initiator.session.send([self.file(name, size)]))
        return await self.responder.wait_for(TransferReceived, before + 1)


def state_dir(folder: Path, role: Role) -> Path:
    """Where a peer of `Pair.on` keeps its receipts and journals."""
    return folder / f"state of the {role.value}"


def leftovers(folder: Path) -> list[str]:
    """What is in `folder` that has no name of its own yet."""
    return [path.name for path in folder.iterdir() if path.name.startswith(".punchwire-")]


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def changed(value: Any, **fields: Any) -> Any:
    """A frozen dataclass with other fields."""
    return replace(value, **fields)
