import pytest
from p2p_core import limits
from p2p_core.machines.pacing import Pace, RateLimit
from p2p_core.wire.frames import BLOCKS_ROOM

KIB, MIB = 1024, 1024 * 1024
WHOLE = limits.MAX_BLOCK_SIZE + BLOCKS_ROOM


def run(pace: Pace, rate: float, seconds: float, now: float = 0.0) -> float:
    """Let a link of `rate` bytes a second take what it is given, `size` at a time; return when that ends."""
    end = now + seconds
    while now < end:
        pace.stopped(now)
        now += pace.size / rate
        pace.took(pace.size, now)
    return now


@pytest.mark.parametrize("rate", [400e3, 1e6, 5e6, 15e6])
def test_as_much_as_a_control_frame_may_wait_for(rate: float) -> None:
    pace = Pace()
    run(pace, rate, 3)
    assert pace.size == pytest.approx(rate * 0.05, rel=0.01)


@pytest.mark.parametrize("rate", [1e3, 10e3, 300e3])
def test_not_less_than_a_record_of_tls(rate: float) -> None:
    pace = Pace()
    run(pace, rate, 20)
    assert pace.size == 16 * KIB


@pytest.mark.parametrize("rate", [25e6, 1e9])
def test_blocks_go_whole_where_that_is_fast(rate: float) -> None:
    pace = Pace()
    run(pace, rate, 0.5)
    assert pace.size >= WHOLE


def test_a_stream_that_never_stops_is_fast() -> None:
    pace = Pace()
    changes = [pace.took(64 * KIB, 0.0) for _ in range(16)]
    assert changes == [False] * 15 + [True]
    assert pace.size >= WHOLE
    assert not pace.took(2 * MIB, 0.0)  # no other size


def test_it_follows_the_link() -> None:
    pace = Pace()
    now = run(pace, 1e9, 1)
    now = run(pace, 1e6, 3, now)
    assert pace.size == pytest.approx(50e3, rel=0.01)
    run(pace, 1e9, 1, now)
    assert pace.size >= WHOLE


def test_time_in_which_there_is_nothing_to_write_does_not_count() -> None:
    pace = Pace()
    for second in range(100):
        pace.stopped(second)
        pace.took(200_000, second + 0.04)  # 5 MB/s, as long as there is something
    assert pace.size == pytest.approx(250e3, rel=0.05)


def test_what_a_system_takes_at_once_now_and_then_says_nothing() -> None:
    """A chat of a megabyte is no fast link."""
    pace = Pace()
    before = pace.size
    for _ in range(10_000):
        assert not pace.took(10_000, 0.0)
        pace.paused()
    assert pace.size == before


def test_a_stop_that_is_told_twice_is_one() -> None:
    pace = Pace()
    pace.stopped(0.0)
    pace.stopped(0.9)
    pace.took(1_000_000, 1.0)
    assert pace.size == 50_000


# The limit.


def through(limit: RateLimit, seconds: float, now: float = 0.0, *, size: int = 0, late: float = 0.0) -> int:
    """How many bytes go within `seconds`, `size` at a time or parts as the limit has them, each `late` by so much."""
    end, total = now + seconds, 0
    while (now := limit.free_at(now)) < end:
        now += late
        total += size or limit.part
        limit.take(size or limit.part, now)
    return total


RATES = [100, 10_000, 123_456, 1_000_000, 30_000_000, 500_000_000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("late", [0.0, 0.002])
def test_it_lets_so_much_through(rate: int, late: float) -> None:
    seconds = max(3.0, 40 * 256 / rate)
    assert through(RateLimit(rate, 0.0), seconds, late=late) == pytest.approx(rate * seconds, rel=0.05)


@pytest.mark.parametrize("rate", RATES)
def test_whatever_the_size_is(rate: int) -> None:
    """A frame's first part may be all hashes, and so larger than the limit would have it."""
    seconds = max(3.0, 40 * MIB / rate)
    assert through(RateLimit(rate, 0.0), seconds, size=MIB) == pytest.approx(rate * seconds, rel=0.05)


def test_a_rest_gives_no_credit_worth_the_name() -> None:
    limit = RateLimit(1_000_000, 0.0)
    assert through(limit, 2.0, now=1000.0) == pytest.approx(2_000_000, rel=0.05)


def test_parts_are_small_enough_to_be_seen_moving() -> None:
    assert RateLimit(10_000, 0.0).part == 500
    assert RateLimit(1_000_000, 0.0).part == 50_000
    assert RateLimit(10, 0.0).part == 256
