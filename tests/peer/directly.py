"""Peers that meet directly, in one loop on loopback, each with a state folder of its own."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from p2p_core.errors import PunchwireError
from p2p_core.identity import PeerId
from p2p_core.proof import PathKind
from p2p_peer.events import ConnectEvent, Listening
from p2p_peer.options import ConnectOptions
from p2p_peer.serverless.direct import DirectMode, connect_direct
from p2p_peer.session import Session
from p2p_peer.trust import TrustStore

from tests.keys import key
from tests.peer.pair import soon, until

HERE = "127.0.0.1"
ALICE, BOB, MALLORY = 0, 1, 2  # keys

_T = TypeVar("_T")


def id_of(number: int) -> PeerId:
    return PeerId.of(key(number).public_key())


@dataclass
class Direct:
    """One `connect_direct` under way, and what it has told."""

    meeting: "asyncio.Task[Session]"
    told: list[ConnectEvent] = field(default_factory=list)

    def all(self, kind: type[_T]) -> list[_T]:
        return [event for event in self.told if isinstance(event, kind)]

    async def wait_for(self, kind: type[_T], count: int = 1) -> _T:
        """Return event number `count` of this kind, once it is told."""
        await until(lambda: self.meeting.done() or len(self.all(kind)) >= count)
        if len(self.all(kind)) < count:
            self.meeting.result()
        return self.all(kind)[count - 1]

    async def port(self) -> int:
        """Return where it listens, once it does."""
        return (await self.wait_for(Listening)).addresses[0].port

    async def session(self) -> Session:
        return await soon(self.meeting)

    async def error(self) -> PunchwireError:
        with pytest.raises(PunchwireError) as caught:
            await soon(self.meeting)
        return caught.value


class Meetings:
    """Begins them; in the end none goes on, and none of the sessions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._begun: list[Direct] = []

    def __call__(
        self, number: int, mode: DirectMode = DirectMode.BOTH, towards: int | None = None, **options: Any
    ) -> Direct:
        """Begin one with key `number`, at any free port, towards a port of this computer."""
        chosen = ConnectOptions(state_dir=self.store(number).folder, wait=options.pop("wait", None))
        told: list[ConnectEvent] = []
        arguments = {"host": HERE, "port": 0, "options": chosen, "notify": told.append, "mode": mode}
        if towards is not None:
            arguments |= {"target": HERE, "remote_port": towards}
        begun = Direct(asyncio.create_task(connect_direct(key(number), **(arguments | options))), told)
        self._begun.append(begun)
        return begun

    def store(self, number: int) -> TrustStore:
        """Return what that peer remembers."""
        return TrustStore(self._folder / f"state {number}")

    async def __aenter__(self) -> "Meetings":
        return self

    async def __aexit__(self, *_: object) -> None:
        for one in self._begun:
            one.meeting.cancel()
        outcomes = await asyncio.gather(*(one.meeting for one in self._begun), return_exceptions=True)
        sessions = [outcome for outcome in outcomes if isinstance(outcome, Session)]
        await soon(asyncio.gather(*(session.abort("the test is over") for session in sessions)))


@contextlib.contextmanager
def own_ports(count: int = 2) -> Iterator[list[int]]:
    """Ports at which nobody else listens meanwhile, nor we: others may, who say that they share them."""
    with contextlib.ExitStack() as held:
        ports = []
        for _ in range(count):
            sock = held.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((HERE, 0))
            ports.append(sock.getsockname()[1])
        yield ports


def open_sockets() -> int:
    """How many sockets this process has."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    return count


async def is_one_session(ours: Session, theirs: Session) -> None:
    """Both hold the same session, and it works."""
    assert ours.session_id == theirs.session_id
    assert ours.role is theirs.role.other
    assert ours.path is theirs.path is PathKind.TCP
    await soon(asyncio.gather(ours.send_message("hello"), theirs.send_message("hello")))
