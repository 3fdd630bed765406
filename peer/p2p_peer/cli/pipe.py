"""Lines of a pipe or a file, each a message."""

import asyncio
from collections import deque

from p2p_core.errors import ConnectionLost, LocalProtocolError, UsageError

from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.mode import OTHER_IS_DONE, answer_unasked
from p2p_peer.cli.report import Report
from p2p_peer.events import PeerDone, PeerLeaving, SessionEvent, TransferOffered
from p2p_peer.session import Session

__all__ = ["Pipe"]

_LINES_LEFT = "the other side left before it had every line"
_MAX_UNACKNOWLEDGED = 256  # messages on their way before a pipe waits: enough to fill the longest link


class Pipe:
    """Lines of a pipe or a file: each is a message, whatever it says. Nothing in it is a command."""

    def __init__(self, session: Session, report: Report, lines: InputLines, terms: Acceptance) -> None:
        """`terms`: whether and how files are taken that are offered."""
        self._session, self._report, self._lines, self._terms = session, report, lines, terms
        self._other_is_done = asyncio.Event()
        self._broke_off = ""  # the reason the other side gave for leaving, if it was not an ordinary end
        self._unacknowledged: deque[asyncio.Future[None]] = deque()

    async def run(self) -> None:
        """Send every line, wait for the acknowledgements, then for the other side to be done or to close."""
        while (line := await self._lines.next()) is not None:
            try:
                self._unacknowledged.append(self._session.send_message(line))
            except LocalProtocolError as error:
                raise UsageError(f"a line of standard input cannot be sent: {error}", advice=error.advice) from error
            except ConnectionLost as error:
                raise ConnectionLost(_LINES_LEFT) from error
            while len(self._unacknowledged) > _MAX_UNACKNOWLEDGED or self._oldest_is_acknowledged():
                await self._unacknowledged.popleft()
        for delivery in self._unacknowledged:
            await delivery
        self._session.finish()
        await self._other_is_done.wait()
        self._check_whole()

    def is_news(self, event: SessionEvent) -> bool:
        """Everything is: there is one session."""
        return True

    def happened(self, event: SessionEvent) -> None:
        """Answer offers as the command line said; note when the other side has nothing more."""
        match event:
            case TransferOffered():
                answer_unasked(self._session, event, self._report, self._terms)
            case PeerDone():
                self._report.notice(OTHER_IS_DONE)
                self._other_is_done.set()
            case PeerLeaving(reason):
                self._broke_off = reason
                self._other_is_done.set()

    def session_ended(self, lost: ConnectionLost | None) -> bool:
        """There is nobody left to talk to. Raises `ConnectionLost` when either side had more to say, or might have."""
        if lost is not None:
            return False
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
