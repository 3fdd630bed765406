"""Lines for people."""

from p2p_core.errors import PunchwireError, UnsafeName
from p2p_core.safe_names import safe_name

from p2p_peer.cli.console import Console
from p2p_peer.cli.human import human_size, progress_line, shown_name
from p2p_peer.cli.path_text import path_text
from p2p_peer.cli.sentences import print_error
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
    PeerLeaving,
    SessionEvent,
    StillLooking,
    StunServerUnusable,
)
from p2p_peer.mediator_identity import Vouched
from p2p_peer.session import Session

__all__ = ["TextReport"]


class TextReport:
    """Implements `Report`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = ""  # a sentence that may have the other side's reason for leaving in it

    def connecting(self, event: ConnectEvent) -> None:
        """Say each step that takes its time, or that the user should know of."""
        match event:
            case MediatorReached(identity) if identity.id is None:
                self.notice("the mediator is not authenticated: no TLS (--insecure)")
            case MediatorReached(identity) if identity.vouched is Vouched.ON_FIRST_USE:
                self.notice(f"first connection to this mediator; remembered its id {identity.id}")
            case MediatorReached(identity) if identity.vouched is Vouched.BY_USER:
                self.notice("remembered it")
            case MediatorReached(identity) if identity.replaced is not None:
                self.notice(f"the mediator's id is {identity.id} now; this computer's certificate roots vouch for it")
            case StunServerUnusable(server, why):
                self.notice(f"the STUN server {server.host} is not asked: {why}")
            case Advertised():
                self.notice("waiting for the other peer")
            case Matched():
                self.notice("the other peer is there; connecting")

    def connected(self, session: Session, why_no_better: str, seconds: float) -> None:
        """Say whom we are connected to, and how."""
        how = path_text(session.path, session.address, why_no_better)
        self.notice(f"connected to {session.peer.short}, {how}, {session.key_exchange}, {seconds * 1000:.0f} ms")

    def happened(self, session: Session, event: SessionEvent) -> None:
        """Show messages, and how files are doing."""
        match event:
            case MessageReceived(text=text):
                self._console.message(session.peer.short, text)
            case FileOffered(offer):
                self.notice(
                    f"{session.peer.short} offers {shown_name(_as_stored(offer.name))} ({human_size(offer.size)})"
                )
            case FileProgress(transfer, name, done, total, seconds):
                self._console.progress(transfer, progress_line(shown_name(name), done, total, seconds))
            case FileSent(transfer, name, size, seconds):
                self._console.progress_over(transfer)
                took = f"{human_size(size)} in {seconds:.1f} s"
                self.notice(f"sent {shown_name(name)} ({took}); it was verified and stored")
            case FileReceived(transfer, stored, seconds):
                self._console.progress_over(transfer)
                path = stored.path.with_name(shown_name(stored.path.name))
                self.notice(f"received {path} ({human_size(stored.size)} in {seconds:.1f} s), verified")
            case FileFailed(transfer, error, offered):
                self._console.progress_over(transfer)
                if offered is not None:  # of a file of ours, whoever sends it tells
                    self._told = f"{shown_name(offered)}: {error}"
                    self.notice(self._told)
            case PathLost(error):
                self.notice(f"connection lost: {error}; looking for another way to the other side")
            case StillLooking(why):
                self.notice(f"still looking: {why}")
            case PathChanged(kind, address, why_no_better):
                self.notice(f"now {path_text(kind, address, why_no_better)}")
            case PeerLeaving(reason):
                self._leaving("the other side leaves", reason)

    def notice(self, text: str) -> None:
        """Show a sentence."""
        self._console.notice(text)

    def closed(self, reason: str) -> None:
        """Say that it is over, and why, unless that is said already."""
        self._leaving("closed", reason)

    def failed(self, error: PunchwireError) -> None:
        """Say why it did not work out, and what to do."""
        print_error(error)

    def _leaving(self, text: str, reason: str) -> None:
        if reason and reason not in self._told:
            text = self._told = f"{text}: {reason}"
        self.notice(text)


def _as_stored(name: str) -> str:
    """Return the name a file is to be stored under, which is the one to ask about."""
    try:
        return safe_name(name)
    except UnsafeName:  # it will be refused for that, or by the user
        return name
