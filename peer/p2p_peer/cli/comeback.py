"""What an errand does when its session is lost: it waits for the other side to come back, and goes on with it."""

import asyncio
from collections.abc import Awaitable, Callable

from p2p_core.errors import ConnectionLost, MediatorUnreachable, NoPath, PeerDidNotCome, PunchwireError, TransferFailed

from p2p_peer.cli.errand import Errand
from p2p_peer.cli.memory import Memory
from p2p_peer.cli.mode import drive
from p2p_peer.cli.report import Report
from p2p_peer.session import Session

__all__ = ["do_errand"]

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # s between tries to meet again, which double


async def do_errand(
    meet: Callable[[], Awaitable[Session]],
    make: Callable[[Session, Memory], Errand],
    report: Report,
    *,
    meets_again: bool = True,
) -> None:
    """Do what the errands that `make` returns are for, one for each session it takes; `meet` makes a session.

    Where the two cannot meet again, there is one.
    """
    memory = Memory()
    session = await meet()
    while (lost := await _do_in(session, make, memory, report)) is not None:
        if not meets_again:
            if memory.wants_word:
                break  # all is here, and what the other side believes is up to it
            raise TransferFailed(f"not everything was sent or received: {lost}") from lost
        report.session_lost(lost)
        try:
            session = await _meet_again(meet, report)
        except PeerDidNotCome as error:
            if memory.wants_word:
                break
            raise TransferFailed(f"not everything was sent or received: {error}") from error
    memory.check_whole()


async def _do_in(
    session: Session, make: Callable[[Session, Memory], Errand], memory: Memory, report: Report
) -> ConnectionLost | None:
    """Do what can be done in one session; return what it was lost of if another one can do the rest.

    What a session is lost of when all is done makes no difference any more.
    """
    errands: list[Errand] = []

    def begin(session: Session) -> Errand:
        errands.append(make(session, memory))
        return errands[0]

    try:
        await drive(session, begin, report)
    except PunchwireError as error:
        if errands and errands[0].is_done and isinstance(error, ConnectionLost):
            return None
        lost = errands[0].lost if errands else None
        if lost is None:
            raise
        return lost
    return None


async def _meet_again(meet: Callable[[], Awaitable[Session]], report: Report) -> Session:
    """Meet once more, however long the way there is blocked. Raises `PeerDidNotCome` if the peer does not come."""
    pause = _FIRST_PAUSE
    while True:
        try:
            return await meet()
        except (MediatorUnreachable, NoPath) as error:
            report.notice(f"{error}; trying again in {pause:g} s")
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
