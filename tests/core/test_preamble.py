import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.proof import Role
from p2p_core.wire import punch_record
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.punch_record import RECORD_BYTES

from tests.core.wire_strategies import mutated

KEY = b"k" * 32
PREAMBLES = st.builds(
    Preamble, st.sampled_from(PreambleKind), st.sampled_from(Role), st.binary(min_size=16, max_size=16)
)
PLAIN = Preamble(PreambleKind.HELLO, Role.INITIATOR, b"n" * 16)


@given(PREAMBLES, st.binary(min_size=32, max_size=32))
def test_a_preamble_survives(sent: Preamble, key: bytes) -> None:
    data = sent.encode(key)
    assert len(data) == RECORD_BYTES
    assert Preamble.decode(data, key) == sent


def test_every_bit_counts() -> None:
    data = PLAIN.encode(KEY)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Malformed):
            Preamble.decode(bytes(changed), KEY)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Malformed):
        Preamble.decode(PLAIN.encode(KEY), b"x" * 32)


@pytest.mark.parametrize(
    ("magic", "kind", "role"),
    [
        (b"PWT\x02", 1, 1),
        (b"XXXX", 1, 1),
        (b"PWT\x01", 0, 1),
        (b"PWT\x01", 3, 1),
        (b"PWT\x01", 1, 0),
        (b"PWT\x01", 1, 3),
    ],
)
def test_an_unknown_version_kind_or_role_is_refused_even_under_the_key(magic: bytes, kind: int, role: int) -> None:
    content = struct.pack(">4sBB2x16s", magic, kind, role, bytes(16))
    with pytest.raises(Malformed, match="unknown"):
        Preamble.decode(content + punch_record._mac(KEY, content), KEY)


@given(st.binary(max_size=60) | mutated(PREAMBLES.map(lambda sent: sent.encode(KEY))))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        found = Preamble.decode(data, KEY)
    except Malformed:
        return
    assert found.encode(KEY) == data
