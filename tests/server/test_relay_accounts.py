"""What is kept of relays that are over. What the accounts allow stands in test_relay.py."""

from p2p_core.identity import PeerId
from p2p_server.limits import Limits
from p2p_server.relay_accounts import RelayAccounts

from tests.server.clock import ManualClock

ONE, OTHER = PeerId(b"a" * 32), PeerId(b"b" * 32)
DAY = 86400


def use(accounts: RelayAccounts, count: int, now: float) -> None:
    for account in accounts.enter(ONE, OTHER):
        account.volume.take(count, now)
    accounts.leave(ONE, OTHER)


def test_however_many_relays_there_were_an_account_has_one_timer(clock: ManualClock) -> None:
    accounts = RelayAccounts(Limits(), clock)
    for _ in range(1000):
        use(accounts, 1, clock.now())
    assert (len(accounts), clock.pending) == (2, 2)  # the peer, and the pair
    clock.advance(DAY)
    assert (len(accounts), clock.pending) == (0, 0)


def test_an_account_is_kept_for_as_long_as_anything_of_it_is_used(clock: ManualClock) -> None:
    accounts = RelayAccounts(Limits(relay_bytes=DAY, relay_key_bytes=DAY), clock)  # a byte a second
    use(accounts, 100, clock.now())
    clock.advance(50)
    use(accounts, 100, clock.now())
    clock.advance(60)
    assert len(accounts) == 2
    accounts.enter(ONE, OTHER)
    clock.advance(1000)
    assert (len(accounts), clock.pending) == (2, 0)
    accounts.leave(ONE, OTHER)
    assert (len(accounts), clock.pending) == (0, 0)
