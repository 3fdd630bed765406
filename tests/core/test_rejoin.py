import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.wire import rejoin

KEY, OTHER_KEY = bytes(32), bytes([1]) * 32


@given(st.integers(0, 2**32 - 1))
def test_what_was_asked_for_is_read_back(channel: int) -> None:
    assert rejoin.decode(rejoin.encode(channel, KEY), KEY) == channel


def test_nobody_without_the_key_asks() -> None:
    with pytest.raises(Malformed):
        rejoin.decode(rejoin.encode(7, OTHER_KEY), KEY)


@given(st.integers(0, 24 * 8 - 1))
def test_no_bit_may_differ(bit: int) -> None:
    altered = bytearray(rejoin.encode(7, KEY))
    altered[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Malformed):
        rejoin.decode(bytes(altered), KEY)


@given(st.binary(max_size=64))
def test_anything_else_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        rejoin.decode(data, KEY)
