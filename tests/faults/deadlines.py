"""How long a process of a peer may take to end, once nothing is done to it any more: the documented timers, added up.

docs/protocol/session.md (Channels, Liveness, Farewell), punching.md (Timing), mediator.md (How a stream ends), and
the flags that it was given.
"""

from typing import Final

from tests.faults.scenario import Scenario, Way
from tests.faults.world import TOKEN_LIFE, WAIT

__all__ = ["INTERRUPTED", "deadline", "longest"]

LIVENESS: Final = 15.0  # s of silence until a channel is lost
RECOVERY: Final = 60.0  # s without a channel until a session is given up
FAREWELL: Final = 2 * 5.0  # s for the other side's CLOSE, and for another channel to say it on
ATTEMPT: Final = 10.0 + 8.0 + 10.0  # s for the other side to come to an attempt, to punch, and for both proofs
LONGEST_PAUSE: Final = 30.0  # s between two tries to meet again, or to reach the mediator
SPREAD: Final = 1.5  # of what a mediator says, at most
RETRY_AFTER: Final = 10.0  # s that a mediator says at most when it drains or has lost its Redis
HEARTBEAT: Final = 45.0  # s until a mediator knows that a peer is gone without a word
SIGNALLED: Final = 5.0  # s from the first signal to the end: sockets, a farewell, and ports given back
BUSY: Final = 60.0  # s for two cores on which a dozen programs are, and others beside them

INTERRUPTED: Final = SIGNALLED + BUSY / 2


def deadline(scenario: Scenario) -> float:
    """Seconds from the last thing that happened to anybody: a fault begun or over, a process started or ended."""
    session = LIVENESS + RECOVERY + ATTEMPT + FAREWELL
    if scenario.way is Way.TOKEN:
        return TOKEN_LIFE + LIVENESS + FAREWELL + scenario.job.seconds + BUSY
    mediator = SPREAD * RETRY_AFTER + HEARTBEAT if scenario.way in (Way.MEDIATOR, Way.INSTANCES) else 0.0
    if scenario.job.is_chat:
        return session + WAIT + scenario.job.seconds + mediator + BUSY
    return session + LONGEST_PAUSE + WAIT + ATTEMPT + scenario.job.seconds + mediator + BUSY


def longest(scenario: Scenario) -> float:
    """Seconds that a whole run may take; beyond that the campaign itself is at fault."""
    happens = len(scenario.faults) + 4
    return sum(fault.lasts for fault in scenario.faults) + happens * deadline(scenario)
