"""What each peer, each pair of peers, and all together use of the relays: how many, how fast, how much.

Of who relays nothing any more, one number is kept until its day's allowance is whole again: at most a day.
"""

from dataclasses import dataclass

from p2p_core.identity import PeerId
from p2p_core.token_bucket import TokenBucket

from p2p_server.clock import Clock
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits

__all__ = ["RATE_BURST", "Account", "RelayAccounts"]

RATE_BURST = 1.0  # s of a rate that may go at once
_DAY = 86400.0  # s
_LEAST_LEFT = 0.01  # of a day's volume, to begin a relay with; as much comes back in 14 minutes

_Pair = frozenset[PeerId]


@dataclass(slots=True)
class Account:
    """What one peer sends in all its relays, or two peers to each other, or all peers."""

    whose: str  # for people
    rate: TokenBucket
    volume: TokenBucket  # of a day
    relays: int = 0  # sides of them
    is_timed: bool = False  # whether a timer will look if it can be forgotten

    @classmethod
    def of(cls, whose: str, rate: int, volume: int, now: float) -> "Account":
        """Allow `rate` bytes/s and `volume` bytes a day, 0 for no limit."""
        return cls(whose, TokenBucket(rate, rate * RATE_BURST, now), TokenBucket(volume / _DAY, volume, now))

    def check(self, now: float, left: float = 0.0) -> None:
        """Raise `StreamEnded` when less than `left` (0 to 1) of the day's volume is there."""
        if not self.volume.has(left, now):
            raise StreamEnded(
                Ending.RELAY_LIMIT,
                f"as much was relayed {self.whose} as may be in a day",
                retry_after=self.volume.has_at(_LEAST_LEFT, now) - now,
            )


class RelayAccounts:
    """The accounts of all peers and pairs. A side of a relay is one entry."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        """Hold to `limits`."""
        self._limits = limits
        self._clock = clock
        self._accounts: dict[PeerId | _Pair, Account] = {}
        self._all = Account.of("by this mediator", limits.relay_total_rate, limits.relay_total_bytes, clock.now())

    def __len__(self) -> int:
        return len(self._accounts)

    def enter(self, peer: PeerId, other: PeerId) -> tuple[Account, ...]:
        """Count one relay more for `peer`, with `other`; return the accounts that what it sends is counted in.

        Raises `StreamEnded` if that is too many, or too much was sent.
        """
        now = self._clock.now()
        pair = frozenset((peer, other))
        limits = self._limits
        own = self._accounts.get(peer) or Account.of(
            "for one of them", limits.relay_key_rate, limits.relay_key_bytes, now
        )
        both = self._accounts.get(pair) or Account.of("between these two", 0, limits.relay_bytes, now)
        if self._all.relays >= 2 * limits.max_relays:
            raise StreamEnded(Ending.RELAY_LIMIT, "it relays for as many peers as it may")
        if own.relays >= limits.max_relays_per_key:
            raise StreamEnded(Ending.RELAY_LIMIT, "a peer has as many relays as it may")
        accounts = own, both, self._all
        for account in accounts:
            account.check(now, _LEAST_LEFT)
        self._accounts[peer] = own
        self._accounts[pair] = both
        for account in accounts:
            account.relays += 1
        return accounts

    def leave(self, peer: PeerId, other: PeerId) -> None:
        """Count one relay less."""
        self._all.relays -= 1
        for key in (peer, frozenset((peer, other))):
            account = self._accounts[key]
            account.relays -= 1
            self._forget(key, account)

    @property
    def relays(self) -> int:
        """How many sides of relays there are."""
        return self._all.relays

    def _forget(self, key: PeerId | _Pair, account: Account) -> None:
        """Forget what was used once it is as if that had been nothing, unless there are relays again."""
        if account.relays or account.is_timed:
            return
        now = self._clock.now()
        whole = max(account.rate.full_at(now), account.volume.full_at(now))
        if whole > now:
            account.is_timed = True
            self._clock.call_at(whole, lambda: self._look_again(key, account))
        else:
            del self._accounts[key]

    def _look_again(self, key: PeerId | _Pair, account: Account) -> None:
        account.is_timed = False
        self._forget(key, account)
