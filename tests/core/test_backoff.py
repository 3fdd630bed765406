"""On a made-up clock, with numbers that are not random."""

import pytest
from p2p_core.machines.backoff import FIRST_PAUSE, LONGEST_PAUSE, Backoff


def pauses(backoff: Backoff, count: int) -> list[float]:
    return [backoff.pause(0.0) for _ in range(count)]


def test_each_pause_is_longer_up_to_the_longest() -> None:
    assert pauses(Backoff(lambda: 1.0), 8) == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert pauses(Backoff(lambda: 0.0), 8) == [0.25, 0.5, 1, 2, 4, 8, 15, 15]


def test_it_begins_anew_once_it_was_let_in_for_a_while() -> None:
    backoff = Backoff(lambda: 1.0)
    pauses(backoff, 5)
    backoff.admitted(100.0)
    assert backoff.pause(100.0 + LONGEST_PAUSE) == FIRST_PAUSE
    assert backoff.pause(100.0 + 2 * LONGEST_PAUSE) == 2 * FIRST_PAUSE


def test_a_mediator_that_lets_in_and_sends_away_is_not_asked_more_often() -> None:
    backoff = Backoff(lambda: 1.0)
    seen = []
    for now in range(0, 700, 100):
        backoff.admitted(float(now))
        seen.append(backoff.pause(now + 0.9 * LONGEST_PAUSE))
    assert seen == [0.5, 1, 2, 4, 8, 16, 30]


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 10.0), (0.5, 12.5), (1.0, 15.0)])
def test_what_it_has_said_holds_and_a_little_longer(random: float, seconds: float) -> None:
    backoff = Backoff(lambda: random)
    assert backoff.closed_for(100.0) == 0
    backoff.told(100.0, 10.0)
    assert backoff.closed_for(100.0) == seconds
    assert backoff.closed_for(104.0) == seconds - 4
    assert backoff.closed_for(200.0) == 0


def test_the_later_of_two_times_holds() -> None:
    backoff = Backoff(lambda: 0.0)
    backoff.told(100.0, 10.0)
    backoff.told(101.0, 2.0)
    assert backoff.closed_for(101.0) == 9
    backoff.told(102.0, 20.0)
    assert backoff.closed_for(102.0) == 20
