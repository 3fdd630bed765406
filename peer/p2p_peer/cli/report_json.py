"""Events for programs: one JSON object a line on standard output, and nothing else there."""

import json
from typing import Any

from p2p_core.errors import PunchwireError

from p2p_peer.cli import outputs
from p2p_peer.events import (
    Advertised,
    ConnectEvent,
    FileFailed,
    FileOffered,
    FileProgress,
    FileReceived,
    FileSent,
    Matched,
    MediatorReached,
    MessageReceived,
    PathChanged,
    PathLost,
    SessionEvent,
)
from p2p_peer.mediator_identity import Vouched
from p2p_peer.session import Session

__all__ = ["JsonReport"]

_FIRST = (Vouched.ON_FIRST_USE, Vouched.BY_USER)


class JsonReport:
    """Implements `Report`. The README lists the events and their fields."""

    def connecting(self, event: ConnectEvent) -> None:
        """Print what programs need to know of the way to a session."""
        match event:
            case MediatorReached(identity) if identity.replaced or identity.vouched in _FIRST:
                _print("mediator_pinned", id=str(identity.id))
            case Advertised():
                _print("waiting")
            case Matched(role):
                _print("matched", role=role.value)

    def connected(self, session: Session, why_no_better: str, seconds: float) -> None:
        """Print `connected`."""
        _print(
            "connected",
            path=session.path.value,
            address=str(session.address),
            why=why_no_better,
            peer=str(session.peer),
            role=session.role.value,
            key_exchange=session.key_exchange,
            seconds=round(seconds, 4),
        )

    def happened(self, session: Session, event: SessionEvent) -> None:
        """Hand over messages, and everything about files and paths."""
        match event:
            case MessageReceived(text=text):
                _say("message", **{"from": str(session.peer)}, text=text)
            case FileOffered(offer):
                _say("file_offered", transfer=offer.transfer, name=offer.name, size=offer.size)
            case FileProgress(transfer, _, done, total, _):
                _say("file_progress", transfer=transfer, bytes=done, total=total)
            case FileSent(transfer, name, size, seconds):
                _say("file_sent", transfer=transfer, name=name, size=size, seconds=round(seconds, 4))
            case FileReceived(transfer, stored, seconds):
                _say(
                    "file_received",
                    transfer=transfer,
                    path=str(stored.path),
                    size=stored.size,
                    blake3=stored.blake3,
                    seconds=round(seconds, 4),
                )
            case FileFailed(transfer, error, _):
                _say("file_failed", transfer=transfer, code=error.code, message=str(error))
            case PathLost(error):
                _say("path_lost", code=error.code, message=str(error))
            case PathChanged(kind, address, why_no_better):
                _say("path_changed", path=kind.value, address=str(address), why=why_no_better)

    def notice(self, text: str) -> None:
        """Say nothing: this is for people."""

    def closed(self, reason: str) -> None:
        """Print `closed`."""
        _print("closed", reason=reason)

    def failed(self, error: PunchwireError) -> None:
        """Print `error`."""
        _print("error", code=error.code, message=str(error), advice=error.advice)


def _print(event: str, **fields: Any) -> None:
    _say(event, **fields)
    outputs.flush()


def _say(event: str, **fields: Any) -> None:
    outputs.say(json.dumps({"event": event, **fields}) + "\n")
