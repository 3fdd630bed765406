"""What is done with a session: a chat at a terminal, the lines of a pipe, or an errand."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

from p2p_core.errors import ConnectionLost, PunchwireError, Refused

from p2p_peer.cli import outputs
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.offer_text import offer_title
from p2p_peer.cli.report import Report
from p2p_peer.events import SessionEvent, TransferBroken, TransferOffered
from p2p_peer.session import Session

__all__ = ["OTHER_IS_DONE", "Mode", "answer_unasked", "drive"]

OTHER_IS_DONE = "the other side has nothing more to send"
_NOBODY_TO_ASK = "nobody is there to be asked"
_OTHERWISE = "Start both sides again, and let this one take more: --max-size, or --receive with a folder."


class Mode(Protocol):
    """What to do with a session."""

    async def run(self) -> None:
        """Do it; the session is closed afterwards."""

    def is_news(self, event: SessionEvent) -> bool:
        """Whether the user is to be told of it: not of what a session before has told."""

    def happened(self, event: SessionEvent) -> None:
        """Something happened meanwhile."""

    def session_ended(self, lost: ConnectionLost | None) -> bool:
        """The session is over, `lost` or in good order. Return whether `run` ends by itself now; else it is ended."""


async def drive(session: Session, make: Callable[[Session], Mode], report: Report) -> None:
    """Do on `session` what the mode that `make` returns is for, until that is done or the session is over."""
    try:
        await _drive(session, make, report)
    finally:
        if session.is_over:
            await _tell_broken(session, report)
    report.closed(session.farewell)


async def _drive(session: Session, make: Callable[[Session], Mode], report: Report) -> None:
    async with session:
        mode = make(session)
        job = asyncio.create_task(mode.run())
        reading = asyncio.create_task(_read_events(session, mode, report))
        try:
            await asyncio.wait([job, reading], return_when=asyncio.FIRST_COMPLETED)
            if session.is_over:
                await asyncio.wait([reading])  # why it is over comes behind its last event
            error = reading.exception() if reading.done() else None
            if error is not None and not isinstance(error, ConnectionLost):
                raise error  # the other side broke the rules: whatever else failed, failed because of that
            ends_itself = session.is_over and mode.session_ended(error)
            if job.done() or ends_itself:
                await job
                await session.close()
            await reading
        finally:
            for task in (job, reading):
                task.cancel()
            await asyncio.gather(job, reading, return_exceptions=True)


async def _tell_broken(session: Session, report: Report) -> None:
    """The session is over: tell what its end has broken, if nobody has read of it any more."""
    with contextlib.suppress(PunchwireError):  # what has ended it
        async for event in session:
            if isinstance(event, TransferBroken):
                report.happened(session, event)


async def _read_events(session: Session, mode: Mode, report: Report) -> None:
    async for event in session:
        if mode.is_news(event):
            report.happened(session, event)
        mode.happened(event)
        await outputs.said()


def answer_unasked(
    session: Session,
    offered: TransferOffered,
    report: Report,
    terms: Acceptance,
    *,
    refusal: str = _NOBODY_TO_ASK,
) -> PunchwireError | None:
    """Accept what is offered, or refuse it with the reason `refusal`; return why it is not taken."""
    title = offer_title(offered.manifest)
    if not terms.unasked:
        session.refuse(offered, refusal)
        report.notice(f"refused {title}: {refusal}; --yes accepts without asking")
        return Refused("files were refused: there is no terminal to ask at", advice="Accept without asking with --yes.")
    if objection := terms.objection(offered.manifest):
        session.refuse(offered, objection)
        report.notice(f"refused {title}: {objection}")
        return Refused(f"{title} was refused: {objection}", advice=_OTHERWISE)
    assert terms.overwrite is not None
    try:
        terms.accept(session, offered, None, terms.overwrite)
    except PunchwireError as error:
        report.notice(str(error))
        return error
    return None
