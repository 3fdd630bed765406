"""The events of a session that its user has not taken yet. The other side must not fill our memory with them."""

import asyncio

from p2p_peer.events import FileFailed, MessageReceived, SessionEvent, TransferBroken, TransferOffered

__all__ = ["MAX_UNREAD", "EventQueue"]

MAX_UNREAD = 16 * 1024 * 1024  # bytes of events that nobody has taken; then the other side is read no further
_EVENT_BYTES = 1024  # what an event costs beside its text
_ENTRY_BYTES = 50  # what an entry of a manifest costs beside its name


class EventQueue:
    """Events in their order, and how much of them the other side has caused."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[SessionEvent | None] = asyncio.Queue()
        self._unread = 0  # bytes

    def __len__(self) -> int:
        return self._events.qsize()

    @property
    def is_full(self) -> bool:
        """Whether no more should be taken from the other side."""
        return self._unread > MAX_UNREAD

    @property
    def is_overfull(self) -> bool:
        """Whether so much has come all the same that it is to end."""
        return self._unread > 2 * MAX_UNREAD

    def put(self, event: SessionEvent) -> None:
        """Add an event."""
        self._events.put_nowait(event)
        self._unread += _weight(event)

    def end(self) -> None:
        """No event comes after this."""
        self._events.put_nowait(None)

    async def get(self) -> SessionEvent | None:
        """Return the next event; None at the end, however often it is asked for."""
        event = await self._events.get()
        if event is None:
            self.end()
        else:
            self._unread -= _weight(event)
        return event


def _weight(event: SessionEvent) -> int:
    """How much of `MAX_UNREAD` an event takes: those that the other side causes, and nobody here."""
    match event:
        case MessageReceived(text=text):
            return _EVENT_BYTES + len(text)
        case TransferOffered(manifest=manifest):
            return _EVENT_BYTES + _ENTRY_BYTES * len(manifest) + manifest.name_bytes
        case FileFailed(path=path, error=error):
            return _EVENT_BYTES + len(str(error)) + len(path)
        case TransferBroken(label=label, error=error):
            return _EVENT_BYTES + len(str(error)) + len(label)
        case _:
            return 0
