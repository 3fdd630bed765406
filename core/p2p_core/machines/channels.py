"""The channels of a session, one after the other, and what goes over them: docs/protocol/session.md, "Channels".

On each but the first, both sides begin with `Resume`, say nothing else before they have the other's, and then say again
what did not arrive. Between two channels everything goes on but the talking.
"""

from collections.abc import Callable, Iterable
from enum import Enum, auto

from p2p_core.errors import ConnectionLost, RemoteProtocolError
from p2p_core.machines.duties import Duties
from p2p_core.machines.liveness import ANSWER_TIME, Liveness
from p2p_core.machines.outbox import Outbox, is_counted
from p2p_core.wire.frames import Frame, Pong, Resume

__all__ = ["Channels", "FellSilent"]


class FellSilent(ConnectionLost):
    """Nothing comes over a channel any more, and nothing has ended it: somebody may just be changing networks."""


class _State(Enum):
    """What there is to talk on."""

    NONE = auto()  # between two channels
    RESUMING = auto()  # a new channel, on which the other side has not said where to go on
    TALKING = auto()


class Channels:
    """The present channel, if there is one: what is said on it, whether it is alive, and what it owes us."""

    def __init__(self, now: float) -> None:
        """Begin with the first channel, on which there is nothing to resume."""
        self.outbox = Outbox()
        self.liveness = Liveness(now)
        self.duties = Duties()
        self._state = _State.TALKING
        self._received = 0  # counted frames, in the session
        self._resume: Resume | None = None  # to go out first

    @property
    def is_there(self) -> bool:
        """Whether there is a channel."""
        return self._state is not _State.NONE

    @property
    def is_talking(self) -> bool:
        """Whether there is a channel on which both sides know where to go on."""
        return self._state is _State.TALKING

    def lost(self) -> None:
        """The channel is gone. What it may have lost is kept for the next one."""
        self._state, self._resume = _State.NONE, None
        self.outbox.channel_lost()
        self.duties = Duties()

    def opened(self, now: float, wanted: Iterable[tuple[int, int]]) -> None:
        """There is a new channel; `wanted` is the next block of each file that is being received, by transfer."""
        self.lost()
        self._state = _State.RESUMING
        self.liveness = Liveness(now, ask_at=float("inf"))
        self._resume = Resume(self._received, tuple(wanted))

    def resumed(self, resume: Resume, now: float) -> None:
        """Take the other side's `Resume`. Raises `RemoteProtocolError` when it cannot be."""
        if self._state is not _State.RESUMING:
            raise RemoteProtocolError("the session was resumed twice on a channel, or on its first one")
        self._state = _State.TALKING
        self.outbox.resumed(resume.received)
        self.liveness.begin_asking(now)

    def check_resumed(self) -> None:
        """Raise `RemoteProtocolError` when the other side has not said where to go on, and says something else."""
        if not self.is_talking:
            raise RemoteProtocolError("something came before the session was resumed")

    def received(self, frame: Frame) -> None:
        """Count a frame that has come. Raises as `check_resumed`."""
        if not isinstance(frame, Resume):
            self.check_resumed()
        self._received += is_counted(frame)

    def answer(self, ping: int) -> Pong:
        """Return the answer to a ping of the other side."""
        return Pong(ping, self._received)

    def next_frame(self) -> Frame | None:
        """Return the next frame to send; None when there is none now."""
        resume, self._resume = self._resume, None
        if resume is not None or not self.is_talking:
            return resume
        return self.outbox.take()

    @property
    def has_frames(self) -> bool:
        """Whether `next_frame` would return one."""
        return self._resume is not None or (self.is_talking and self.outbox.has_frames)

    def deadline(self) -> float | None:
        """When a sign of life or a receipt is due; None between two channels."""
        if not self.is_there:
            return None
        due = (self.liveness.deadline(), self.duties.deadline())
        return min(when for when in due if when is not None)

    def on_deadline(self, now: float, last_message: int, ended: Iterable[int]) -> None:
        """Ask for a sign of life: our last message and the files that have `ended` go before the question.

        Raises `ConnectionLost` when the other side is gone.
        """
        if self.liveness.is_dead(now):
            raise FellSilent("the other side has gone silent")
        if self.liveness.is_deaf(now):
            raise ConnectionLost(f"the other side has answered nothing for {ANSWER_TIME:g} s")
        if (ping := self.liveness.on_deadline(now)) is not None:
            self.duties.asked(ping.id, last_message, self.outbox.counted, ended)
            self.outbox.put(ping)

    def answered(self, pong: Pong, now: float, awaits: Callable[[int], bool]) -> None:
        """Take the answer to a ping; `awaits` says whether any message up to a number is not acknowledged.

        Raises `RemoteProtocolError` when the answer comes before one to something that went before the ping.
        """
        if not self.liveness.answered(pong, now):
            return
        message, frames = self.duties.answered(pong.id, now)
        if awaits(message):
            raise RemoteProtocolError("a ping was answered, and not the message before it")
        if pong.received < frames:
            raise RemoteProtocolError("a ping was answered, and not every frame before it counted")
        self.outbox.arrived(pong.received)
