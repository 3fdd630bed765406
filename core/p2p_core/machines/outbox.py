"""What a session has to say, in order, and what of that may not have arrived: docs/protocol/session.md, Channels.

Both sides count the frames that a session cannot do without. Such a frame is kept until the other side says how many
it has, and goes out again on the session's next channel if it has to.
"""

from collections import deque

from p2p_core.errors import RemoteProtocolError
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Done,
    Entries,
    FileFailed,
    Frame,
    Have,
    StreamEnd,
    TextMessage,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
)

__all__ = ["Outbox", "is_counted"]

# Not counted: what belongs to one channel, and acknowledgements, of which the last one says all.
_COUNTED = (
    TextMessage
    | TransferOffer
    | Entries
    | Have
    | TransferAnswer
    | FileFailed
    | StreamEnd
    | TransferEnd
    | TransferReceipt
    | Cancel
    | Done
    | Close
)
_ANSWERS = TransferAnswer | TransferReceipt | Cancel  # nothing else shows that one of these has arrived


def is_counted(frame: Frame) -> bool:
    """Say whether a frame is one of those that both sides count."""
    return isinstance(frame, _COUNTED)


class Outbox:
    """The frames of one side. They are numbered by their places only, so what has not arrived may still change."""

    def __init__(self) -> None:
        self._waiting: deque[Frame] = deque()
        self._sent: deque[Frame] = deque()  # counted, and not known to have arrived
        self._arrived = 0  # counted, of the whole session
        self._taken_as_arrived = 0  # likewise: those whose receipts we took note of, as the other side has left
        self.answers = 0  # refusals and the like that are not known to have arrived
        self.receipts: deque[int] = deque()  # transfers whose receipt has arrived, until somebody takes note

    @property
    def counted(self) -> int:
        """How many counted frames there have been in the session, with those that wait."""
        return self._arrived + len(self._sent) + sum(map(is_counted, self._waiting))

    @property
    def has_frames(self) -> bool:
        """Whether `take` would return a frame."""
        return bool(self._waiting)

    def put(self, frame: Frame) -> None:
        """Let a frame go out behind the others."""
        self._waiting.append(frame)
        self.answers += isinstance(frame, _ANSWERS)

    def take(self) -> Frame | None:
        """Return the next frame, which goes out now."""
        frame = self._waiting.popleft() if self._waiting else None
        if frame is not None and is_counted(frame):
            self._sent.append(frame)
        return frame

    def arrived(self, count: int) -> None:
        """The other side has received `count` frames. Raises `RemoteProtocolError` when that cannot be."""
        sent = self._arrived + len(self._sent)
        if not self._arrived <= count <= sent:
            raise RemoteProtocolError(f"{count} frames received, after {self._arrived} before and of {sent} sent")
        while self._arrived < count:
            frame = self._sent.popleft()
            self._arrived += 1
            self.answers -= isinstance(frame, _ANSWERS)
            if isinstance(frame, TransferReceipt) and self._arrived > self._taken_as_arrived:
                self.receipts.append(frame.transfer)

    def all_receipts_arrived(self) -> None:
        """The other side leaves with nothing outstanding: it has every receipt that went out."""
        self.receipts.extend(frame.transfer for frame in self._sent if isinstance(frame, TransferReceipt))
        self._taken_as_arrived = self._arrived + len(self._sent)

    def channel_lost(self) -> None:
        """Forget what belonged to the channel, and keep what goes out on the next one."""
        self._waiting = deque(filter(is_counted, self._waiting))

    def resumed(self, count: int) -> None:
        """On a new channel: the other side has received `count` frames, and the rest goes out again. Raises too."""
        self.arrived(count)
        self._waiting = self._sent + self._waiting
        self._sent = deque()

    def withdraw_end(self, transfer: int) -> bool:
        """Take back the end of a transfer, after `resumed`; return whether it was still here."""
        ends = [frame for frame in self._waiting if isinstance(frame, TransferEnd) and frame.transfer == transfer]
        for end in ends:
            self._waiting.remove(end)
        return bool(ends)
