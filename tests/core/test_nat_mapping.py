import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.machines.nat_mapping import MAX_STEP, mapping_of
from p2p_core.wire.candidate import Address
from p2p_core.wire.offer import Mapping

from tests.core.wire_strategies import ADDRESSES

OWN = Address.of("10.0.0.5", 40000)


def seen(*ports: int, ip: str = "203.0.113.5") -> list[Address]:
    return [Address.of(ip, port) for port in ports]


@pytest.mark.parametrize(
    ("ports", "mapping", "step"),
    [
        ((), Mapping.UNKNOWN, 0),
        ((5000,), Mapping.UNKNOWN, 0),
        ((5000, 5000), Mapping.INDEPENDENT, 0),
        ((5000, 5000, 5000), Mapping.INDEPENDENT, 0),
        ((5000, 5001), Mapping.SEQUENTIAL, 1),
        ((5000, 5001, 5002), Mapping.SEQUENTIAL, 1),
        ((5000, 5002, 5004), Mapping.SEQUENTIAL, 2),
        ((5004, 5002, 5000), Mapping.SEQUENTIAL, -2),
        ((5000, 5003, 5004), Mapping.SEQUENTIAL, 1),  # somebody else took two in between
        ((5000, 5000, 5001), Mapping.SEQUENTIAL, 1),  # mapped by address alone
        ((5000, 5000 + MAX_STEP), Mapping.SEQUENTIAL, MAX_STEP),
        ((5000, 5001 + MAX_STEP), Mapping.RANDOM, 0),
        ((5000, 5001, 5000), Mapping.RANDOM, 0),
        ((5000, 5001, 61234), Mapping.RANDOM, 0),
        ((5000, 5000, 61234), Mapping.RANDOM, 0),
        ((61234, 1025, 33333), Mapping.RANDOM, 0),
    ],
)
def test_by_ports(ports: tuple[int, ...], mapping: Mapping, step: int) -> None:
    assert mapping_of(seen(*ports), {OWN}) == (mapping, step)


def test_two_public_addresses_are_as_good_as_random() -> None:
    assert mapping_of(seen(5000) + seen(5000, ip="203.0.113.6"), {OWN}) == (Mapping.RANDOM, 0)
    assert mapping_of(seen(5000) + seen(5001, ip="203.0.113.6"), {OWN}) == (Mapping.RANDOM, 0)


def test_where_it_is_seen_at_its_own_address_there_is_no_nat() -> None:
    assert mapping_of([OWN], {OWN}) == (Mapping.INDEPENDENT, 0)
    other = Address.of("2001:db8::5", 40000)
    assert mapping_of([OWN, other], {OWN, other}) == (Mapping.INDEPENDENT, 0)
    assert mapping_of([OWN, *seen(40000)], {OWN}) == (Mapping.RANDOM, 0)


@given(st.lists(ADDRESSES, max_size=5), st.sets(ADDRESSES, max_size=2))
def test_only_a_sequence_has_a_step(mapped: list[Address], own: set[Address]) -> None:
    mapping, step = mapping_of(mapped, own)
    assert (step != 0) == (mapping is Mapping.SEQUENTIAL)
    assert abs(step) <= MAX_STEP
