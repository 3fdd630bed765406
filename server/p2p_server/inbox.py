"""Where the store's events reach the streams of this instance."""

from collections.abc import Callable

from p2p_server.stores.base import Event, StreamId

__all__ = ["Inbox"]


class Inbox:
    """Who takes the events of which stream."""

    def __init__(self) -> None:
        self._takers: dict[StreamId, Callable[[Event], None]] = {}

    def open(self, stream: StreamId, take: Callable[[Event], None]) -> None:
        """Call `take` with the events of `stream`, until it is closed."""
        self._takers[stream] = take

    def close(self, stream: StreamId) -> None:
        """Drop what still comes for `stream`."""
        self._takers.pop(stream, None)

    def deliver(self, stream: StreamId, event: Event) -> None:
        """Take an event from the store."""
        if (take := self._takers.get(stream)) is not None:
            take(event)
