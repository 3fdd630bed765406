"""What is done with a session: a chat at a terminal, lines through a pipe, or an errand."""

import argparse
import asyncio
from collections import deque
from pathlib import Path
from typing import Protocol

from p2p_core.errors import ConnectionLost, LocalProtocolError, PunchwireError, Refused, TransferFailed, UsageError

from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.report import Report
from p2p_peer.events import FileFailed, FileOffered, FileReceived, PeerDone, PeerLeaving, SessionEvent
from p2p_peer.session import Session

__all__ = ["Chat", "Errand", "Mode", "Pipe"]

_YES = ("y", "yes")
_ANSWERS = (*_YES, "n", "no")
_NOBODY_TO_ASK = "nobody is there to be asked"
_LINES_LEFT = "the other side left before it had every line"
_QUIET = 1.0  # s in which the other side says nothing: then an errand that is done leaves
_MAX_UNACKNOWLEDGED = 256  # messages on their way before a pipe waits: enough to fill the longest link


class Mode(Protocol):
    """What to do with a session."""

    async def run(self) -> None:
        """Do it; the session is closed afterwards."""

    def happened(self, event: SessionEvent) -> None:
        """Something happened meanwhile."""

    def session_ended(self) -> bool:
        """The session is over. Return whether `run` comes to its own end now; else it is broken off."""


