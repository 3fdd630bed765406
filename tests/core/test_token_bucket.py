import pytest
from p2p_core.token_bucket import TokenBucket


def test_a_burst_and_then_a_debt() -> None:
    bucket = TokenBucket(rate=100, capacity=50, now=10.0)
    bucket.take(50, 10.0)
    assert bucket.free_at(10.0) == 10.0
    bucket.take(30, 10.0)
    assert bucket.free_at(10.0) == pytest.approx(10.3)
    bucket.take(10, 10.1)
    assert bucket.free_at(10.1) == pytest.approx(10.4)
    assert bucket.full_at(10.1) == pytest.approx(10.9)


def test_rest_fills_it_and_no_more() -> None:
    bucket = TokenBucket(rate=100, capacity=50, now=0.0)
    bucket.take(50, 0.0)
    assert bucket.full_at(0.0) == pytest.approx(0.5)
    assert bucket.full_at(100.0) == 100.0
    bucket.take(60, 100.0)
    assert bucket.free_at(100.0) == pytest.approx(100.1)


def test_how_much_is_there() -> None:
    bucket = TokenBucket(rate=10, capacity=100, now=0.0)
    assert bucket.has(1, 0.0)
    bucket.take(100, 0.0)
    assert bucket.has(0, 0.0)
    bucket.take(10, 0.0)
    assert not bucket.has(0, 0.5)
    assert not bucket.has(0.5, 5.9)
    assert bucket.has(0.5, 6.0)
    assert bucket.has_at(0.5, 1.0) == pytest.approx(6.0)
    assert bucket.has_at(0.5, 7.0) == 7.0


def test_a_rate_of_zero_is_no_limit() -> None:
    bucket = TokenBucket(rate=0, capacity=0, now=0.0)
    bucket.take(10**15, 0.0)
    assert bucket.has(1, 0.0)
    assert bucket.free_at(1.0) == bucket.full_at(1.0) == bucket.has_at(1, 1.0) == 1.0
