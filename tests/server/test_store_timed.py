"""What is counted of a store, whatever it answers."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from p2p_core.identity import PeerId
from p2p_server.metrics import Metrics
from p2p_server.stores.base import NotMatched, Store, StoreUnavailable, StreamId, TooManyOthers
from p2p_server.stores.memory import MemoryStore
from p2p_server.stores.timed import TimedStore

from tests.server.clock import ManualClock

STREAM = StreamId("one")
PEER, OTHER = PeerId(bytes(32)), PeerId(bytes(31) + b"1")
Ask = Callable[[Store], Awaitable[None]]

ASKED: dict[str, Ask] = {
    "claim": lambda store: store.claim(STREAM, PEER, None, 0.04),
    "advertise": lambda store: store.advertise(STREAM, OTHER, b"offer"),
    "withdraw": lambda store: store.withdraw(STREAM, OTHER),
    "signal": lambda store: store.signal(STREAM, OTHER, b"body"),
    "leave": lambda store: store.leave(STREAM, OTHER),
    "forget": lambda store: store.forget(STREAM),
}


class Slow(MemoryStore):
    """Takes 20 ms for each operation, or does not answer."""

    def __init__(self, clock: ManualClock, answers: Exception | None) -> None:
        super().__init__(lambda stream, event: None, 1)
        self.clock = clock
        self.answers = answers
        self.asked: list[object] = []

    async def _take(self, *asked: object) -> None:
        self.asked += asked
        self.clock.advance(0.02)
        await asyncio.sleep(0)
        if self.answers is not None:
            raise self.answers

    claim = measured = advertise = withdraw = signal = leave = forget = _take


def lines(metrics: Metrics) -> set[str]:
    wanted = ("punchwire_store_seconds_count", "punchwire_store_seconds_sum", "punchwire_store_failures_total")
    return {line for line in metrics.render().decode().splitlines() if line.startswith(wanted)}


@pytest.mark.parametrize("operation", ASKED)
@pytest.mark.parametrize("answers", [None, NotMatched(), TooManyOthers(), StoreUnavailable()])
async def test_an_operation(operation: str, answers: Exception | None, clock: ManualClock) -> None:
    metrics, slow = Metrics(), Slow(clock, answers)
    store = TimedStore(slow, metrics, clock)
    if answers is None:
        await ASKED[operation](store)
    else:
        with pytest.raises(type(answers)):
            await ASKED[operation](store)
    assert STREAM in slow.asked
    label = f'{{operation="{operation}"}}'
    if isinstance(answers, StoreUnavailable):
        assert lines(metrics) == {f"punchwire_store_failures_total{label} 1.0"}
    else:
        count, total = sorted(lines(metrics))
        assert count == f"punchwire_store_seconds_count{label} 1.0"
        assert float(total.split()[1]) == pytest.approx(0.02)


async def test_what_nobody_waits_for_is_not_counted(clock: ManualClock) -> None:
    metrics, slow = Metrics(), Slow(clock, None)
    store = TimedStore(slow, metrics, clock)
    await store.start()
    await store.measured(STREAM, 0.04)
    await store.close()
    assert slow.asked == [STREAM, 0.04]
    assert store.is_available
    assert lines(metrics) == set()
