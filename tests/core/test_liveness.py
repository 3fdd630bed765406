import pytest
from p2p_core.errors import ConnectionLost
from p2p_core.machines.liveness import DEAD_AFTER, PING_EVERY, Liveness
from p2p_core.wire.frames import Ping, Pong

from tests.core.conversation import Conversation


def test_silence_is_asked_about_and_then_means_death() -> None:
    watch = Liveness(100.0)
    asked = []
    while not watch.is_dead(now := watch.deadline()):
        asked.append((now, watch.on_deadline(now)))
    assert asked == [(100.0, Ping(1)), (105.0, Ping(2)), (110.0, Ping(3))]
    assert now == 100.0 + DEAD_AFTER


def test_any_sign_of_life_puts_death_off() -> None:
    watch = Liveness(0.0)
    watch.heard(4.0)
    watch.on_deadline(5.0)
    watch.on_deadline(10.0)
    watch.heard(9.5)
    assert not watch.is_dead(9.4 + DEAD_AFTER)
    assert watch.is_dead(9.5 + DEAD_AFTER)


def test_each_side_asks_by_the_clock_whatever_it_hears() -> None:
    """So that a side which only receives gives a sign of life unasked."""
    watch = Liveness(0.0)
    for due in (0.0, PING_EVERY, 2 * PING_EVERY, 3 * PING_EVERY):
        watch.heard(due - 0.001)
        assert watch.deadline() == due
        assert watch.on_deadline(due) is not None


def test_nobody_is_asked_early_or_twice() -> None:
    watch = Liveness(0.0)
    assert watch.on_deadline(0.0) == Ping(1)
    assert watch.on_deadline(4.999) is None
    assert watch.on_deadline(5.0) == Ping(2)
    assert watch.on_deadline(5.0) is None
    assert watch.on_deadline(9.999) is None


def test_nobody_is_asked_before_it_is_time_to_ask() -> None:
    watch = Liveness(0.0, ask_at=float("inf"))
    assert watch.deadline() == DEAD_AFTER
    assert watch.on_deadline(10.0) is None
    watch.begin_asking(10.0)
    assert watch.deadline() == 10.0
    assert watch.on_deadline(10.0) == Ping(1)


def test_asking_late_does_not_put_off_death() -> None:
    watch = Liveness(0.0)
    assert watch.on_deadline(12.0) == Ping(1)
    assert watch.deadline() == DEAD_AFTER


def test_an_answer_gives_the_round_trip() -> None:
    watch = Liveness(0.0)
    assert watch.round_trip is None
    watch.answered(Pong(0, 0), 1.0)
    assert watch.round_trip is None
    watch.on_deadline(5.0)
    watch.answered(Pong(1, 0), 5.25)
    assert watch.round_trip == 0.25
    watch.on_deadline(10.0)
    watch.answered(Pong(1, 0), 11.0)  # too late to say anything
    assert watch.round_trip == 0.25


# In a session.


def test_a_quiet_session_stays_alive() -> None:
    talk = Conversation()
    for _ in range(20):
        deadlines = [t.machine.deadline() for t in (talk.initiator, talk.responder)]
        talk.now = min(deadline for deadline in deadlines if deadline is not None)
        for talker in (talk.initiator, talk.responder):
            talker.machine.on_deadline(talk.now)
        talk.settle()
    assert talk.now >= 19 * PING_EVERY
    assert talk.initiator.machine.liveness.round_trip == 0.0


def test_a_side_that_hears_nothing_is_asked_about_and_lost() -> None:
    talker = Conversation().initiator
    for due in (0.0, 5.0, 10.0):
        assert talker.machine.deadline() == due
        talker.machine.on_deadline(due)
    assert talker.said() == [Ping(1), Ping(2), Ping(3)]
    assert talker.machine.deadline() == DEAD_AFTER
    with pytest.raises(ConnectionLost):
        talker.machine.on_deadline(DEAD_AFTER)


def test_a_ping_is_answered() -> None:
    talker = Conversation().initiator
    talker.hears(Ping(2**64 - 1))
    assert talker.said() == [Pong(2**64 - 1, 0)]
