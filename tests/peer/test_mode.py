"""Whatever is done with a session goes on when it loses its channel and gets another: on real channels that break."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from p2p_core.proof import Role
from p2p_peer.cli import errand as errand_module
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.errand import Errand, Wanted
from p2p_peer.cli.mode import Mode, drive
from p2p_peer.cli.pipe import Pipe
from p2p_peer.events import MessageReceived, PathChanged, PathLost, TransferReceived
from p2p_peer.session import Session
from p2p_peer.transfer.tree import SendOptions

from tests.peer.breaking import FakeKeeper, Wire
from tests.peer.pair import Peer, channels, session_on, soon, until
from tests.peer.scene import Said, TypedLines


class Driven:
    """A session that is driven, and the other side's, over a wire that breaks."""

    def __init__(self, session: Session, other: Peer, wire: Wire, keepers: tuple[FakeKeeper, FakeKeeper]) -> None:
        self._session, self.other, self._wires, self._keepers = session, other, [wire], keepers
        self.said = Said()
        self.lines = TypedLines(self.said.notices)
        self.chat: Chat | None = None
        self._running: asyncio.Task[None] | None = None

    @classmethod
    async def begin(cls) -> "Driven":
        wire, keepers = Wire(), (FakeKeeper(), FakeKeeper())
        ours, theirs = await channels(wire.paths)
        other = Peer(session_on(theirs, Role.RESPONDER, keepers[1]))
        return cls(session_on(ours, Role.INITIATOR, keepers[0]), other, wire, keepers)

    def drive(self, make: Callable[[Any], Mode]) -> None:
        self._running = asyncio.create_task(drive(self._session, make, self.said))

    async def lose(self) -> None:
        """Break the wire; the session finds that out."""
        self._wires[-1].cut()
        await until(lambda: all(keeper.lost for keeper in self._keepers))
        await until(lambda: any(isinstance(event, PathLost) for event in self.said.events))

    async def move(self) -> None:
        """Give both sides a new channel."""
        self._wires.append(Wire())
        made = await channels(self._wires[-1].paths)
        for session, channel in zip((self._session, self.other.session), made, strict=True):
            session.move_to(channel, "TCP is the best")
        await until(lambda: any(isinstance(event, PathChanged) for event in self.said.events))

    async def end(self) -> None:
        """The mode ends in good order."""
        assert self._running is not None
        await soon(self._running)
        assert await self.other.end() is None
        assert self.said.ends == [""]

    async def stop(self) -> None:
        if self.chat is not None:
            await self.chat.stop()
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        await soon(asyncio.gather(*(one.abort("over") for one in (self._session, self.other.session))))
        await self.other.end()
        await asyncio.gather(*(wire.close() for wire in self._wires))


@pytest.fixture
async def driven(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Driven]:
    monkeypatch.setattr(errand_module, "_QUIET", 0.01)
    made = await Driven.begin()
    yield made
    await made.stop()


async def test_a_chat(driven: Driven) -> None:
    """What is typed meanwhile stands there as sent, and as delivered once the other side has it."""
    chat = driven.chat = Chat(driven.lines, Acceptance(), SendOptions())

    def make(session: Session) -> Chat:
        chat.begin(session, "")
        return chat

    driven.drive(make)
    driven.lines.type("before")
    await until(lambda: driven.lines.own == [("before", True)])
    await driven.lose()
    driven.lines.type("meanwhile", "/status")
    await until(lambda: any(notice.startswith("path          lost at") for notice in driven.said.notices))
    assert driven.lines.own == [("before", True)]
    await driven.move()
    driven.lines.type("after")
    await driven.other.wait_for(MessageReceived, 3)
    assert [event.text for event in driven.other.all(MessageReceived)] == ["before", "meanwhile", "after"]
    await until(lambda: driven.lines.own == [(text, True) for text in ("before", "meanwhile", "after")])
    driven.lines.type("/quit")
    driven.other.session.finish()
    await driven.end()


async def test_a_pipe(driven: Driven) -> None:
    lines: Any = driven.lines
    driven.drive(lambda session: Pipe(session, driven.said, lines, Acceptance()))
    driven.lines.type("before")
    await driven.other.wait_for(MessageReceived)
    await driven.lose()
    driven.lines.type("meanwhile", None)
    await driven.move()
    await driven.other.wait_for(MessageReceived, 2)
    driven.other.session.finish()
    await driven.end()
    assert [event.text for event in driven.other.all(MessageReceived)] == ["before", "meanwhile"]


async def test_an_errand(driven: Driven, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    (tmp_path / "inbox").mkdir()
    wanted = Wanted(messages=("hi",), paths=(str(tmp_path / "a"),))
    driven.drive(lambda session: Errand(session, wanted, driven.said, None))
    await driven.other.wait_for(MessageReceived)
    await driven.lose()
    driven.other.accept_all(tmp_path / "inbox")
    await driven.move()
    await driven.other.wait_for(TransferReceived)
    assert (tmp_path / "inbox" / "a").read_bytes() == b"content"
    driven.other.session.finish()
    await driven.end()
