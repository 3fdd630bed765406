"""How to wait for a side that may read our token late, and leave packets for the time when it has.

Now and then each address is tried again, which keeps our NAT open for the other side. All that goes to an IP address
from which nothing comes has one budget (`packet_budget`), so long waits have long pauses.

One kind of router needs silence instead: one that answers for itself takes what comes before its own peer has sent for
a connection of its own, and gives its peer another port from then on, until half a minute passes without a packet. So
UDP keeps to the minutes of a clock that both sides have: a few packets as each begins, some more to keep NATs open, and
then nothing until the next one, when such a router has forgotten, and its peer may be the first to send.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from p2p_core.proof import Role
from p2p_core.wire.candidate import Address

__all__ = ["BEATS", "KEPT", "KEPT_BY_GUESSING", "MINUTE", "Wait", "beat", "pause"]

KEPT = 150  # packets of the budget that waiting leaves: a burst of UDP, one of TCP, and answers
KEPT_BY_GUESSING = 300  # packets of it that guessing leaves: as many, and as many for the wait


MINUTE = 60.0  # s of the common clock
# s of each minute. Three packets are there to be lost; then our NAT stays open, which forgets after 30 s at the soonest
# (as Linux does), until 57 s; and 33 s without any pass, in which a router forgets what it took for itself.
BEATS = (0.0, 0.3, 0.6, 10.0, 20.0, 27.0)
_TOGETHER = 3  # of the beats, with which a minute begins
LEAD = 1.0  # s one side is ahead in two minutes of three, in turn: the clocks of two computers differ by less


@dataclass(frozen=True, slots=True)
class Wait:
    """How long the other side may take to begin, and a clock that both have."""

    until: float  # s, a moment
    ahead: float = 0.0  # s by which the common clock is ahead of the one that moments are given by


def beat(now: float, wait: Wait, role: Role) -> float:
    """Return when the peer in `role` sends next. In a minute of three nobody is ahead, for two such routers."""
    common = now + wait.ahead
    minute = math.floor(common / MINUTE)
    moments = (
        MINUTE * number + second + (LEAD if place < _TOGETHER and _is_late(role, number) else 0.0)
        for number in (minute, minute + 1)
        for place, second in enumerate(BEATS)
    )
    return min(moment for moment in moments if moment > common + BEATS[1] / 2) - wait.ahead


def _is_late(role: Role, minute: int) -> bool:
    return (None, Role.RESPONDER, Role.INITIATOR)[minute % 3] is role


def pause(least: float, tries: int, addresses: Iterable[Address], wait: float) -> float:
    """Return how long to pause (s) between two tries of each of `addresses`, in a wait of so many seconds.

    At most `tries` are made at one IP address, and one each `least` seconds at one address.
    """
    most = max(Counter(address.ip for address in addresses).values(), default=0)
    return max(least, wait * most / tries)
