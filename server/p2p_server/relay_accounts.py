"""What each peer uses of the relays: how many, how fast, how much.

Of a peer that relays nothing any more, one number is kept until its day's allowance is whole again: at most a day.
"""

from dataclasses import dataclass

from p2p_core.identity import PeerId

from p2p_server.clock import Clock
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits
from p2p_server.token_bucket import TokenBucket

__all__ = ["RATE_BURST", "Account", "RelayAccounts"]

RATE_BURST = 1.0  # s of a rate that may go at once
_DAY = 86400.0  # s


@dataclass(slots=True)
class Account:
    """What one peer uses."""

    rate: TokenBucket  # of what it sends, over all its relays
    volume: TokenBucket  # likewise, in a day
    relays: int = 0


class RelayAccounts:
    """The accounts of all peers. A side of a relay is one entry."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        """Hold to `limits`."""
        self._limits = limits
        self._clock = clock
        self._accounts: dict[PeerId, Account] = {}
        self._inside = 0

    def __len__(self) -> int:
        return len(self._accounts)

    def enter(self, peer: PeerId) -> Account:
        """Count one relay more for `peer`. Raises `StreamEnded` if that is too many, or it has sent too much."""
        now = self._clock.now()
        account = self._accounts.get(peer) or self._fresh(now)
        if self._inside >= 2 * self._limits.relays:
            raise StreamEnded(Ending.RELAY_LIMIT, "the mediator relays as much as it may; try again later")
        if account.relays >= self._limits.relays_per_peer:
            raise StreamEnded(Ending.RELAY_LIMIT, "this peer has as many relays as it may")
        if account.volume.free_at(now) > now:
            raise StreamEnded(Ending.RELAY_LIMIT, "this peer has sent as much as may be relayed for it in a day")
        self._accounts[peer] = account
        self._inside += 1
        account.relays += 1
        return account

    def leave(self, peer: PeerId) -> None:
        """Count one relay less."""
        account = self._accounts[peer]
        self._inside -= 1
        account.relays -= 1
        self._forget(peer, account)

    def _forget(self, peer: PeerId, account: Account) -> None:
        """Forget what `peer` used once it is as if it had used nothing, unless it has begun again."""
        if account.relays or self._accounts.get(peer) is not account:
            return
        now = self._clock.now()
        whole = max(account.rate.full_at(now), account.volume.full_at(now))
        if whole > now:
            self._clock.call_at(whole, lambda: self._forget(peer, account))
        else:
            del self._accounts[peer]

    def _fresh(self, now: float) -> Account:
        rate = self._limits.relay_rate * self._limits.relay_peer_share
        volume = self._limits.relay_bytes * self._limits.relay_peer_share
        return Account(TokenBucket(rate, rate * RATE_BURST, now), TokenBucket(volume / _DAY, volume, now))
