"""Inputs made of seeds: what a hostile or a broken program might have sent instead."""

from collections.abc import Sequence

from hypothesis import strategies as st

__all__ = ["spoiled"]

_TELLING = (b"\0", b"\xff", b"\x7f", b"\x80", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80\0\0\0", b"%", b"\x1b[31m")
_TEXTS = (b"\r\n", b"/", b"..", b"[", b"]", b"\xe2\x80\xae", b"\xed\xa0\x80", b"-1", b"1e999", b"null", b"9" * 5000)


@st.composite
def spoiled(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """Draw a seed with something done to it: bits flipped, parts cut, put in, said twice, or of another seed."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 3))):
        at, size = draw(st.integers(0, len(data))), draw(st.integers(1, 9))
        match draw(st.sampled_from(["flip", "cut", "insert", "repeat", "splice", "end", "length"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at : at + size]
            case "insert":
                data[at:at] = draw(st.sampled_from(_TELLING + _TEXTS) | st.binary(max_size=size))
            case "repeat":
                data[at:at] = data[max(0, at - size * 8) : at]
            case "splice":
                other = draw(st.sampled_from(seeds))
                data[at:] = other[min(at, len(other)) :]
            case "end":
                del data[at:]
            case "length" if at < len(data):
                width = draw(st.sampled_from([1, 2, 4]))
                number = int.from_bytes(data[at : at + width]) + draw(
                    st.sampled_from([-1, 1, 127, -(2**15), 2**31 - 1])
                )
                data[at : at + width] = (number % 256**width).to_bytes(width)
    return bytes(data)
