"""An errand: messages to send, files to send, files to receive.

It may take more than one session. What one of them has done, the next one does not do again.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from p2p_core.errors import ConnectionLost, PunchwireError, Refused, TransferFailed
from p2p_core.manifest import Manifest

from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.console import LineSource
from p2p_peer.cli.memory import Accepted, Memory
from p2p_peer.cli.mode import answer_unasked
from p2p_peer.cli.offer_text import choice, item_lines, items_to_choose, left_out_lines, offer_title
from p2p_peer.cli.report import Report
from p2p_peer.events import (
    MessageReceived,
    PeerDone,
    PeerLeaving,
    ReceiptDelivered,
    SessionEvent,
    TransferBroken,
    TransferOffered,
    TransferReceived,
)
from p2p_peer.session import Session
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import STANDARD_INPUT, SendOptions, SourceTree

__all__ = ["Errand", "Wanted"]

_STREAM_ADVICE = "Start both sides again; a stream can only be sent from its beginning."
_YES = ("y", "yes")
_ANSWERS = (*_YES, "n", "no")
_ONE = "only one transfer was asked for"
_NOT_KNOWN = "all of it is here, and the other side may not know"
_QUIET = 1.0  # s in which the other side says nothing: then an errand that is done leaves


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an errand is to do."""

    messages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()  # one transfer
    options: SendOptions | None = None
    receives: bool = False  # one transfer
    terms: Acceptance = field(default_factory=Acceptance)


