import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import fields

LABELS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8)
LISTS = st.tuples(LABELS, st.lists(st.binary(max_size=8), max_size=4))


@given(LISTS, LISTS)
def test_different_lists_never_encode_alike(one: tuple[str, list[bytes]], other: tuple[str, list[bytes]]) -> None:
    encoded = fields.encode(one[0], *one[1]), fields.encode(other[0], *other[1])
    assert (encoded[0] == encoded[1]) is (one == other)


def test_bytes_do_not_move_between_fields() -> None:
    lists = [(b"ab",), (b"a", b"b"), (b"", b"ab"), (b"ab", b""), ()]
    assert len({fields.encode("label", *fields_) for fields_ in lists}) == len(lists)


def test_a_digest_is_sha256_of_the_encoding() -> None:
    assert fields.digest("label", b"a") == hashlib.sha256(b"\0\0\0\5label\0\0\0\1a").digest()


def test_a_label_is_ascii() -> None:
    with pytest.raises(UnicodeEncodeError):
        fields.encode("läbel")


def test_numbers_are_big_endian_and_never_cut() -> None:
    assert fields.u16(1) == b"\0\1"
    assert fields.u32(1) == b"\0\0\0\1"
    assert fields.u64(1) == b"\0\0\0\0\0\0\0\1"
    for number, bits in ((fields.u16, 16), (fields.u32, 32), (fields.u64, 64)):
        number(2**bits - 1)
        for value in (-1, 2**bits):
            with pytest.raises(OverflowError):
                number(value)
