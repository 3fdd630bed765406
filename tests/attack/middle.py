"""A man in the middle of the peer channel: on one end of every path that two real peers have found for themselves.

What he does with a stream is up to a test: to carry bytes that he changes, or to end TLS himself on both sides.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from p2p_core.errors import ConnectionLost
from p2p_core.proof import PathKind, Role
from p2p_peer import Paths, attempt
from p2p_peer.channel.channel import until
from p2p_peer.channel.stream import Stream, StreamEnded, Wait
from p2p_peer.gather.candidates import Gathered
from p2p_peer.paths.base import Path

from tests.peer.quic_pair import address, udp_socket

__all__ = [
    "DatagramChange",
    "DatagramHook",
    "DatagramMiddle",
    "Hook",
    "Impostor",
    "Middle",
    "between",
    "between_datagrams",
    "carried",
    "options_for",
]

CHUNK = 65536


def options_for(kind: PathKind) -> dict[str, Any]:
    """What a peer has to be told to take no path but one of this kind, see `between`."""
    return {"paths": Paths.RELAY_ONLY if kind is PathKind.RELAY else Paths.ANY}


class Impostor:
    """One end of TLS or QUIC that somebody holds who is not the peer that is expected there."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    async def shake_hands(self) -> None:
        """Take the handshake to its end."""
        while (wait := self.stream.handshake_to_binding()) is not None:
            await until(self.stream, wait)
        while (wait := self.stream.handshake_to_end()) is not None:
            await until(self.stream, wait)

    async def read(self, least: int = 1) -> bytes:
        """Read so many bytes or more; fewer only at the end."""
        data, space = b"", memoryview(bytearray(CHUNK))
        with contextlib.suppress(StreamEnded, ConnectionLost):
            while len(data) < least:
                if (count := self.stream.read_into(space)) is None:
                    await until(self.stream, Wait.READ)
                else:
                    data += space[:count]
        return data

    async def write(self, data: bytes) -> None:
        """Write all of it, unless the other side has gone."""
        with contextlib.suppress(ConnectionLost):
            while self.stream.write(memoryview(data)) is None:
                await until(self.stream, Wait.WRITE)

    async def say(self, data: bytes) -> bytes:
        """Shake hands, say this, listen until the other side ends it, and close; return what it said."""
        try:
            await self.shake_hands()
            await self.write(data)
            return await self.read(CHUNK)
        except ConnectionLost:
            return b""
        finally:
            self.stream.close()

    async def pass_on(self, other: "Impostor") -> None:
        """Pass on what comes, until it ends."""
        while data := await self.read():
            await other.write(data)


class Middle:
    """His two sockets, by the role of the peer at the other end of each."""

    def __init__(self, initiator: socket.socket, responder: socket.socket) -> None:
        self.sockets = {Role.INITIATOR: initiator, Role.RESPONDER: responder}

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


Hook = Callable[[Middle], Awaitable[None]]
Change = Callable[[Role, int, bytes], bytes | None]  # who says it, its how many-eth piece, and what; None: he closes


@asynccontextmanager
async def between(kind: PathKind, hook: Hook, victim: Role = Role.INITIATOR) -> AsyncIterator[list[Middle]]:
    """Let him sit before `victim` on each stream that comes up, while this is entered; only paths of `kind` come up.

    `hook` is called for each, in a task of its own; at the end all are over.
    """
    middles: list[Middle] = []
    running: list[asyncio.Task[None]] = []
    real_race, real_gather = attempt.race, attempt.gather  # type: ignore[attr-defined]

    async def race(gathered: Gathered, terms: Any, *arguments: Any, **named: Any) -> Path:
        path = await real_race(gathered, terms, *arguments, **named)
        if terms.role is not victim:
            return path
        ours, his = socket.socketpair()
        ends = [his, path.socket] if victim is Role.INITIATOR else [path.socket, his]
        for sock in (ours, his, path.socket):
            sock.setblocking(False)
        middles.append(Middle(*ends))
        running.append(asyncio.create_task(_run(hook, middles[-1])))
        return replace(path, socket=ours)

    async def gather(*arguments: Any, **named: Any) -> Gathered:
        found: Gathered = await real_gather(*arguments, **named)
        return replace(found, udp_sockets=()) if kind is PathKind.TCP else found

    with mock.patch.object(attempt, "race", race), mock.patch.object(attempt, "gather", gather):
        try:
            yield middles
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


