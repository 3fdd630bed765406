"""The chat: what is typed at a terminal, from before the other peer is there until one of the two leaves."""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from p2p_core.errors import ConnectionLost, PunchwireError, TokenUnreadable
from p2p_core.wire.token_text import cleaned, parse

from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.chat_commands import CHAT_COMMANDS, ESCAPE
from p2p_peer.cli.chat_files import ChatFiles
from p2p_peer.cli.console import Console, LineSource
from p2p_peer.cli.human import duration
from p2p_peer.cli.mode import OTHER_IS_DONE
from p2p_peer.cli.path_text import path_text
from p2p_peer.cli.words_text import labelled
from p2p_peer.events import PathChanged, PathLost, PeerDone, SessionEvent, StillLooking
from p2p_peer.session import Session
from p2p_peer.transfer.tree import SendOptions

__all__ = ["Chat"]


@dataclass(slots=True)
class _Question:
    """What is asked, until one of the answers is typed."""

    text: str
    answers: Collection[str]
    answer: "asyncio.Future[str]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class _Diverted:
    """Implements `LineSource`, without an end: whoever leaves the chat ends it all."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> str | None:
        return await self.lines.get()


class Chat:
    """Carries out what is typed. Without a session yet, there is nobody to send anything to."""

    def __init__(self, console: Console, terms: Acceptance, options: SendOptions) -> None:
        """`terms`: how files are taken that are offered; `options`: what of folders is sent."""
        self._console = console
        self._files = ChatFiles(console, terms, options, self._ask)
        self._session: Session | None = None
        self._path = ""  # the present one, in words
        self._lost_at = ""  # %H:%M:%S; empty: there is a connection
        self._began = datetime.now().astimezone()
        self._question: _Question | None = None
        self._diverted: _Diverted | None = None
        self._asking = asyncio.Lock()
        self._was_warned = False  # that leaving gives up transfers; until something else is typed
        self._reading: asyncio.Task[None] | None = None
        self._leaves = False  # as soon as the line that says so is carried out
        self._left = asyncio.Event()
        self._commands: dict[str, Callable[[str], None]] = {
            "/send": self._files.send,
            "/accept": self._files.accept,
            "/reject": self._files.reject,
            "/cancel": self._files.cancel,
            "/status": self._status,
            "/help": self._help,
            "/quit": self._quit,
        }

    @property
    def has_left(self) -> bool:
        """Whether /quit was typed, or the terminal is gone."""
        return self._left.is_set()

    def start(self) -> None:
        """Begin to read what is typed, if that has not begun."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(lambda _: self._left.set())

    async def left(self) -> None:
        """Wait until the user leaves."""
        await self._left.wait()
        assert self._reading is not None
        self._reading.result()  # if reading failed, so do we

    async def ask(self, question: str) -> bool:
        """Wait until the user answers `question` with yes or no; leaving is an answer to nothing."""
        self.start()
        return await self._ask(question, ("yes", "no")) == "yes"

    @contextlib.contextmanager
    def diverted(self) -> Iterator[LineSource]:
        """Within this, what is typed and is no command goes to whoever reads what this yields."""
        self.start()
        self._diverted = diverted = _Diverted()
        try:
            yield diverted
        finally:
            self._diverted = None

    async def stop(self) -> None:
        """Read no more."""
        await self._files.stop()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def begin(self, session: Session, why_no_better: str) -> None:
        """The other peer is there, on no better path for the reason given."""
        self._session = session
        self._files.begin(session)
        self._path = path_text(session.path, session.address, why_no_better)
        self._began = datetime.now().astimezone()
        self._console.notice("type a message, or /help")
        self.start()

    # `Mode`.

    async def run(self) -> None:
        """Wait until the user leaves; give up the transfers that still run then."""
        await self.left()
        self._files.give_up()

    def is_news(self, event: SessionEvent) -> bool:
        """Everything is: there is one session."""
        return True

    def happened(self, event: SessionEvent) -> None:
        """Note what has become of the path, and of files."""
        match event:
            case PathLost():
                self._lost_at = f"{datetime.now().astimezone():%H:%M:%S}"
                self._path = f"lost at {self._lost_at}; looking for another"
                self._console.waiting(waits=True)
            case StillLooking(why):
                self._path = f"lost at {self._lost_at}; still looking: {why}"
            case PathChanged(kind, address, why_no_better):
                self._lost_at, self._path = "", path_text(kind, address, why_no_better)
                self._console.waiting(waits=False)
            case PeerDone():
                self._console.notice(OTHER_IS_DONE)
            case _:
                self._files.happened(event)

    def session_ended(self, lost: ConnectionLost | None) -> bool:
        """There is nobody left to talk to."""
        return False

    # What is typed.

    async def _read(self) -> None:
        while not self._leaves and (line := await self._console.next()) is not None:
            await asyncio.sleep(0)  # however many lines were pasted, keys are heard between two of them
            self._was_warned = self._was_warned and line.strip() == "/quit"
            if self._question is not None and line.strip() != "/quit":
                self._answer_question(line.strip(), self._question)
            elif line.startswith("//"):
                self._say(line.removeprefix("/"))
            elif line.startswith("/"):
                self._carry_out(line)
            elif self._diverted is not None:
                self._diverted.lines.put_nowait(line)
            elif self._session is not None and _is_token(line):
                self._console.notice("that is a token, and you are connected already: it was not sent")
            elif line.strip():
                self._say(line)

    async def _ask(self, text: str, answers: Collection[str]) -> str:
        """Ask until one of the answers is typed. Questions wait for each other."""
        async with self._asking:
            question = _Question(text, answers)
            self._question = question
            self._console.notice(text)
            return await question.answer

    def _answer_question(self, line: str, question: _Question) -> None:
        if line not in question.answers:
            self._console.notice(question.text)
            return
        self._question = None
        if not question.answer.done():  # whoever asked may have gone in this very moment
            question.answer.set_result(line)

    def _carry_out(self, line: str) -> None:
        self._console.command(line)
        word, _, argument = line.partition(" ")
        command = self._commands.get(word)
        if command is None:
            self._console.notice(f"there is no command {word}; /help lists them")
        else:
            command(argument.strip())

    def _say(self, text: str) -> None:
        if self._session is None:
            self._console.notice(f"not sent, the other peer is not there yet: {text}")
            return
        try:
            delivery = self._session.send_message(text)
        except PunchwireError as error:  # it is too long, or the other side is leaving
            self._console.notice(f"not sent: {error}")
            return
        settle = self._console.own_message(text)
        delivery.add_done_callback(lambda done: settle(not done.cancelled() and done.exception() is None))

    # The rest.

    def _status(self, argument: str) -> None:
        seconds = (datetime.now().astimezone() - self._began).total_seconds()
        since = f"since {self._began:%H:%M:%S}, for {duration(seconds)}"
        session = self._session
        if session is None:
            self._console.notice(f"waiting for the other peer {since}")
            return
        round_trip = "not measured yet" if session.round_trip is None else f"{session.round_trip * 1000:.1f} ms"
        if self._lost_at:
            round_trip = "none: there is no connection"
        for name, value in (
            ("connected", since),
            ("path", self._path),
            ("round trip", round_trip),
            ("key exchange", f"{session.key_exchange}, both keys proved on it"),
            ("peer id", str(session.peer)),
            *labelled("peer's words", session.peer),
            *labelled("your words", session.own),
        ):
            self._console.notice(f"{name:<13} {value}")
        for what, transfers in (("offered", self._files.offers), ("under way", self._files.under_way)):
            for number, name in transfers.items():
                self._console.notice(f"{what:<13} {number} {name}")

    def _help(self, argument: str) -> None:
        for usage, meaning in CHAT_COMMANDS:
            self._console.notice(f"{usage:<15} {meaning}")
        self._console.notice(ESCAPE)

    def _quit(self, argument: str) -> None:
        under_way = self._files.under_way.values()
        if under_way and not self._was_warned:
            self._was_warned = True
            self._console.notice(f"{', '.join(under_way)}: still under way; /quit again gives that up")
        else:
            self._leaves = True


def _is_token(line: str) -> bool:
    """Whether a line is one whole token and nothing else; with a word before it, it is a message."""
    try:
        return parse(line).text == cleaned(line)
    except TokenUnreadable:
        return False
