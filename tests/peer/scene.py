"""One mode of the command on a session that does what a test says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from p2p_core.errors import ConnectionLost, PunchwireError
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.errand import Errand, Wanted
from p2p_peer.cli.memory import Memory
from p2p_peer.cli.mode import Mode, drive
from p2p_peer.cli.pipe import Pipe
from p2p_peer.events import ConnectEvent, SessionEvent
from p2p_peer.transfer.tree import SendOptions

from tests.peer.fake_session import FakeSession, Sending
from tests.peer.pair import soon, until


class TypedLines:
    """Implements `Console`, and what modes need of `InputLines`."""

    def __init__(self, notices: list[str] | None = None) -> None:
        self.notices: list[str] = [] if notices is None else notices
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.asked = 0
        self._ended = False
        self.commands: list[str] = []
        self.waits: list[bool] = []
        self.own: list[tuple[str, bool]] = []  # own messages that were settled, and whether they were delivered

    async def next(self) -> str | None:
        self.asked += 1
        line = await self._lines.get()
        self._ended = line is None
        return line

    @property
    def has_more(self) -> bool:
        return not self._ended

    @property
    def progress_columns(self) -> int | None:
        return None

    def type(self, *lines: str | None) -> None:
        for line in lines:
            self._lines.put_nowait(line)

    def message(self, sender: str, text: str) -> None:
        pass

    def own_message(self, text: str) -> Callable[[bool], None]:
        return lambda delivered: self.own.append((text, delivered))

    def waiting(self, *, waits: bool) -> None:
        self.waits.append(waits)

    def command(self, line: str) -> None:
        self.commands.append(line)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    @property
    def room(self) -> tuple[int, int] | None:
        return None

    def verbatim(self, text: str) -> None:
        self.notices.append(text)

    def progress(self, transfer: int, line: str) -> None:
        pass

    def progress_over(self, transfer: int) -> None:
        pass

    async def close(self) -> None:
        pass


class Said:
    """Implements `Report` by writing down what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.events: list[SessionEvent] = []
        self.ends: list[str] = []
        self.losses: list[str] = []

    def connecting(self, event: ConnectEvent) -> None:
        pass

    def connected(self, session: Any, why_no_better: str, seconds: float) -> None:
        pass

    def happened(self, session: Any, event: SessionEvent) -> None:
        self.events.append(event)

    def session_lost(self, error: ConnectionLost) -> None:
        self.losses.append(str(error))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def closed(self, reason: str) -> None:
        self.ends.append(reason)

    def failed(self, error: PunchwireError) -> None:
        pass


class Scene:
    """One mode on a session that does what a test says."""

    def __init__(self) -> None:
        self.session = FakeSession()
        self.said = Said()
        self.lines = TypedLines(self.said.notices)
        self.chat: Chat | None = None
        self.running: asyncio.Task[None] | None = None

    def begin(self, make: Callable[[Any], Mode]) -> "asyncio.Task[None]":
        """Drive the session with what `make` makes of it."""
        self.running = asyncio.create_task(drive(self.session, make, self.said))  # type: ignore[arg-type]
        return self.running

    def begin_chat(self, terms: Acceptance | None = None, options: SendOptions | None = None) -> "asyncio.Task[None]":
        """Chat."""
        chat = self.chat = Chat(self.lines, terms or Acceptance(), options or SendOptions())

        def make(session: Any) -> Chat:
            chat.begin(session, "")
            return chat

        return self.begin(make)

    def begin_pipe(self, terms: Acceptance | None = None) -> "asyncio.Task[None]":
        """Say what is typed."""
        lines: Any = self.lines
        return self.begin(lambda session: Pipe(session, self.said, lines, terms or Acceptance()))

    def begin_errand(self, wanted: Wanted, *, asks: bool = False, memory: Memory | None = None) -> "asyncio.Task[None]":
        """Run an errand."""
        lines = self.lines if asks else None
        return self.begin(lambda session: Errand(session, wanted, self.said, lines, memory))

    async def texts(self, count: int) -> list[str]:
        """The first messages that were sent, acknowledged."""
        await until(lambda: len(self.session.messages) >= count)
        return self.session.acknowledge()

    async def sending(self, count: int = 1) -> Sending:
        """What was sent, once it is offered."""
        await until(lambda: len(self.session.sendings) >= count)
        return self.session.sendings[count - 1]

    async def notice(self, text: str) -> None:
        await until(lambda: any(text in notice for notice in self.said.notices))

    async def answers(self, count: int = 1) -> None:
        """Wait for so many answers to offers."""
        await until(lambda: len(self.session.accepted) + len(self.session.refused) >= count)

    async def heard(self) -> None:
        """Wait until all that has happened was told."""
        await until(self.session._events.empty)
        await asyncio.sleep(0)

    async def end(self) -> None:
        assert self.running is not None
        await soon(self.running)

    async def stop(self) -> None:
        """Whatever still runs."""
        if self.chat is not None:
            await self.chat.stop()
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)


def file_of(folder: Path, name: str, content: bytes = b"hello") -> str:
    """Make a file to send; return its path."""
    (folder / name).write_bytes(content)
    return str(folder / name)
