"""How many packets may go to an address from which nothing comes back: nobody is used to flood a third party.

An offer is signed, but its signer may be hostile and name a victim, in one offer after the other. So one budget
lives as long as the process, and everything that is sent to where somebody else wants it asks it before: UDP probes and
TCP dials, and STUN for the servers and connections to the relay that a mediator names, in every attempt and with every
peer.
"""

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from p2p_core.embedded_ipv4 import embedded_ipv4

__all__ = ["PacketBudget"]

MAX_UNANSWERED = 3000  # packets to one host; the most one attempt needs (birthday probing) is 2 500 and a few
SILENCE = 600.0  # s without a packet to an address after which it is forgotten
MAX_ADDRESSES = 4096  # remembered at once; an offer makes us try 16, so this is hundreds of attempts in SILENCE
_INTERFACE_IDENTIFIER = 64  # bits

_Ip = IPv4Address | IPv6Address


@dataclass(slots=True)
class _Unanswered:
    count: int
    last: float


class PacketBudget:
    """Counts unanswered packets: at most `MAX_UNANSWERED` to one host, then none until it had none for `SILENCE` s.

    That is stricter than so many in any `SILENCE` seconds, and needs no record of when each was sent.

    A host of IPv6 is a whole /64, as packets to any address of it end at one link (RFC 7421), and what leads to an
    address of IPv4 is that one. But an answer clears only the very address that it came from: who has a place on the
    victim's link gets it no more packets.
    """

    def __init__(self) -> None:
        self._unanswered: dict[_Ip, _Unanswered] = {}  # the one sent to last comes last
        self._hosts: Counter[IPv4Address | int] = Counter()  # the sums of these

    def spend(self, ip: _Ip, now: float, *, leave: int = 0) -> bool:
        """Say whether one more packet may go to `ip` at `now` (s), and count it if so.

        What can wait leaves some for what cannot: `leave` packets stay unspent.
        """
        self._forget(now)
        if self._hosts[_host(ip)] >= MAX_UNANSWERED - leave:
            return False
        held = self._unanswered.pop(ip, None)
        if held is None:
            if len(self._unanswered) >= MAX_ADDRESSES:
                return False
            held = _Unanswered(0, now)
        held.count, held.last = held.count + 1, now
        self._unanswered[ip] = held
        self._hosts[_host(ip)] += 1
        return True

    def answered(self, ip: _Ip, now: float) -> None:
        """Start anew with `ip`: something came from there that only who got one of our packets can have sent.

        A packet that is merely authentic is not enough: its sender may have written another's address on it.
        """
        self._forget(now)
        if ip in self._unanswered:
            self._drop(ip)

    def _forget(self, now: float) -> None:
        """Drop what is too old to count."""
        while self._unanswered:
            ip, oldest = next(iter(self._unanswered.items()))
            if now - oldest.last < SILENCE:
                return
            self._drop(ip)

    def _drop(self, ip: _Ip) -> None:
        host = _host(ip)
        self._hosts[host] -= self._unanswered.pop(ip).count
        if not self._hosts[host]:
            del self._hosts[host]


def _host(ip: _Ip) -> IPv4Address | int:
    """Return an IPv4 address, or the first half of one of IPv6."""
    if isinstance(ip, IPv4Address):
        return ip
    return embedded_ipv4(ip) or int(ip) >> _INTERFACE_IDENTIFIER
