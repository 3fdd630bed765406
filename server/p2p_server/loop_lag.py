"""How late the event loop runs: what everybody waits because somebody's work takes long."""

from collections.abc import Callable

from p2p_server.clock import Clock, Timer

__all__ = ["LoopLag"]

_PERIOD = 0.5  # s; each second is looked at twice, for 0.01 % of a core


class LoopLag:
    """Sets a timer again and again, and tells how late each is called."""

    def __init__(self, clock: Clock, observe: Callable[[float], None]) -> None:
        """Call `observe` with seconds, from the start to the stop."""
        self._clock = clock
        self._observe = observe
        self._due = 0.0
        self._timer: Timer | None = None

    def start(self) -> None:
        """Begin to measure."""
        self._due = self._clock.now() + _PERIOD
        self._timer = self._clock.call_at(self._due, self._on_timer)

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        # asyncio calls what is due within its clock's resolution, so a timer may be a trifle early.
        self._observe(max(0.0, self._clock.now() - self._due))
        self.start()
