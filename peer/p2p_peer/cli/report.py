"""What `p2p-peer` shows, to people or to programs: one interface, two implementations."""

from typing import Protocol

from p2p_core.errors import ConnectionLost, PunchwireError

from p2p_peer.events import ConnectEvent, SessionEvent
from p2p_peer.session import Session

__all__ = ["Report"]


class Report(Protocol):
    """Shows what happens."""

    def connecting(self, event: ConnectEvent) -> None:
        """A step on the way to a session is done."""

    def connected(self, session: Session, why_no_better: str, seconds: float) -> None:
        """The session begins, on no better path for the reason given; `seconds` are those of `Authenticated`."""

    def happened(self, session: Session, event: SessionEvent) -> None:
        """Something happened in the session."""

    def session_lost(self, error: ConnectionLost) -> None:
        """The session is gone, and what was under way waits for the other side to come back."""

    def notice(self, text: str) -> None:
        """A sentence for people; programs get events instead."""

    def closed(self, reason: str) -> None:
        """The session is over; `reason` is the other side's, empty for an ordinary end."""

    def failed(self, error: PunchwireError) -> None:
        """It did not work out."""