class Chat:
    """Lines typed at a terminal."""

    def __init__(self, session: Session, options: argparse.Namespace, report: Report, lines: InputLines) -> None:
        self._session, self._options, self._report, self._lines = session, options, report, lines
        self._asked: deque[FileOffered] = deque()
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send what is typed until /quit or the end of input."""
        while (line := await self._lines.next()) is not None:
            if line == "/quit":
                break
            if self._asked and line.strip().lower() in _ANSWERS:
                self._answer(yes=line.strip().lower() in _YES)
            elif line.startswith("/send "):
                self._send(line.removeprefix("/send ").strip())
            elif line.startswith("/") and not line.startswith("//"):
                self._report.notice("commands: /send PATH, /quit; a message that begins with / is typed with //")
            elif line:
                self._say(line.removeprefix("/") if line.startswith("//") else line)
        for task in self._sending:
            task.cancel()

    def happened(self, event: SessionEvent) -> None:
        """Ask about files."""
        match event:
            case FileOffered() if self._options.yes:
                self._accept(event)
            case FileOffered():
                self._asked.append(event)
                if len(self._asked) == 1:
                    self._ask()
            case FileFailed(transfer):
                self._not_offered_any_more(transfer)

    def session_ended(self) -> bool:
        """There is nobody left to talk to."""
        return False

    def _say(self, text: str) -> None:
        try:
            self._session.send_message(text)
        except PunchwireError as error:  # it is too long, or the other side is leaving
            self._report.notice(str(error))

    def _send(self, path: str) -> None:
        task = asyncio.create_task(self._send_and_tell(Path(path).expanduser()))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _send_and_tell(self, path: Path) -> None:
        try:
            await self._session.send_file(path)
        except Refused as error:
            self._report.notice(str(error))
        except PunchwireError as error:
            self._report.notice(f"{path.name} was not sent: {error}")

    def _ask(self) -> None:
        self._report.notice(f"accept {self._asked[0].offer.name}? [y/n]")

    def _answer(self, *, yes: bool) -> None:
        offered = self._asked.popleft()
        if yes:
            self._accept(offered)
        else:
            self._session.refuse_file(offered)
        if self._asked:
            self._ask()

    def _not_offered_any_more(self, transfer: int) -> None:
        was_asked = self._asked[0] if self._asked else None
        self._asked = deque(offered for offered in self._asked if offered.transfer != transfer)
        if self._asked and self._asked[0] is not was_asked:
            self._ask()

    def _accept(self, offered: FileOffered) -> None:
        try:
            self._session.accept_file(offered)
        except PunchwireError as error:
            self._report.notice(str(error))


class Pipe:
    """Lines of a pipe or a file: each is a message, whatever it says. Nothing in it is a command."""

    def __init__(self, session: Session, options: argparse.Namespace, report: Report, lines: InputLines) -> None:
        self._session, self._options, self._report, self._lines = session, options, report, lines
        self._other_is_done = asyncio.Event()
        self._broke_off = ""  # the reason the other side gave for leaving, if it was not an ordinary end
        self._unacknowledged: deque[asyncio.Future[None]] = deque()

    async def run(self) -> None:
        """Send every line, wait for the acknowledgements, then for the other side to be done or to close."""
        while (line := await self._lines.next()) is not None:
            try:
                self._unacknowledged.append(self._session.send_message(line))
            except LocalProtocolError as error:
                raise UsageError(f"a line of standard input cannot be sent: {error}") from error
            except ConnectionLost as error:
                raise ConnectionLost(_LINES_LEFT) from error
            while len(self._unacknowledged) > _MAX_UNACKNOWLEDGED or self._oldest_is_acknowledged():
                await self._unacknowledged.popleft()
        for delivery in self._unacknowledged:
            await delivery
        self._session.finish()
        await self._other_is_done.wait()
        self._check_whole()

    def happened(self, event: SessionEvent) -> None:
        """Answer offers as the command line said; note when the other side has nothing more."""
        match event:
            case FileOffered():
                _answer_unasked(self._session, event, self._options, Path(), self._report)
            case PeerDone():
                self._other_is_done.set()
            case PeerLeaving(reason):
                self._broke_off = reason
                self._other_is_done.set()

    def session_ended(self) -> bool:
        """There is nobody left to talk to. Raises `ConnectionLost` when either side had more to say."""
        self._check_whole()
        if self._lines.has_more or any(delivery.exception() is not None for delivery in self._unacknowledged):
            raise ConnectionLost(_LINES_LEFT)
        return False

    def _check_whole(self) -> None:
        """What came before somebody broke off may be a part only: nobody is to take it for the whole."""
        if self._broke_off:
            raise ConnectionLost(f"the other side broke off: {self._broke_off}")

    def _oldest_is_acknowledged(self) -> bool:
        return bool(self._unacknowledged) and self._unacknowledged[0].done()


class Errand:
    """Messages to send, files to send, a file to receive: done when all is done."""

    def __init__(self, session: Session, options: argparse.Namespace, report: Report, lines: InputLines | None) -> None:
        self._session, self._options, self._report, self._lines = session, options, report, lines
        # Before anything is read: the other side may have done its own errand already, and be about to leave.
        self._deliveries = [session.send_message(text) for text in options.message]
        self._received: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received.add_done_callback(lambda received: received.cancelled() or received.exception())
        self._asking: set[asyncio.Task[None]] = set()
        self._taken: int | None = None  # the one file that is received
        self._stirred = asyncio.Event()
        self._other_is_done = False

    async def run(self) -> None:
        """Do it all, one after the other; then give the other side a moment to say what it has to say."""
        for delivery in self._deliveries:
            await delivery
        try:
            for path in self._options.send:
                await self._session.send_file(path)
        except ConnectionLost as error:
            raise TransferFailed(f"the file was not sent: {error}") from error
        self._session.finish()  # so that two who only receive do not wait for each other
        if self._options.receive is not None:
            await self._received
        await self._until_quiet()

    def happened(self, event: SessionEvent) -> None:
        """Answer offers; note when a file has come."""
        self._stirred.set()
        match event:
            case FileOffered():
                self._offered(event)
            case FileReceived():
                self._settle(None)
            case FileFailed(transfer, error) if transfer == self._taken:
                self._settle(error)
            case PeerDone() | PeerLeaving():
                self._other_is_done = True

    def session_ended(self) -> bool:
        """Whatever is not done by now comes to nothing, and `run` finds that out by itself."""
        self._settle(TransferFailed("the other side left before it had sent a file"))
        self._other_is_done = True
        self._stirred.set()
        return True

    async def _until_quiet(self) -> None:
        while not self._other_is_done:
            self._stirred.clear()
            try:
                async with asyncio.timeout(_QUIET):
                    await self._stirred.wait()
            except TimeoutError:
                return

    def _offered(self, offered: FileOffered) -> None:
        folder = self._options.receive
        if folder is not None and self._taken is not None:
            self._session.refuse_file(offered, "only one file was asked for")
            return
        self._taken = offered.transfer
        if folder is not None and self._lines is not None:
            task = asyncio.create_task(self._ask(offered, folder, self._lines))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
            return
        refusal = _answer_unasked(self._session, offered, self._options, folder or Path(), self._report)
        if refusal is not None and folder is not None:
            self._settle(refusal)

    async def _ask(self, offered: FileOffered, folder: Path, lines: InputLines) -> None:
        answer: str | None = ""
        while answer not in (*_ANSWERS, None):
            self._report.notice(f"accept {offered.offer.name}? [y/n]")
            answer = await lines.next()
        if self._session.is_over:
            return
        if answer in _YES:
            try:
                self._session.accept_file(offered, folder)
            except PunchwireError as error:
                self._settle(error)
        else:
            self._session.refuse_file(offered)
            self._settle(Refused("the file was not accepted"))

    def _settle(self, error: PunchwireError | None) -> None:
        if self._received.done():
            return
        if error is None:
            self._received.set_result(None)
        else:
            self._received.set_exception(error)


def _answer_unasked(
    session: Session, offered: FileOffered, options: argparse.Namespace, folder: Path, report: Report
) -> PunchwireError | None:
    """Accept with --yes, refuse without; return why a file is not taken."""
    if not options.yes:
        session.refuse_file(offered, _NOBODY_TO_ASK)
        report.notice(f"refused {offered.offer.name}: {_NOBODY_TO_ASK}; --yes accepts without asking")
        return Refused("a file was refused: there is no terminal to ask at; --yes accepts without asking")
    try:
        session.accept_file(offered, folder)
    except PunchwireError as error:
        report.notice(str(error))
        return error
    return None