class DatagramMiddle:
    """He on a path over UDP: where the initiator sees the responder, and the responder the initiator."""

    def __init__(self, towards_initiator: Path, towards_responder: Path) -> None:
        self.paths = {Role.INITIATOR: towards_initiator, Role.RESPONDER: towards_responder}
        self._numbers = dict.fromkeys(Role, 0)

    def send(self, role: Role, datagram: bytes) -> None:
        """Send it to the peer in `role`, as if it came from the other one."""
        path = self.paths[role]
        with contextlib.suppress(OSError):
            path.socket.sendto(datagram, (path.address.host, path.address.port))

    def carry(self, change: "DatagramChange") -> None:
        """Carry both ways, each datagram changed so."""
        for role in Role:
            asyncio.get_running_loop().add_reader(self.paths[role].socket, self._carry, role, change)

    def _carry(self, sender: Role, change: "DatagramChange") -> None:
        with contextlib.suppress(OSError):
            while True:
                datagram = self.paths[sender].socket.recv(CHUNK)
                for piece in change(sender, self._numbers[sender], datagram):
                    self.send(sender.other, piece)
                self._numbers[sender] += 1

    def close(self) -> None:
        for path in self.paths.values():
            if path.socket.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(path.socket)
                path.socket.close()


DatagramChange = Callable[[Role, int, bytes], Sequence[bytes]]  # who says it, its how many-eth datagram, and what
DatagramHook = Callable[[DatagramMiddle], Awaitable[None]]


@asynccontextmanager
async def between_datagrams(hook: DatagramHook) -> AsyncIterator[list[DatagramMiddle]]:
    """Let him sit before the initiator on each path over UDP, while this is entered.

    TCP is left out of the first attempt of each of the two peers, which would prefer it.
    """
    middles: list[DatagramMiddle] = []
    running: list[asyncio.Task[None]] = []
    real_race, real_gather = attempt.race, attempt.gather  # type: ignore[attr-defined]
    gathered_so_far = 0

    async def race(gathered: Gathered, terms: Any, *arguments: Any, **named: Any) -> Path:
        path = await real_race(gathered, terms, *arguments, **named)
        if terms.role is Role.RESPONDER or path.kind is not PathKind.QUIC:
            return path
        ours, his = udp_socket(), udp_socket()
        middles.append(DatagramMiddle(Path(PathKind.QUIC, his, address(ours)), path))
        running.append(asyncio.create_task(_run_datagrams(hook, middles[-1])))
        return replace(path, socket=ours, address=address(his))

    async def gather(*arguments: Any, **named: Any) -> Gathered:
        nonlocal gathered_so_far
        gathered_so_far += 1
        found: Gathered = await real_gather(*arguments, **named)
        return replace(found, tcp_port=None) if gathered_so_far <= 2 else found

    with mock.patch.object(attempt, "race", race), mock.patch.object(attempt, "gather", gather):
        try:
            yield middles
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _run_datagrams(hook: DatagramHook, middle: DatagramMiddle) -> None:
    try:
        await hook(middle)
        await asyncio.get_running_loop().create_future()  # until the test is over
    finally:
        middle.close()


async def _run(hook: Hook, middle: Middle) -> None:
    try:
        await hook(middle)
    finally:
        middle.close()


def carried(change: Change) -> Hook:
    """Carry both ways, piece by piece as they come, each changed so."""

    async def carry(middle: Middle, sender: Role) -> None:
        loop, number = asyncio.get_running_loop(), 0
        source, sink = middle.sockets[sender], middle.sockets[sender.other]
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, CHUNK):
                piece = change(sender, number, data)
                number += 1
                if piece is None:
                    break
                await loop.sock_sendall(sink, piece)
            sink.shutdown(socket.SHUT_WR)

    async def hook(middle: Middle) -> None:
        await asyncio.gather(*(carry(middle, role) for role in Role))

    return hook
