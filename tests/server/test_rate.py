from p2p_server.rate import Rate

from tests.server.clock import ManualClock


def let_through(rate: Rate, source: bytes, times: int) -> int:
    return sum(rate.allows(source) for _ in range(times))


def test_a_burst_and_then_a_steady_rate(clock: ManualClock) -> None:
    rate = Rate(10, 5, 8, clock)
    assert let_through(rate, b"a", 100) == 5
    clock.advance(0.11)
    assert let_through(rate, b"a", 100) == 1
    clock.advance(0.31)
    assert let_through(rate, b"a", 100) == 3
    clock.advance(3600)
    assert let_through(rate, b"a", 100) == 5


def test_each_source_has_its_own(clock: ManualClock) -> None:
    rate = Rate(1, 2, 8, clock)
    assert let_through(rate, b"a", 10) == 2
    assert let_through(rate, b"b", 10) == 2


def test_who_is_refused_does_not_wait_longer_for_having_asked(clock: ManualClock) -> None:
    rate = Rate(1, 1, 8, clock)
    for _ in range(1000):
        rate.allows(b"a")
    clock.advance(1.01)
    assert rate.allows(b"a")


def test_the_sources_heard_last_are_remembered(clock: ManualClock) -> None:
    rate = Rate(1, 1, 3, clock)
    for source in (b"a", b"b", b"c", b"a", b"d"):
        rate.allows(source)
    assert rate.sources == 3
    assert not rate.allows(b"a")  # heard after b, which had to go
    assert rate.allows(b"b")


def test_when_the_next_one_is_let_through(clock: ManualClock) -> None:
    rate = Rate(2, 3, 8, clock)
    assert rate.free_in(b"a") == 0
    assert let_through(rate, b"a", 10) == 3
    wait = rate.free_in(b"a")
    assert 0.2 < wait <= 0.5
    assert rate.free_in(b"b") == 0
    clock.advance(wait - 0.01)
    assert not rate.allows(b"a")
    clock.advance(0.011)
    assert rate.allows(b"a")
