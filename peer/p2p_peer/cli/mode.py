"""What is done with a session: a chat at a terminal, the lines of a pipe, or an errand."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from p2p_core.errors import ConnectionLost, PunchwireError, Refused

from p2p_peer.cli import outputs
from p2p_peer.cli.report import Report
from p2p_peer.events import FileOffered, SessionEvent
from p2p_peer.session import Session

__all__ = ["OTHER_IS_DONE", "Mode", "answer_unasked", "drive"]

OTHER_IS_DONE = "the other side has nothing more to send"
_NOBODY_TO_ASK = "nobody is there to be asked"


class Mode(Protocol):
    """What to do with a session."""

    async def run(self) -> None:
        """Do it; the session is closed afterwards."""

    def happened(self, event: SessionEvent) -> None:
        """Something happened meanwhile."""

    def session_ended(self, lost: ConnectionLost | None) -> bool:
        """The session is over, `lost` or in good order. Return whether `run` ends by itself now; else it is ended."""


async def drive(session: Session, make: Callable[[Session], Mode], report: Report) -> None:
    """Do on `session` what the mode that `make` returns is for, until that is done or the session is over."""
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
            if job.done() or mode.session_ended(error):
                await job
                await session.close()
            await reading
        finally:
            for task in (job, reading):
                task.cancel()
            await asyncio.gather(job, reading, return_exceptions=True)
    report.closed(session.farewell)


async def _read_events(session: Session, mode: Mode, report: Report) -> None:
    async for event in session:
        report.happened(session, event)
        mode.happened(event)
        await outputs.said()


def answer_unasked(
    session: Session,
    offered: FileOffered,
    report: Report,
    *,
    accepts: bool,
    folder: Path = Path(),
    refusal: str = _NOBODY_TO_ASK,
) -> PunchwireError | None:
    """Accept a file, or refuse it with the reason `refusal`; return why it is not taken."""
    if not accepts:
        session.refuse_file(offered, refusal)
        report.notice(f"refused {offered.offer.name}: {refusal}; --yes accepts without asking")
        return Refused("a file was refused: there is no terminal to ask at", advice="Accept without asking with --yes.")
    try:
        session.accept_file(offered, folder)
    except PunchwireError as error:
        report.notice(str(error))
        return error
    return None
