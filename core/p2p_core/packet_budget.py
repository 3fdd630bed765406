"""How many packets may go to an address from which nothing comes back: nobody is used to flood a third party.

An offer is signed, but its signer may be hostile and name a victim, in one offer after the other. So one budget
lives as long as the process, and everything that is sent to where somebody else wants it asks it before: UDP probes and
TCP dials, and STUN for the servers that a mediator names, in every attempt and with every peer.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

__all__ = ["PacketBudget"]

MAX_UNANSWERED = 3000  # packets to one address; the most one attempt needs (birthday probing) is 2 500 and a few
SILENCE = 600.0  # s without a packet to an address after which it starts anew
MAX_ADDRESSES = 4096  # remembered at once; an offer makes us try 16, so this is hundreds of attempts in SILENCE


@dataclass(slots=True)
class _Unanswered:
    count: int
    last: float


class PacketBudget:
    """Counts unanswered packets by IP address: at most `MAX_UNANSWERED`, then none for `SILENCE` seconds.

    That is stricter than so many in any `SILENCE` seconds, and needs no record of when each was sent.
    """

    def __init__(self) -> None:
        self._unanswered: dict[IPv4Address | IPv6Address, _Unanswered] = {}  # the one sent to last comes last

    def spend(self, ip: IPv4Address | IPv6Address, now: float, *, leave: int = 0) -> bool:
        """Say whether one more packet may go to `ip` at `now` (s), and count it if so.

        What can wait leaves some for what cannot: `leave` packets stay unspent.
        """
        self._forget(now)
        held = self._unanswered.get(ip)
        if held is None:
            if len(self._unanswered) >= MAX_ADDRESSES:
                return False
            held = _Unanswered(0, now)
        elif held.count >= MAX_UNANSWERED - leave:
            return False
        else:
            del self._unanswered[ip]
        held.count, held.last = held.count + 1, now
        self._unanswered[ip] = held
        return True

    def answered(self, ip: IPv4Address | IPv6Address, now: float) -> None:
        """Start anew with `ip`: something came from there that only who got one of our packets can have sent.

        A packet that is merely authentic is not enough: its sender may have written another's address on it.
        """
        self._forget(now)
        self._unanswered.pop(ip, None)

    def _forget(self, now: float) -> None:
        """Drop what is too old to count."""
        while self._unanswered:
            ip, oldest = next(iter(self._unanswered.items()))
            if now - oldest.last < SILENCE:
                return
            del self._unanswered[ip]
