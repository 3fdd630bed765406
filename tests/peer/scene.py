"""One mode of the command on a live session, with the other side moved by hand."""

import asyncio
from collections.abc import Callable
from typing import Any

from p2p_core.errors import PunchwireError
from p2p_core.wire.frames import Close, FileAnswer, FileOffer, FileReceipt, MessageAck, TextMessage
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.errand import Errand, Wanted
from p2p_peer.cli.mode import Mode, drive
from p2p_peer.cli.pipe import Pipe
from p2p_peer.events import ConnectEvent, SessionEvent

from tests.peer.other_side import BLOCK_SIZE, OtherSide, block
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

    def connecting(self, event: ConnectEvent) -> None:
        pass

    def connected(self, session: Any, why_no_better: str, seconds: float) -> None:
        pass

    def happened(self, session: Any, event: SessionEvent) -> None:
        self.events.append(event)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def closed(self, reason: str) -> None:
        self.ends.append(reason)

    def failed(self, error: PunchwireError) -> None:
        pass


class Scene:
    """One mode on a live session; the other side is moved by hand."""

    def __init__(self, session: Any, other: OtherSide) -> None:
        self.session, self.other = session, other
        self.said = Said()
        self.lines = TypedLines(self.said.notices)
        self.sent_by_other = 0
        self.chat: Chat | None = None
        self.running: asyncio.Task[None] | None = None

    def begin(self, make: Callable[[Any], Mode]) -> "asyncio.Task[None]":
        """Drive the session with what `make` makes of it."""
        self.running = asyncio.create_task(drive(self.session, make, self.said))
        return self.running

    def begin_chat(self, *, accepts: bool = False) -> "asyncio.Task[None]":
        """Chat."""
        chat = self.chat = Chat(self.lines, accepts=accepts)

        def make(session: Any) -> Chat:
            chat.begin(session, "")
            return chat

        return self.begin(make)

    def begin_pipe(self, *, accepts: bool = False) -> "asyncio.Task[None]":
        """Say what is typed."""
        return self.begin(lambda session: Pipe(session, self.said, self.lines, accepts=accepts))  # type: ignore[arg-type]

    def begin_errand(self, wanted: Wanted, *, asks: bool = False) -> "asyncio.Task[None]":
        """Run an errand."""
        return self.begin(lambda session: Errand(session, wanted, self.said, self.lines if asks else None))

    async def texts(self, count: int) -> list[str]:
        """The first messages that came, acknowledged."""
        await self.other.wait_for(TextMessage, count)
        self.other.send(MessageAck(count))
        return [frame.text for frame in self.other.came if isinstance(frame, TextMessage)]

    async def notice(self, text: str) -> None:
        await until(lambda: any(text in notice for notice in self.said.notices))

    def offer(self, size: int = 5, name: str = "a.txt") -> FileOffer:
        """Offer a file."""
        offer = FileOffer(2 + 2 * self.sent_by_other, name, size, 0o644, 10**18, BLOCK_SIZE)
        self.sent_by_other += 1
        self.other.send(offer)
        return offer

    async def send_whole(self, offer: FileOffer, content: bytes) -> None:
        self.other.send(block(content, 0, offer.transfer), self.other.end_of(offer, content))
        await self.other.wait_for(FileReceipt)

    async def answer(self, count: int = 1) -> FileAnswer:
        return await self.other.wait_for(FileAnswer, count)

    async def leave(self, reason: str = "") -> None:
        """The other side leaves: properly, or for a reason."""
        self.other.send(Close(reason))
        await self.other.wait_for(Close)
        await self.other.pump.close()

    async def leave_after_close(self) -> None:
        """The other side has said its farewell already."""
        await self.other.wait_for(Close)
        await self.other.pump.close()

    async def farewell(self) -> None:
        """Answer the mode's farewell."""
        await self.other.wait_for(Close)
        self.other.send(Close())
        await self.other.pump.close()

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
