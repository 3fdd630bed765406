from hypothesis import given
from hypothesis import strategies as st
from p2p_peer.channel.unread import MAX_UNREAD, Unread


@given(st.lists(st.one_of(st.binary(max_size=20), st.integers(min_value=0, max_value=20))))
def test_what_goes_in_comes_out(steps: list[bytes | int]) -> None:
    unread, expected = Unread(), b""
    for step in steps:
        if isinstance(step, bytes):
            unread.append(step)
            expected += step
        else:
            space = bytearray(step)
            count = unread.read_into(memoryview(space))
            assert count == min(step, len(expected))
            assert bytes(space[:count]) == expected[:count]
            expected = expected[count:]
        assert unread.size == len(expected)


def test_it_says_when_it_has_enough() -> None:
    unread = Unread()
    unread.append(bytes(MAX_UNREAD - 1))
    assert not unread.is_full
    unread.append(b"??")
    assert unread.is_full
    unread.read_into(memoryview(bytearray(2)))
    assert not unread.is_full
