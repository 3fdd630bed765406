import itertools

import pytest
from p2p_core.machines.choosing import (
    MIN_GRACE,
    PATIENT_GRACE,
    RELAY_AFTER,
    RELAY_AFTER_BIRTHDAY,
    RELAY_ROUND_TRIPS,
    Choosing,
)
from p2p_core.proof import PathKind

TCP, QUIC, RELAY = PathKind.TCP, PathKind.QUIC, PathKind.RELAY
ROUND_TRIP = 0.12


def choosing(*awaited: PathKind, birthday: bool = False, round_trip: float = ROUND_TRIP) -> Choosing:
    return Choosing(10.0, round_trip, set(awaited or (TCP, QUIC, RELAY)), birthday)


def test_tcp_is_taken_at_once() -> None:
    machine = choosing()
    machine.found(QUIC, 10.1)
    machine.found(RELAY, 10.1)
    machine.found(TCP, 10.11)
    assert machine.choice(10.11) is TCP


def test_quic_waits_a_round_trip_for_tcp() -> None:
    machine = choosing()
    machine.found(QUIC, 10.1)
    assert machine.choice(10.1) is None
    assert machine.deadline() == pytest.approx(10.22)
    assert machine.choice(10.22) is QUIC


def test_quic_does_not_wait_when_tcp_should_have_come_by_now_or_will_not_come() -> None:
    late = choosing()
    late.found(QUIC, 10.5)
    assert late.choice(10.5) is QUIC
    alone = choosing(QUIC, RELAY)
    alone.found(QUIC, 10.01)
    assert alone.choice(10.01) is QUIC
    machine = choosing()
    machine.found(QUIC, 10.01)
    machine.gone(TCP)
    assert machine.choice(10.01) is QUIC


def test_on_a_network_of_no_length_quic_waits_a_moment() -> None:
    machine = choosing(round_trip=0.0)
    machine.found(QUIC, 10.0)
    assert machine.choice(10.0) is None
    assert machine.choice(10.0 + MIN_GRACE) is QUIC


def test_the_relay_waits_until_the_direct_ways_had_their_time() -> None:
    machine = choosing()
    machine.found(RELAY, 10.4)
    assert machine.choice(10.4) is None
    assert machine.deadline() == 10.0 + RELAY_AFTER
    assert machine.choice(10.0 + RELAY_AFTER) is RELAY
    assert machine.choice(10.0 + RELAY_AFTER + 3) is RELAY, "it may have come late"


def test_longer_where_luck_may_bring_a_direct_path() -> None:
    machine = choosing(birthday=True)
    machine.found(RELAY, 10.4)
    assert machine.choice(10.0 + RELAY_AFTER) is None
    assert machine.deadline() == 10.0 + RELAY_AFTER_BIRTHDAY
    machine.gone(QUIC)
    assert machine.choice(10.0 + RELAY_AFTER) is RELAY


def test_longer_on_long_links() -> None:
    machine = choosing(round_trip=0.5)
    machine.found(RELAY, 11.0)
    assert machine.deadline() == 10.0 + RELAY_ROUND_TRIPS * 0.5


def test_at_once_when_nothing_direct_is_left() -> None:
    machine = choosing()
    machine.gone(TCP)
    machine.gone(QUIC)
    machine.found(RELAY, 10.4)
    assert machine.choice(10.4) is RELAY


def test_a_direct_path_is_better_than_the_relay_even_late() -> None:
    machine = choosing()
    machine.found(RELAY, 10.4)
    machine.found(QUIC, 11.5)
    assert machine.choice(11.5) is QUIC


def test_hopeless_is_when_nothing_is_there_and_nothing_will_come() -> None:
    for order in itertools.permutations((TCP, QUIC, RELAY)):
        machine = choosing()
        for kind in order:
            assert not machine.is_hopeless
            machine.gone(kind)
        assert machine.is_hopeless
        assert machine.deadline() is machine.choice(100.0) is None


def test_what_was_found_and_is_gone_is_not_chosen() -> None:
    machine = choosing()
    machine.found(RELAY, 10.4)
    machine.gone(RELAY)
    assert machine.choice(20.0) is None
    assert not machine.is_hopeless


def test_who_was_waited_for_counts_from_when_it_was_heard() -> None:
    machine = choosing(TCP, QUIC)
    machine.heard(200.0)
    machine.found(QUIC, 200.1)
    assert machine.choice(200.1) is None
    assert machine.deadline() == pytest.approx(200.1 + ROUND_TRIP)
    machine.found(TCP, 200.2)
    assert machine.choice(200.2) is TCP


def test_whoever_has_waited_gives_tcp_more_time() -> None:
    machine = Choosing(10.0, 0.0, {TCP, QUIC}, grace=PATIENT_GRACE)
    machine.heard(70.0)
    machine.found(QUIC, 70.1)
    assert machine.choice(70.1 + PATIENT_GRACE - 0.01) is None
    assert machine.deadline() == 70.1 + PATIENT_GRACE
    assert machine.choice(70.1 + PATIENT_GRACE) is QUIC
