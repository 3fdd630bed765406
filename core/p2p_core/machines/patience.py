"""How to wait for a side that may read our token late, and leave packets for the time when it has.

Now and then each address is tried again, which keeps our NAT open for the other side. All that goes to an IP address
from which nothing comes has one budget (`packet_budget`), so long waits have long pauses.
"""

from collections import Counter
from collections.abc import Iterable

from p2p_core.wire.candidate import Address

__all__ = ["KEPT", "KEPT_BY_GUESSING", "pause"]

KEPT = 150  # packets of the budget that waiting leaves: a burst of UDP, one of TCP, and answers
KEPT_BY_GUESSING = 300  # packets of it that guessing leaves: as many, and as many for the wait


def pause(least: float, tries: int, addresses: Iterable[Address], wait: float) -> float:
    """Return how long to pause (s) between two tries of each of `addresses`, in a wait of so many seconds.

    At most `tries` are made at one IP address, and one each `least` seconds at one address.
    """
    most = max(Counter(address.ip for address in addresses).values(), default=0)
    return max(least, wait * most / tries)
