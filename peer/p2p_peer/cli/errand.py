"""An errand: messages to send, files to send, a file to receive."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from p2p_core.errors import ConnectionLost, PunchwireError, Refused, TransferFailed

from p2p_peer.cli.console import LineSource
from p2p_peer.cli.mode import answer_unasked
from p2p_peer.cli.report import Report
from p2p_peer.events import FileFailed, FileOffered, FileReceived, PeerDone, PeerLeaving, SessionEvent
from p2p_peer.session import Session

__all__ = ["Errand", "Wanted"]

_YES = ("y", "yes")
_ANSWERS = (*_YES, "n", "no")
_ONE = "only one file was asked for"
_QUIET = 1.0  # s in which the other side says nothing: then an errand that is done leaves


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an errand is to do."""

    messages: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    folder: Path | None = None  # where one file is received; None: none is waited for
    accepts: bool = False  # without asking


class Errand:
    """Messages to send, files to send, a file to receive: done when all is done."""

    def __init__(self, session: Session, wanted: Wanted, report: Report, lines: LineSource | None) -> None:
        """`lines`: where somebody is asked about a file; None: nobody is."""
        self._session, self._wanted, self._report, self._lines = session, wanted, report, lines
        # Before anything is read: the other side may have done its own errand already, and be about to leave.
        self._deliveries = [session.send_message(text) for text in wanted.messages]
        self._received: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received.add_done_callback(lambda received: received.cancelled() or received.exception())
        self._asking: set[asyncio.Task[None]] = set()
        self._received_one: int | None = None  # the transfer that was asked for
        self._stirred = asyncio.Event()
        self._other_is_done = False

    async def run(self) -> None:
        """Do it all, one after the other; then give the other side a moment to say what it has to say."""
        for delivery in self._deliveries:
            await delivery
        try:
            for path in self._wanted.files:
                await self._session.send_file(path)
        except ConnectionLost as error:
            raise TransferFailed(f"the file was not sent: {error}") from error
        self._session.finish()  # so that two who only receive do not wait for each other
        if self._wanted.folder is not None:
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
            case FileFailed(transfer, error) if transfer == self._received_one:
                self._settle(error)
            case PeerDone() | PeerLeaving():
                self._other_is_done = True

    def session_ended(self, lost: ConnectionLost | None) -> bool:
        """Whatever is not done by now comes to nothing, and `run` finds that out by itself."""
        self._settle(TransferFailed(f"no file came: {lost or 'the other side left before it had sent one'}"))
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
        folder = self._wanted.folder
        if folder is None:
            answer_unasked(
                self._session, offered, self._report, accepts=self._wanted.accepts, refusal="no file was asked for"
            )
        elif self._received_one is not None:
            self._session.refuse_file(offered, _ONE)
            self._report.notice(f"refused {offered.offer.name}: {_ONE}")
        elif self._lines is not None:
            self._received_one = offered.transfer
            task = asyncio.create_task(self._ask(offered, folder, self._lines))
            self._asking.add(task)
            task.add_done_callback(self._asked)
        else:
            self._received_one = offered.transfer
            refusal = answer_unasked(self._session, offered, self._report, accepts=self._wanted.accepts, folder=folder)
            if refusal is not None:
                self._settle(refusal)

    def _asked(self, task: "asyncio.Task[None]") -> None:
        self._asking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # the terminal is gone
            self._settle(error)

    async def _ask(self, offered: FileOffered, folder: Path, lines: LineSource) -> None:
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
            self._settle(Refused("you did not accept the file", advice="To take it, start both sides again."))

    def _settle(self, error: BaseException | None) -> None:
        if self._received.done():
            return
        if error is None:
            self._received.set_result(None)
        else:
            self._received.set_exception(error)
