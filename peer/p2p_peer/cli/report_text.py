"""Lines for people: messages on standard output, everything else on standard error, bars only on a terminal.

At a terminal a message stands behind its sender's name, so that none can look like a line of ours; in a pipe it stands
alone.
"""

import sys
from typing import TYPE_CHECKING

from p2p_core.errors import PunchwireError
from p2p_core.safe_names import printable

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
    PeerDone,
    PeerLeaving,
    SessionEvent,
)
from p2p_peer.mediator_identity import Vouched
from p2p_peer.session import Session

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["TextReport", "human_size"]


class TextReport:
    """Implements `Report`."""

    def __init__(self) -> None:
        self._bars: Progress | None = None
        self._tasks: dict[int, TaskID] = {}
        self._names: dict[int, str] = {}

    def connecting(self, event: ConnectEvent) -> None:
        """Say each step that takes its time, or that the user should know of."""
        match event:
            case MediatorReached(identity) if identity.id is None:
                self.notice("the mediator is not authenticated: no TLS (--insecure)")
            case MediatorReached(identity) if identity.vouched is Vouched.ON_FIRST_USE:
                self.notice(f"first connection to this mediator; remembered its id {identity.id}")
            case Advertised():
                self.notice("waiting for the other peer")
            case Matched():
                self.notice("the other peer is there; connecting")

    def connected(self, session: Session, seconds: float) -> None:
        """Say whom we are connected to, and how."""
        self.notice(
            f"connected to {session.peer.short} over {session.path.value} at {session.address}, "
            f"{session.key_exchange}, {seconds * 1000:.0f} ms"
        )

    def happened(self, session: Session, event: SessionEvent) -> None:
        """Show messages, and how files are doing."""
        match event:
            case MessageReceived(text=text):
                sender = f"{session.peer.short}> " if sys.stdout.isatty() else ""
                sys.stdout.write(f"{sender}{printable(text)}\n")
                sys.stdout.flush()
            case FileOffered(offer):
                self._names[offer.transfer] = printable(offer.name)
                self.notice(f"{session.peer.short} offers {offer.name} ({human_size(offer.size)})")
            case FileProgress():
                self._progress(event)
            case FileSent(transfer, name, size, seconds):
                self._done(transfer)
                self.notice(f"sent {name} ({human_size(size)} in {seconds:.1f} s); it was verified and stored")
            case FileReceived(transfer, stored, seconds):
                self._done(transfer)
                self.notice(f"received {stored.path} ({human_size(stored.size)} in {seconds:.1f} s), verified")
            case FileFailed(transfer, error):
                self._done(transfer)
                if transfer in self._names:  # of a file of ours, whoever sends it tells
                    self.notice(f"{self._names[transfer]}: {error}")
            case PeerDone():
                self.notice("the other side has nothing more to say")
            case PeerLeaving(reason):
                self.notice("the other side leaves" + (f": {reason}" if reason else ""))

    def notice(self, text: str) -> None:
        """Print a sentence; what a terminal might obey in it is shown as an escape."""
        sys.stderr.write(f"* {printable(text)}\n")
        sys.stderr.flush()

    def closed(self, reason: str) -> None:
        """Say that it is over."""
        self.notice("closed" + (f": {reason}" if reason else ""))

    def failed(self, error: PunchwireError) -> None:
        """Say why it did not work out."""
        self.stop()
        sys.stderr.write(f"p2p-peer: {printable(str(error))}\n")

    def stop(self) -> None:
        """Take the bars away."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _progress(self, event: FileProgress) -> None:
        if not sys.stderr.isatty():
            return
        if self._bars is None:
            self._bars = _bars()
            self._bars.start()
        if event.transfer not in self._tasks:
            name = self._names.get(event.transfer, "sending")
            self._tasks[event.transfer] = self._bars.add_task(name, total=event.total)
        self._bars.update(self._tasks[event.transfer], completed=event.bytes)

    def _done(self, transfer: int) -> None:
        task = self._tasks.pop(transfer, None)
        if task is not None and self._bars is not None:
            self._bars.remove_task(task)
        if not self._tasks:
            self.stop()


def human_size(size: int) -> str:
    """Return `size` bytes in units of 1000, as disks are sold."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def _bars() -> "Progress":
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), transient=True)
