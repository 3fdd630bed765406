"""The chat: what is typed at a terminal, from before the other peer is there until one of the two leaves."""

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from p2p_core.errors import ConnectionLost, PunchwireError, Refused

from p2p_peer.cli.chat_commands import CHAT_COMMANDS, ESCAPE
from p2p_peer.cli.console import Console
from p2p_peer.cli.human import duration, human_size, shown_name
from p2p_peer.cli.mode import OTHER_IS_DONE
from p2p_peer.cli.path_text import path_text
from p2p_peer.events import (
    FileFailed,
    FileOffered,
    FileReceived,
    PathChanged,
    PathLost,
    PeerDone,
    SessionEvent,
    StillLooking,
)
from p2p_peer.session import Session

__all__ = ["Chat"]


class Chat:
    """Carries out what is typed. Without a session yet, there is nobody to send anything to."""

    def __init__(self, console: Console, *, accepts: bool) -> None:
        """`accepts`: take every file that is offered, without asking."""
        self._console, self._accepts = console, accepts
        self._session: Session | None = None
        self._path = ""  # the present one, in words
        self._lost_at = ""  # %H:%M:%S; empty: there is a connection
        self._began = datetime.now().astimezone()
        self._offers: dict[int, FileOffered] = {}  # not answered yet, by the number they are shown with
        self._offered = 0
        self._receiving: dict[int, str] = {}  # names, by transfer
        self._sending: dict[asyncio.Task[None], str] = {}
        self._question: tuple[str, asyncio.Future[bool]] | None = None
        self._was_warned = False  # that leaving gives up transfers; until something else is typed
        self._asks_for_number = False  # once an offer was taken back: another one may stand in its place
        self._reading: asyncio.Task[None] | None = None
        self._leaves = False  # as soon as the line that says so is carried out
        self._left = asyncio.Event()
        self._commands: dict[str, Callable[[str], None]] = {
            "/send": self._send,
            "/accept": partial(self._answer, self._accept),
            "/reject": partial(self._answer, self._reject),
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
        self._question = (question, asyncio.get_running_loop().create_future())
        self._console.notice(question)
        return await self._question[1]

    async def stop(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def begin(self, session: Session, why_no_better: str) -> None:
        """The other peer is there, on no better path for the reason given."""
        self._session = session
        self._path = path_text(session.path, session.address, why_no_better)
        self._began = datetime.now().astimezone()
        self._console.notice("type a message, or /help")
        self.start()

    # `Mode`.

    async def run(self) -> None:
        """Wait until the user leaves; give up the transfers that still run then."""
        await self.left()
        for task, name in self._sending.items():
            self._console.notice(f"{name} was not sent: you gave it up")
            task.cancel()
        for transfer in self._receiving:
            self._connected().cancel_file(transfer)

    def happened(self, event: SessionEvent) -> None:
        """Ask about files; note what has become of those that were taken, and of the path."""
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
            case FileOffered() if self._accepts:
                self._accept(event)
            case FileOffered():
                self._offered += 1
                self._offers[self._offered] = event
                number = f" {self._offered}" if len(self._offers) > 1 or self._asks_for_number else ""
                self._console.notice(f"/accept{number} takes it, /reject{number} refuses it")
            case FileReceived(transfer):
                self._receiving.pop(transfer, None)
            case FileFailed(transfer):
                self._receiving.pop(transfer, None)
                offers = {n: offered for n, offered in self._offers.items() if offered.transfer != transfer}
                # Who typed /accept for that one must not take the next with it.
                self._asks_for_number = self._asks_for_number or len(offers) < len(self._offers)
                self._offers = offers

    def session_ended(self, lost: ConnectionLost | None) -> bool:
        """There is nobody left to talk to."""
        return False

    # What is typed.

    async def _read(self) -> None:
        while not self._leaves and (line := await self._console.next()) is not None:
            await asyncio.sleep(0)  # however many lines were pasted, keys are heard between two of them
            self._was_warned = self._was_warned and line.strip() == "/quit"
            if self._question is not None and line.strip() != "/quit":
                self._answer_question(line.strip(), *self._question)
            elif line.startswith("//"):
                self._say(line.removeprefix("/"))
            elif line.startswith("/"):
                self._carry_out(line)
            elif line.strip():
                self._say(line)

    def _answer_question(self, line: str, question: str, answer: "asyncio.Future[bool]") -> None:
        if line not in ("yes", "no"):
            self._console.notice(question)
            return
        self._question = None
        if not answer.done():  # whoever asked may have gone in this very moment
            answer.set_result(line == "yes")

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

    def _connected(self) -> Session:
        assert self._session is not None
        return self._session

    # Files.

    def _send(self, argument: str) -> None:
        if self._session is None:
            self._console.notice("no file is sent: the other peer is not there yet")
        elif not argument:
            self._console.notice("which file? /send PATH")
        else:
            path = _path(argument)
            task = asyncio.create_task(self._send_and_tell(self._session, path))
            self._sending[task] = path.name
            task.add_done_callback(self._sending.pop)

    async def _send_and_tell(self, session: Session, path: Path) -> None:
        try:
            await session.send_file(path, offered=self._has_offered)
        except Refused as error:
            self._console.notice(str(error))
        except PunchwireError as error:
            is_named = str(error).startswith(f"{path} ")
            self._console.notice(f"not sent: {error}" if is_named else f"{path.name} was not sent: {error}")

    def _has_offered(self, name: str, size: int) -> None:
        what = f"offered {shown_name(name)} ({human_size(size)})"
        self._console.notice(f"{what}; waiting for the other side to accept")

    def _answer(self, answer: Callable[[FileOffered], None], argument: str) -> None:
        if not self._offers:
            self._console.notice("no file is offered")
        elif not argument and (len(self._offers) > 1 or self._asks_for_number):
            names = ", ".join(f"{number} {shown_name(offered.offer.name)}" for number, offered in self._offers.items())
            self._console.notice(f"which one? {names}")
        else:
            number = argument or str(next(iter(self._offers)))
            offered = next((n for n in self._offers if str(n) == number), None)
            if offered is None:
                self._console.notice(f"no file is offered with the number {argument}")
            else:
                answer(self._offers.pop(offered))

    def _accept(self, offered: FileOffered) -> None:
        try:
            self._connected().accept_file(offered)
        except PunchwireError as error:
            self._console.notice(str(error))
        else:
            self._receiving[offered.transfer] = shown_name(offered.offer.name)

    def _reject(self, offered: FileOffered) -> None:
        self._connected().refuse_file(offered)
        self._console.notice(f"refused {shown_name(offered.offer.name)}")

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
        words = session.peer.words
        for name, value in (
            ("connected", since),
            ("path", self._path),
            ("round trip", round_trip),
            ("key exchange", f"{session.key_exchange}, both keys proved on it"),
            ("peer id", str(session.peer)),
            ("peer's words", " ".join(words[:6])),
            ("", " ".join(words[6:])),
        ):
            self._console.notice(f"{name:<13} {value}")
        for number, offered in self._offers.items():
            offer = offered.offer
            self._console.notice(f"{'offered':<13} {number} {shown_name(offer.name)} ({human_size(offer.size)})")
        for name in (*self._sending.values(), *self._receiving.values()):
            self._console.notice(f"{'under way':<13} {name}")

    def _help(self, argument: str) -> None:
        for usage, meaning in CHAT_COMMANDS:
            self._console.notice(f"{usage:<13} {meaning}")
        self._console.notice(ESCAPE)

    def _quit(self, argument: str) -> None:
        under_way = [*self._sending.values(), *self._receiving.values()]
        if under_way and not self._was_warned:
            self._was_warned = True
            self._console.notice(f"{', '.join(under_way)}: still under way; /quit again gives that up")
        else:
            self._leaves = True


def _path(argument: str) -> Path:
    """Return the path that was typed: as it stands, or quoted as for a shell, as a file dropped on a terminal is."""
    if not os.path.exists(_at_home(argument)):  # which fails for no path, however odd
        with contextlib.suppress(ValueError):  # a quotation mark without another
            words = shlex.split(argument)
            argument = words[0] if len(words) == 1 else argument
    return _at_home(argument)


def _at_home(path: str) -> Path:
    """Return `path` with the home folder in place of ~. Path.expanduser() raises where there is no such user."""
    return Path(path if "\0" in path else os.path.expanduser(path))
