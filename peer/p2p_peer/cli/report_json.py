"""Events for programs: one JSON object a line on standard output, and nothing else there."""

import json
from typing import Any

from p2p_core.errors import ConnectionLost, PunchwireError
from p2p_core.manifest import Manifest

from p2p_peer.cli import outputs
from p2p_peer.cli.offer_text import top_items
from p2p_peer.cli.rates import Rates
from p2p_peer.events import (
    Advertised,
    ConnectEvent,
    FileFailed,
    FileGrew,
    FilesKept,
    Listening,
    Matched,
    MediatorBack,
    MediatorLost,
    MediatorReached,
    MessageReceived,
    NotReached,
    PathChanged,
    PathLost,
    PeerMet,
    SessionEvent,
    TokenMade,
    TokenRead,
    TransferBroken,
    TransferOffered,
    TransferProgress,
    TransferReceived,
    TransferSent,
    TransferStalled,
    TurnedAway,
)
from p2p_peer.mediator_identity import Vouched
from p2p_peer.session import Session

__all__ = ["JsonReport"]

_SHOWN = 100  # items of an offer
_FIRST = (Vouched.ON_FIRST_USE, Vouched.BY_USER)


class JsonReport:
    """Implements `Report`. The README lists the events and their fields."""

    def __init__(self) -> None:
        self._rates = Rates()

    def connecting(self, event: ConnectEvent) -> None:
        """Print what programs need to know of the way to a session."""
        match event:
            case MediatorReached(identity) if identity.replaced or identity.vouched in _FIRST:
                _print("mediator_pinned", id=str(identity.id))
            case MediatorLost(error):
                _print("mediator_lost", code=error.code, message=str(error))
            case MediatorBack():
                _print("mediator_back")
            case Advertised():
                _print("waiting")
            case Matched(role):
                _print("matched", role=role.value)
            case TokenMade(text, expires, is_public):
                _print("token", token=text, expires=expires, public=is_public)
            case TokenRead():
                _print("token_read")
            case Listening(addresses):
                _print("listening", addresses=[str(address) for address in addresses])
            case NotReached(target, why):
                _print("not_reached", target=target, why=why)
            case TurnedAway(address, error):
                _print("turned_away", address=str(address), code=error.code, message=str(error))
            case PeerMet(peer, standing, own):
                words = {"words": list(peer.words), "own_words": list(own.words)}
                _print("peer_met", peer=str(peer), standing=standing.value, **words)

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
            case TransferOffered(transfer, manifest):
                _say("transfer_offered", transfer=transfer, **_offer(manifest))
            case TransferProgress(transfer):
                self._progress(event)
            case TransferStalled(transfer, label, seconds):
                _say("transfer_stalled", transfer=transfer, label=label, seconds=round(seconds, 1))
            case FileFailed(transfer, outgoing, path, error):
                what = {"transfer": transfer, "direction": _direction(outgoing), "path": path}
                _say("file_failed", **what, code=error.code, message=str(error))
            case FileGrew(transfer, path, size):
                _say("file_grew", transfer=transfer, path=path, size=size)
            case FilesKept(transfer, count, examples):
                _say("files_kept", transfer=transfer, count=count, examples=list(examples))
            case TransferSent(transfer):
                self._rates.over(transfer)
                _say("transfer_sent", transfer=transfer, label=event.label, **_done(event))
            case TransferReceived(transfer):
                self._rates.over(transfer)
                paths = [str(path) for path in event.paths]
                _say("transfer_received", transfer=transfer, label=event.label, paths=paths, **_done(event))
            case TransferBroken(transfer, outgoing, label, error):
                self._rates.over(transfer)
                what = {"transfer": transfer, "direction": _direction(outgoing), "label": label}
                kept = None if event.kept is None else str(event.kept)
                _say("transfer_failed", **what, code=error.code, message=str(error), kept=kept, bytes=event.bytes)
            case PathLost(error):
                _say("path_lost", code=error.code, message=str(error))
            case PathChanged(kind, address, why_no_better):
                _say("path_changed", path=kind.value, address=str(address), why=why_no_better)

    def session_lost(self, error: ConnectionLost) -> None:
        """Print `session_lost`."""
        _print("session_lost", code=error.code, message=str(error))

    def notice(self, text: str) -> None:
        """Say nothing: this is for people."""

    def closed(self, reason: str) -> None:
        """Print `closed`."""
        _print("closed", reason=reason)

    def failed(self, error: PunchwireError) -> None:
        """Print `error`."""
        _print("error", code=error.code, message=str(error), advice=error.advice)

    def _progress(self, progress: TransferProgress) -> None:
        rate = self._rates.reached(progress)
        _say(
            "transfer_progress",
            transfer=progress.transfer,
            direction=_direction(progress.outgoing),
            phase=progress.phase.name.lower(),
            bytes=progress.bytes,
            total=progress.total,
            moved=progress.moved,
            rate=None if rate is None else round(rate),
        )


def _direction(outgoing: bool) -> str:
    return "sent" if outgoing else "received"


def _offer(manifest: Manifest) -> dict[str, Any]:
    items = top_items(manifest)[:_SHOWN]
    return {
        "label": manifest.label(),
        "entries": len(manifest),
        "files": manifest.files,
        "size": manifest.total_bytes,
        "items": [{"name": item.name, "kind": item.kind.name.lower(), "size": item.size} for item in items],
    }


def _done(event: TransferSent | TransferReceived) -> dict[str, Any]:
    return {
        "files": event.files,
        "size": event.size,
        "moved": event.moved,
        "seconds": round(event.seconds, 4),
        "failed": event.failed,
        "offered": event.offered,
        "receipt": None if event.receipt is None else str(event.receipt),
    }


def _print(event: str, **fields: Any) -> None:
    _say(event, **fields)
    outputs.flush()


def _say(event: str, **fields: Any) -> None:
    outputs.say(json.dumps({"event": event, **fields}) + "\n")
