"""What each peer, and each pair of peers, uses of the relays: how many, how fast, how much.

Of who relays nothing any more, one number is kept until its day's allowance is whole again: at most a day.
"""

from dataclasses import dataclass

from p2p_core.identity import PeerId
from p2p_core.token_bucket import TokenBucket

from p2p_server.clock import Clock
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits

__all__ = ["RATE_BURST", "Account", "RelayAccounts", "used_up"]

RATE_BURST = 1.0  # s of a rate that may go at once
_DAY = 86400.0  # s
_LEAST_LEFT = 0.01  # of a day's volume, to begin a relay with; as much comes back in 14 minutes

_Pair = frozenset[PeerId]


@dataclass(slots=True)
class Account:
    """What one peer uses, or a pair of peers: a pair has no rate of its own, and what either sends counts."""

    rate: TokenBucket  # of what is sent, over all relays
    volume: TokenBucket  # likewise, in a day
    relays: int = 0  # sides of them


class RelayAccounts:
    """The accounts of all peers and pairs. A side of a relay is one entry."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        """Hold to `limits`."""
        self._limits = limits
        self._clock = clock
        self._accounts: dict[PeerId | _Pair, Account] = {}
        self._inside = 0

    def __len__(self) -> int:
        return len(self._accounts)

    def enter(self, peer: PeerId, other: PeerId) -> tuple[Account, Account]:
        """Count one relay more for `peer`, with `other`; return its account, and that of the two.

        Raises `StreamEnded` if that is too many, or too much was sent.
        """
        now = self._clock.now()
        pair = frozenset((peer, other))
        limits = self._limits
        own = self._accounts.get(peer) or _account(limits.relay_rate, limits.relay_bytes, limits.relay_peer_share, now)
        both = self._accounts.get(pair) or _account(0, limits.relay_bytes, 1, now)
        if self._inside >= 2 * limits.relays:
            raise StreamEnded(Ending.RELAY_LIMIT, "it relays for as many peers as it may; try again later")
        if own.relays >= limits.relays_per_peer:
            raise StreamEnded(Ending.RELAY_LIMIT, "a peer has as many relays as it may")
        for account in (own, both):
            if not account.volume.has(_LEAST_LEFT, now):
                raise used_up(account is both)
        for key, account in ((peer, own), (pair, both)):
            self._accounts[key] = account
            account.relays += 1
        self._inside += 1
        return own, both

    def leave(self, peer: PeerId, other: PeerId) -> None:
        """Count one relay less."""
        self._inside -= 1
        for key in (peer, frozenset((peer, other))):
            account = self._accounts[key]
            account.relays -= 1
            self._forget(key, account)

    def _forget(self, key: PeerId | _Pair, account: Account) -> None:
        """Forget what was used once it is as if that had been nothing, unless there are relays again."""
        if account.relays or self._accounts.get(key) is not account:
            return
        now = self._clock.now()
        whole = max(account.rate.full_at(now), account.volume.full_at(now))
        if whole > now:
            self._clock.call_at(whole, lambda: self._forget(key, account))
        else:
            del self._accounts[key]


def used_up(by_pair: bool) -> StreamEnded:
    """Return the end of a relay whose day's volume was sent, by a pair of peers or by one in all its relays."""
    whose = "between these two" if by_pair else "for one of them"
    return StreamEnded(Ending.RELAY_LIMIT, f"as much was relayed {whose} as may be in a day")


def _account(rate: int, volume: int, share: int, now: float) -> Account:
    rate, volume = share * rate, share * volume
    return Account(TokenBucket(rate, rate * RATE_BURST, now), TokenBucket(volume / _DAY, volume, now))
