"""A store that is asked over a network, and timed: what it takes to answer, and how often it does not."""

from collections.abc import Coroutine

from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address

from p2p_server.clock import Clock
from p2p_server.metrics import Metrics
from p2p_server.stores.base import NotMatched, Store, StoreUnavailable, StreamId, TooManyOthers

__all__ = ["TimedStore"]


class TimedStore(Store):
    """Asks another store, and tells the metrics of it. `measured` is not told: nobody waits for what it takes."""

    def __init__(self, store: Store, metrics: Metrics, clock: Clock) -> None:
        """Ask `store`."""
        self._store = store
        self._metrics = metrics
        self._clock = clock

    @property
    def is_available(self) -> bool:
        """See `Store`."""
        return self._store.is_available

    async def start(self) -> None:
        """See `Store`."""
        await self._store.start()

    async def claim(self, stream: StreamId, peer: PeerId, observed: Address | None, round_trip: float) -> None:
        """See `Store`."""
        await self._timed("claim", self._store.claim(stream, peer, observed, round_trip))

    async def measured(self, stream: StreamId, round_trip: float) -> None:
        """See `Store`."""
        await self._store.measured(stream, round_trip)

    async def advertise(self, stream: StreamId, wanted: PeerId, offer: bytes) -> None:
        """See `Store`."""
        await self._timed("advertise", self._store.advertise(stream, wanted, offer))

    async def withdraw(self, stream: StreamId, wanted: PeerId) -> None:
        """See `Store`."""
        await self._timed("withdraw", self._store.withdraw(stream, wanted))

    async def signal(self, stream: StreamId, to: PeerId, body: bytes) -> None:
        """See `Store`."""
        await self._timed("signal", self._store.signal(stream, to, body))

    async def leave(self, stream: StreamId, other: PeerId) -> None:
        """See `Store`."""
        await self._timed("leave", self._store.leave(stream, other))

    async def forget(self, stream: StreamId) -> None:
        """See `Store`."""
        await self._timed("forget", self._store.forget(stream))

    async def close(self) -> None:
        """See `Store`."""
        await self._store.close()

    async def _timed(self, operation: str, asking: Coroutine[None, None, None]) -> None:
        asked = self._clock.now()
        try:
            await asking
        except StoreUnavailable:
            self._metrics.store_failed(operation)
            raise
        except (NotMatched, TooManyOthers):  # which is an answer as well
            self._metrics.store_asked(operation, self._clock.now() - asked)
            raise
        self._metrics.store_asked(operation, self._clock.now() - asked)
