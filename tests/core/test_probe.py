import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.proof import Role
from p2p_core.wire import punch_record
from p2p_core.wire.probe import Probe, ProbeKind
from p2p_core.wire.punch_record import RECORD_BYTES

from tests.core.wire_strategies import mutated

KEY = b"k" * 32
PROBES = st.builds(Probe, st.sampled_from(ProbeKind), st.sampled_from(Role), st.binary(min_size=16, max_size=16))
PLAIN = Probe(ProbeKind.PROBE, Role.INITIATOR, b"n" * 16)


@given(PROBES, st.binary(min_size=32, max_size=32))
def test_a_probe_survives(sent: Probe, key: bytes) -> None:
    data = sent.encode(key)
    assert len(data) == RECORD_BYTES <= 64
    assert Probe.decode(data, key) == sent


@given(PROBES)
def test_it_is_neither_stun_nor_quic(sent: Probe) -> None:
    assert 128 <= sent.encode(KEY)[0] <= 191  # RFC 9443 §3


def test_every_bit_counts() -> None:
    data = PLAIN.encode(KEY)
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Malformed):
            Probe.decode(bytes(changed), KEY)


def test_another_key_does_not_open_it() -> None:
    with pytest.raises(Malformed):
        Probe.decode(PLAIN.encode(KEY), b"x" * 32)


@pytest.mark.parametrize(
    ("magic", "kind", "role"),
    [
        (b"\x9fPW\x02", 1, 1),
        (b"XXXX", 1, 1),
        (b"\x9fPW\x01", 0, 1),
        (b"\x9fPW\x01", 4, 1),
        (b"\x9fPW\x01", 1, 0),
        (b"\x9fPW\x01", 1, 3),
    ],
)
def test_an_unknown_version_kind_or_role_is_refused_even_under_the_key(magic: bytes, kind: int, role: int) -> None:
    content = struct.pack(">4sBB2x16s", magic, kind, role, bytes(16))
    with pytest.raises(Malformed, match="unknown"):
        Probe.decode(content + punch_record._mac(KEY, content), KEY)


@given(st.binary(max_size=60) | mutated(PROBES.map(lambda sent: sent.encode(KEY))))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        found = Probe.decode(data, KEY)
    except Malformed:
        return
    assert found.encode(KEY) == data
