"""How late the event loop is."""

from collections.abc import Callable

from p2p_server.loop_lag import LoopLag

from tests.server.clock import ManualClock


class BusyClock(ManualClock):
    """A clock whose timers are called `late` seconds after they are due."""

    late = 0.0

    def call_at(self, when: float, callback: Callable[[], object]) -> object:  # type: ignore[override]
        return super().call_at(when + self.late, callback)


def test_each_timer_tells_how_late_it_was() -> None:
    clock, seen = BusyClock(), list[float]()
    lag = LoopLag(clock, lambda seconds: seen.append(round(seconds, 6)))
    lag.start()
    clock.advance(0.5)
    assert seen == [0]
    clock.late = 0.25
    clock.advance(0.5)  # the one that is due now was set in time
    clock.advance(0.5)
    assert seen == [0, 0]
    clock.advance(0.25)
    assert seen == [0, 0, 0.25]
    clock.late = 3.0
    clock.advance(0.75)
    clock.advance(3.5)  # one look, however many it has missed
    assert seen == [0, 0, 0.25, 0.25, 3]


def test_a_timer_that_is_a_trifle_early_was_in_time() -> None:
    clock, seen = BusyClock(), list[float]()
    clock.late = -0.001
    LoopLag(clock, seen.append).start()
    clock.advance(0.5)
    assert seen == [0]


def test_after_the_stop_nothing_is_measured() -> None:
    clock, seen = ManualClock(), list[float]()
    lag = LoopLag(clock, seen.append)
    lag.stop()
    lag.start()
    assert clock.pending == 1
    lag.stop()
    lag.stop()
    assert clock.pending == 0
    clock.advance(10)
    assert seen == []
