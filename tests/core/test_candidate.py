from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from tests.core.wire_strategies import ADDRESSES, PORTS


def test_an_address_prints_as_people_write_it() -> None:
    assert str(Address.of("192.0.2.1", 80)) == "192.0.2.1:80"
    assert str(Address.of("2001:DB8::1", 80)) == "[2001:db8::1]:80"
    assert Address.of("2001:DB8::1", 80).host == "2001:db8::1"


def test_a_candidate_prints_with_what_it_is() -> None:
    candidate = Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, Address.of("192.0.2.1", 80))
    assert str(candidate) == "srflx/tcp 192.0.2.1:80"


@given(ADDRESSES)
def test_an_address_survives_both_forms(address: Address) -> None:
    assert Address.of(address.host, address.port) == address
    assert Address.from_packed(address.ip.packed, address.port) == address


def test_a_zone_is_kept_where_it_says_something() -> None:
    assert str(Address.of("fe80::1%eth0", 80)) == "[fe80::1%eth0]:80"
    assert Address.of("2001:db8::1%eth0", 80) == Address.of("2001:db8::1", 80)
    assert Address.of("::1%25", 80) == Address.of("::1", 80)


@pytest.mark.parametrize("zone", ["\x1b[31m", "a b", "a/b", "ä", "x" * 16])
def test_a_zone_is_the_name_of_an_interface(zone: str) -> None:
    for address in ("fe80::1", "2001:db8::1"):
        with pytest.raises(Malformed):
            Address.of(f"{address}%{zone}", 80)


@given(st.ip_addresses(v=4), PORTS)
def test_an_ipv4_mapped_address_is_the_ipv4_address(ip: IPv4Address, port: int) -> None:
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + ip.packed)
    for address in (Address.of(str(mapped), port), Address.from_packed(mapped.packed, port)):
        assert address == Address(ip, port)


@pytest.mark.parametrize("port", [-1, 0, 65536, 2**32])
def test_a_port_that_does_not_exist(port: int) -> None:
    with pytest.raises(Malformed):
        Address.of("192.0.2.1", port)
    with pytest.raises(Malformed):
        Address.from_packed(b"\xc0\0\2\1", port)


@pytest.mark.parametrize(
    "host", ["", "localhost", "192.0.2", "192.0.2.256", "192.0.2.1:80", "[::1]", "::1%", "\0", "⁷"]
)
def test_what_is_no_address(host: str) -> None:
    with pytest.raises(Malformed):
        Address.of(host, 80)


@given(st.binary(max_size=20), st.integers())
def test_no_bytes_break_the_reader(packed: bytes, port: int) -> None:
    try:
        address = Address.from_packed(packed, port)
    except Malformed:
        return
    assert len(packed) in (4, 16)
    assert 1 <= address.port <= 65535
