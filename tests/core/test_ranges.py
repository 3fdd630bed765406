import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.ranges import as_bits, each, from_bits, ranges_of

NUMBERS = st.sets(st.integers(0, 200)).map(sorted)


@given(NUMBERS)
def test_runs_are_what_they_are_made_of(numbers: list[int]) -> None:
    runs = ranges_of(numbers)
    assert list(each(runs)) == numbers
    ends = [first + count for first, count in runs]
    assert all(end < first for end, (first, _) in zip(ends, runs[1:], strict=False))


@given(NUMBERS)
def test_bits_are_what_they_are_made_of(numbers: list[int]) -> None:
    bits = as_bits(ranges_of(numbers))
    assert int.from_bytes(bits, "little") == sum(1 << number for number in numbers)
    assert from_bits(bits) == ranges_of(numbers)


@given(st.binary(max_size=30))
def test_no_set_has_two_forms(bits: bytes) -> None:
    try:
        runs = from_bits(bits)
    except ValueError:
        return
    assert as_bits(runs) == bits


def test_zeros_at_the_end() -> None:
    with pytest.raises(ValueError, match="zero bytes"):
        from_bits(b"\1\0")
