import pytest
from p2p_server.heartbeat import Heartbeat, HeartbeatLost


def heartbeat() -> Heartbeat:
    return Heartbeat(now=100.0, interval=15.0, patience=45.0, estimate=0.5)


def test_the_first_ping_is_due_at_once_and_the_next_after_the_interval() -> None:
    beat = heartbeat()
    assert beat.deadline() == 100.0
    assert beat.on_deadline(100.0) == 1
    assert beat.on_deadline(100.0) is None
    assert beat.deadline() == 115.0
    assert beat.on_deadline(115.0) == 2


def test_silence_is_noticed_after_the_patience_and_not_a_heartbeat_later() -> None:
    beat = heartbeat()
    beat.on_deadline(100.0)
    beat.on_pong(1, 101.0)
    for now in (115.0, 130.0, 145.0):
        beat.on_deadline(now)
    assert beat.deadline() == 146.0
    with pytest.raises(HeartbeatLost):
        beat.on_deadline(146.0)


def test_until_the_first_pong_the_round_trip_is_the_estimate_then_the_least_of_the_last_four() -> None:
    beat = heartbeat()
    assert beat.round_trip == 0.5
    for round_trip, least in ((0.9, 0.9), (0.2, 0.2), (0.6, 0.2), (0.4, 0.2), (0.8, 0.2), (0.7, 0.4)):
        now = beat.deadline()
        ping = beat.on_deadline(now)
        assert ping is not None
        beat.on_pong(ping, now + round_trip)
        assert beat.round_trip == pytest.approx(least)


def test_a_pong_counts_once_and_only_for_a_ping_that_was_sent() -> None:
    beat = heartbeat()
    beat.on_deadline(100.0)
    beat.on_pong(1, 100.3)
    beat.on_pong(1, 100.1)
    beat.on_pong(2, 140.0)
    assert beat.round_trip == pytest.approx(0.3)
    beat.on_deadline(115.0)
    assert min(beat.deadline(), 145.3) == 130.0
    with pytest.raises(HeartbeatLost):
        beat.on_deadline(145.3)


def test_a_later_pong_answers_the_earlier_pings_too() -> None:
    beat = heartbeat()
    beat.on_deadline(100.0)
    beat.on_deadline(115.0)
    beat.on_pong(2, 115.1)
    beat.on_pong(1, 115.2)  # overtaken: no measure of anything
    assert beat.round_trip == pytest.approx(0.1)