class Errand:
    """One session of an errand: done when all is done."""

    def __init__(
        self, session: Session, wanted: Wanted, report: Report, lines: LineSource | None, memory: Memory | None = None
    ) -> None:
        """`lines`: where somebody is asked about files; None: nobody is. `memory`: of the sessions before."""
        self._session, self._wanted, self._report, self._lines = session, wanted, report, lines
        self._memory = memory or Memory()
        # Before anything is read: the other side may have done its own errand already, and be about to leave.
        self._deliveries = [
            session.send_message(text, sent_at_ms=self._memory.first_sent(number, time.time_ns() // 1_000_000))
            for number, text in enumerate(wanted.messages)
            if number >= self._memory.delivered
        ]
        self._heard_before = frozenset(self._memory.heard)
        for delivery in self._deliveries:
            delivery.add_done_callback(self._delivered)
        self._received: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received.add_done_callback(lambda received: received.cancelled() or received.exception())
        self._asking: set[asyncio.Task[None]] = set()
        self._receiving: TransferOffered | None = None  # what was asked for
        self._stirred = asyncio.Event()
        self._other_is_done = self._other_left = False
        self._ended = asyncio.Event()
        self.is_done = False
        self._broke_off = False
        self._lost: ConnectionLost | None = None

    @property
    def lost(self) -> ConnectionLost | None:
        """What the session was lost of, before all was done, if another one can do the rest; else None."""
        can_go_on = self._broke_off and not self._other_left and (self._sends or self._receives)
        return self._lost if can_go_on and not self._has_stream else None

    async def run(self) -> None:
        """Do it all, one after the other; then give the other side a moment to say what it has to say."""
        try:
            for delivery in self._deliveries:
                await delivery
            if self._sends:
                sent = await self._session.send(self._wanted.paths, self._wanted.options, offered=self._has_offered)
                self._memory.is_sent, self._memory.unsent = True, sent.failed
                self._memory.has_some |= sent.files > 0
            self._session.finish()  # so that two who only receive do not wait for each other
            if self._receives:
                await self._received
            await self._until_quiet()
            if self._receives:
                await self._until_known()
            self.is_done = True
        except ConnectionLost as error:
            self._broke_off = True
            raise self._failure(error) from error
        finally:
            for task in self._asking:  # whoever asks next is to have the answer
                task.cancel()

    def is_news(self, event: SessionEvent) -> bool:
        """A message is none that came in a session before, whose acknowledgement was lost with that."""
        return not (isinstance(event, MessageReceived) and (event.sent_at_ms, event.text) in self._heard_before)

    def happened(self, event: SessionEvent) -> None:
        """Answer offers; note what has come."""
        self._stirred.set()
        match event:
            case MessageReceived(sent_at_ms=sent_at_ms, text=text):
                self._memory.heard.add((sent_at_ms, text))
            case TransferOffered():
                self._offered(event)
            case TransferReceived(files=files, failed=failed) if self._is_ours(event.transfer):
                self._memory.unreceived = failed  # it may have arrived before
                self._memory.has_some |= files > 0
                self._memory.has_arrived = True
                self._settle(None)
            case TransferReceived(files=files, failed=failed):
                self._memory.unreceived += failed
                self._memory.has_some |= files > 0
            case ReceiptDelivered(transfer) if self._is_ours(transfer):
                self._memory.is_received = True
            case TransferBroken(error=error) if self._is_ours(event.transfer):
                self._settle(error)
            case PeerDone():
                self._other_is_done = True
                self._knows_if_nothing_is_offered()
            case PeerLeaving():
                self._other_is_done = self._other_left = True
                self._knows_if_nothing_is_offered()

    def session_ended(self, lost: ConnectionLost | None) -> bool:
        """Whatever is not done by now comes to nothing here, and `run` finds that out by itself."""
        self._lost = lost
        self._settle(lost or ConnectionLost("the other side left before it had sent everything"))
        self._other_is_done = True
        self._stirred.set()
        self._ended.set()
        return True

    @property
    def _sends(self) -> bool:
        return bool(self._wanted.paths) and not self._memory.is_sent

    @property
    def _receives(self) -> bool:
        return self._wanted.receives and not self._memory.is_received

    @property
    def _has_stream(self) -> bool:
        """Whether something is sent or received that cannot be had again from its beginning."""
        if self._sends and STANDARD_INPUT in self._wanted.paths:
            return True
        receiving = self._receiving
        is_stream = receiving is not None and receiving.manifest.stream is not None
        return self._receives and (is_stream or not isinstance(self._wanted.terms.place, Path))

    def _failure(self, error: ConnectionLost) -> PunchwireError:
        """Return what a connection that is lost means for what was to be done."""
        if not self._sends and not self._receives:
            return error
        what = "not everything was sent" if self._sends else "not everything was received"
        if not self._sends and self._receiving is None:
            what = "nothing came"
        return TransferFailed(f"{what}: {error}", advice=_STREAM_ADVICE if self._has_stream else None)

    def _delivered(self, delivery: "asyncio.Future[None]") -> None:
        if not delivery.cancelled() and delivery.exception() is None:
            self._memory.delivered += 1

    def _has_offered(self, tree: SourceTree) -> None:
        for line in () if self._memory.has_told else left_out_lines(tree):
            self._report.notice(line)
        self._memory.has_told = True

    async def _until_quiet(self) -> None:
        while not self._other_is_done:
            self._stirred.clear()
            try:
                async with asyncio.timeout(_QUIET):
                    await self._stirred.wait()
            except TimeoutError:
                return

    async def _until_known(self) -> None:
        """All is here: leave, which brings word that the other side knows. Raises `ConnectionLost` if none came."""
        await self._session.close()
        await self._ended.wait()
        if self._receives and not self._other_left and not self._has_stream:
            self._memory.wants_word = True
            self._lost = ConnectionLost(_NOT_KNOWN + (f": {self._lost}" if self._lost else ""))
            raise self._lost

    def _knows_if_nothing_is_offered(self) -> None:
        """The other side has come back, and offers nothing: it knows that all has arrived."""
        if self._memory.has_arrived and self._receiving is None:
            self._memory.is_received = True
            self._settle(None)

    # What is offered.

    def _is_ours(self, transfer: int) -> bool:
        return self._receiving is not None and transfer == self._receiving.transfer

    def _offered(self, offered: TransferOffered) -> None:
        wanted, again = self._wanted, self._memory.accepted
        if wanted.receives and (self._memory.is_received or self._receiving is not None):
            self._session.refuse(offered, _ONE)
            self._report.notice(f"refused {offer_title(offered.manifest)}: {_ONE}")
            return
        if wanted.receives:
            self._receiving = offered
        if wanted.receives and again is not None and again.covers(offered.manifest):
            self._take(offered, again.entries(offered.manifest), again.overwrite)
        elif self._lines is not None and (wanted.receives or wanted.terms.unasked):
            task = asyncio.create_task(self._ask_and_take(offered, self._lines))
            self._asking.add(task)
            task.add_done_callback(self._asked)
        elif wanted.receives:
            refusal = answer_unasked(self._session, offered, self._report, wanted.terms)
            if refusal is not None:
                self._settle(refusal)
        else:
            answer_unasked(self._session, offered, self._report, wanted.terms, refusal="no file was asked for")

    def _asked(self, task: "asyncio.Task[None]") -> None:
        self._asking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # the terminal is gone
            self._settle(error)

    async def _ask_and_take(self, offered: TransferOffered, lines: LineSource) -> None:
        terms, manifest = self._wanted.terms, offered.manifest
        if objection := terms.objection(manifest):
            self._session.refuse(offered, objection)
            self._settle(Refused(f"{offer_title(manifest)} was refused: {objection}"))
            return

        async def ask(question: str, answers: Collection[str]) -> str | None:
            return await self._ask(lines, question, lambda answer: answer in answers)

        only = None if terms.unasked else await self._ask_for(manifest, lines)
        overwrite = None if only == () else await terms.decide(manifest, only, ask)
        if self._session.is_over:
            return
        if overwrite is None:
            advice = "To take them, start both sides again."
            self._session.refuse(offered)
            self._settle(Refused("you did not accept the files", advice=advice))
        else:
            self._take(offered, only, overwrite)

    async def _ask_for(self, manifest: Manifest, lines: LineSource) -> tuple[int, ...] | None:
        """Ask what of an offer is accepted, and return the entries: none for nothing, None for everything."""
        items = items_to_choose(manifest)
        has_choice = bool(item_lines(manifest))
        how = "[y/n, or numbers such as 1,3-5 for some]" if has_choice else "[y/n]"

        def is_answer(answer: str) -> bool:
            return answer in _ANSWERS or (has_choice and choice(answer, items) is not None)

        answer = await self._ask(lines, f"accept {offer_title(manifest)}? {how}", is_answer)
        if answer in _YES:
            return None
        return () if answer is None else choice(answer, items) or ()

    async def _ask(self, lines: LineSource, question: str, is_answer: Callable[[str], bool]) -> str | None:
        """Ask until there is an answer; None when none will come."""
        while True:
            self._report.notice(question)
            answer = await lines.next()
            if answer is None or is_answer(answer := answer.strip().lower()):
                return answer

    def _take(self, offered: TransferOffered, only: tuple[int, ...] | None, overwrite: Overwrite) -> None:
        try:
            self._wanted.terms.accept(self._session, offered, only, overwrite)
        except PunchwireError as error:
            self._report.notice(str(error))
            self._settle(error)
        else:
            if self._wanted.receives:
                self._memory.accepted = Accepted.of(offered.manifest, only, overwrite)

    def _settle(self, error: BaseException | None) -> None:
        if self._received.done():
            return
        if error is None:
            self._received.set_result(None)
        else:
            self._received.set_exception(error)
