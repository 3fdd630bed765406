"""Channels through a middleman who breaks them, and sessions that get new ones."""

import asyncio
import socket
import struct
from dataclasses import dataclass, field
from pathlib import Path

from p2p_core.errors import PunchwireError
from p2p_peer.channel.channel import Channel
from p2p_peer.events import PathChanged

from tests.peer.pair import Pair, Peer, channels, socket_paths, until

__all__ = ["FakeKeeper", "Moving", "Wire"]

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with an RST


@dataclass
class FakeKeeper:
    """Takes note of what is lost; the test makes the next channel."""

    willing: bool = True
    lost: list[PunchwireError] = field(default_factory=list)

    def channel_lost(self, error: PunchwireError) -> bool:
        self.lost.append(error)
        return self.willing


class Wire:
    """A connection of two halves; whoever is in the middle breaks it, by a reset both ways, after `most` bytes."""

    def __init__(self, most: float = float("inf")) -> None:
        ours, first = socket_paths()
        second, theirs = socket_paths()
        self.paths = ours, theirs
        self._middle = first.socket, second.socket
        self._left = most
        self.carried = 0  # bytes
        loop = asyncio.get_running_loop()
        self._carrying = [
            loop.create_task(self._carry(*ends)) for ends in (self._middle, (second.socket, first.socket))
        ]

    async def has_carried(self, more_than: int) -> None:
        """Wait for so many bytes, both ways together."""
        await until(lambda: self.carried > more_than)

    async def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(source, 64 * 1024):
                self._left -= len(data)
                self.carried += len(data)
                if self._left < 0:
                    data = data[: int(self._left)]
                await loop.sock_sendall(sink, data)
                if self._left < 0:
                    break
            else:
                sink.shutdown(socket.SHUT_WR)
                return
        except OSError:  # one end was closed
            pass
        loop.call_soon(self.cut)

    def cut(self) -> None:
        """Break it now."""
        for task in self._carrying:
            task.cancel()
        for sock in self._middle:
            if sock.fileno() >= 0:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                sock.close()

    async def close(self) -> None:
        self.cut()
        await asyncio.gather(*self._carrying, return_exceptions=True)


@dataclass
class Moving:
    """A pair of sessions that move from wire to wire as the test says."""

    pair: Pair
    keepers: tuple[FakeKeeper, FakeKeeper]
    wires: list[Wire]

    @classmethod
    async def begin(cls, folder: Path, most: float = float("inf")) -> "Moving":
        """Start two sessions on a wire that breaks after `most` bytes."""
        wire, keepers = Wire(most), (FakeKeeper(), FakeKeeper())
        return cls(Pair.on(await channels(wire.paths), folder, keepers), keepers, [wire])

    @property
    def peers(self) -> tuple[Peer, Peer]:
        return self.pair.initiator, self.pair.responder

    async def new_channels(self, most: float = float("inf")) -> tuple[Channel, Channel]:
        """Two ends of the session's next channel, on a wire that breaks after `most` bytes."""
        self.wires.append(Wire(most))
        return await channels(self.wires[-1].paths)

    async def move(self, most: float = float("inf")) -> None:
        """Give both sides a new channel."""
        for session, channel in zip(self.pair.sessions, await self.new_channels(most), strict=True):
            session.move_to(channel)

    async def lost(self, count: int) -> None:
        """Wait until both sides have lost `count` channels."""
        await until(lambda: all(len(keeper.lost) >= count for keeper in self.keepers))

    async def moved(self, count: int = 1) -> None:
        """Wait until both sides have moved `count` times."""
        for peer in self.peers:
            await peer.wait_for(PathChanged, count)

    async def end(self) -> None:
        """Leave nothing behind."""
        await self.pair.leave()
        await asyncio.gather(*(wire.close() for wire in self.wires))
