"""Lines for people."""

import contextlib
import logging
from pathlib import Path

from p2p_core.errors import ConnectionLost, NotAuthenticated, PunchwireError, TransferFailed
from p2p_core.manifest import Manifest

from p2p_peer.cli.console import Console
from p2p_peer.cli.human import counted, human_size, shown_name, took, without_count
from p2p_peer.cli.offer_text import item_lines, offer_title, room_line
from p2p_peer.cli.own_token import show_token
from p2p_peer.cli.path_text import over, path_text
from p2p_peer.cli.progress_lines import ProgressLines
from p2p_peer.cli.sentences import print_error
from p2p_peer.cli.words_text import labelled
from p2p_peer.events import (
    AddressServiceUnusable,
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
    PeerLeaving,
    PeerMet,
    SessionEvent,
    Standing,
    StillLooking,
    StunServerUnusable,
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
from p2p_peer.transfer.target import free_space
from p2p_peer.trust import TrustStore

__all__ = ["TextReport"]

_log = logging.getLogger(__name__)  # for --verbose
_TELLING = 1.0  # s: the rate of what took less says nothing
_WITH_KEYS = (
    ", but only with the same two key pairs (p2p-peer keygen): a key made for one session, here or there, is gone with "
    "it, and all is sent again"
)
_COMPARE = {
    Standing.BY_TOKEN: "if the tokens came by a way that is not to be trusted, compare the words aloud:",
    Standing.KNOWN_ELSEWHERE: "it was never met at the address that you dialled. Compare the words aloud:",
    Standing.FIRST_USE: "first connection with this peer; its key is remembered from now on. Compare the words aloud:",
}


class TextReport:
    """Implements `Report`."""

    def __init__(
        self, console: Console, folder: Path | None = None, *, store: TrustStore | None = None, shows_qr: bool = True
    ) -> None:
        """`folder`: where files go that are received; None: to standard output. `shows_qr`: of our token.

        `store`: where peers are remembered, if not in the default folder.
        """
        self._console, self._folder, self._shows_qr = console, folder, shows_qr
        self._store = store or TrustStore()
        self._lines = ProgressLines()
        self._goes_on = ""  # a clause: with which keys what is kept of a broken transfer is of use
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
            case MediatorLost(error):
                self.notice(str(error))
                self.notice("it is asked again until it lets you in; Ctrl-C ends")
            case MediatorBack():
                self.notice("the mediator is back")
            case StunServerUnusable(server, why):
                self.notice(f"the STUN server {server.host} is not asked: {why}")
            case AddressServiceUnusable(why):
                self.notice(f"the address service tells nothing: {why}")
            case Advertised():
                self.notice("waiting for the other peer")
            case Matched():
                self.notice("the other peer is there; connecting")
            case TokenMade():
                show_token(self._console, event, shows_qr=self._shows_qr)
            case TokenRead():
                self.notice("the other side's token is good; connecting, as soon as it has read yours")
            case Listening(addresses):
                self.notice(f"waiting for the other peer at {', '.join(map(str, addresses))}")
            case NotReached(target, why):
                self.notice(f"no connection with {target}: {why}; waiting for the other peer")
            case TurnedAway():
                self._turned_away(event)
            case PeerMet():
                self._met(event)

    def connected(self, session: Session, why_no_better: str, seconds: float) -> None:
        """Say whom we are connected to, and how."""
        how = path_text(session.path, session.address, why_no_better)
        self.notice(f"connected to {session.peer.short}, {how}, {session.key_exchange}, {seconds * 1000:.0f} ms")

    def happened(self, session: Session, event: SessionEvent) -> None:
        """Show messages, and how transfers are doing."""
        match event:
            case MessageReceived(text=text):
                self._console.message(session.peer.short, text)
            case TransferOffered(manifest=manifest):
                self._offered(session, manifest)
            case TransferProgress():
                self._progress(session, event)
            case TransferStalled():
                self._stalled(event)
            case FileFailed(path=path, error=error):
                is_named = f"/{path} " in f"/{error}"  # where it is on this computer
                self.notice(str(error) if is_named else f"{shown_name(path)}: {error}")
            case FileGrew(path=path, size=size):
                self.notice(f"{shown_name(path)} grew while it was sent: its first {human_size(size)} are sent")
            case FilesKept(count=count, examples=examples):
                more = f" and {count - len(examples)} more" if count > len(examples) else ""
                self.notice(f"kept, as they are there already: {', '.join(map(shown_name, examples))}{more}")
            case TransferSent():
                self._over(event.transfer)
                what = f"{_some_of(event)}{shown_name(without_count(event.label))}"
                self.notice(f"sent {what} {_summary(event, session, 'the other side did not take the others')}")
                _log.info("the receipt of transfer %d is %s", event.transfer, event.receipt)
            case TransferReceived():
                self._over(event.transfer)
                self.notice(f"received {_where(event)} {_summary(event, session, 'the others were not taken')}")
                _log.info("the receipt of transfer %d is %s", event.transfer, event.receipt)
            case TransferBroken(transfer, outgoing):
                self._over(transfer)
                if not outgoing:  # of files of ours, whoever sends them tells
                    self._broken(event)
            case PathLost(error):
                self.notice(f"connection lost: {error}; looking for another way to the other side")
            case StillLooking(why):
                self.notice(f"still looking: {why}")
            case PathChanged(kind, address, why_no_better):
                self.notice(f"now {path_text(kind, address, why_no_better)}")
            case PeerLeaving(reason):
                self._leaving("the other side leaves", reason)

    def session_lost(self, error: ConnectionLost) -> None:
        """Say that we wait."""
        for transfer in self._lines.transfers:
            self._over(transfer)
        self.notice(str(error))
        self.notice("the other side is gone; what has arrived is kept; waiting for it to come back, Ctrl-C ends")

    def notice(self, text: str) -> None:
        """Show a sentence."""
        self._console.notice(text)

    def closed(self, reason: str) -> None:
        """Say that it is over, and why, unless that is said already."""
        self._leaving("closed", reason)

    def failed(self, error: PunchwireError) -> None:
        """Say why it did not work out, and what to do."""
        print_error(error)

    def _turned_away(self, turned: TurnedAway) -> None:
        is_named = str(turned.address) in str(turned.error)
        self.notice(f"{'turned away' if is_named else f'no connection with {turned.address}'}: {turned.error}")
        if isinstance(turned.error, NotAuthenticated):  # it may be the right one: this lets it in
            self.notice(turned.error.advice)

    def _met(self, met: PeerMet) -> None:
        self._goes_on = "" if met.standing is not Standing.BY_TOKEN else _WITH_KEYS
        if met.standing is Standing.REMEMBERED:
            name = f" as {met.name}" if met.name else ""
            self.notice(f"this peer is remembered{name}: it has the key it had before")
        if met.standing is Standing.KNOWN_ELSEWHERE:
            self.notice(f"this peer is remembered from elsewhere{f' as {met.name}' if met.name else ', with no name'}")
        if met.standing not in _COMPARE:
            return
        self.notice(_COMPARE[met.standing])
        for whose, peer in (("yours", met.own), ("theirs", met.peer)):
            for label, row in labelled(whose, peer):
                self.notice(f"{label:<8}{row}")
        if met.standing in (Standing.FIRST_USE, Standing.KNOWN_ELSEWHERE):
            verify, remove = (self._store.command(doing, met.peer.short) for doing in ("verify", "remove"))
            self.notice(f"the same: {verify}; not the same: leave, and {remove}")

    def _offered(self, session: Session, manifest: Manifest) -> None:
        self.notice(f"{session.peer.short} offers {offer_title(manifest)}")
        for line in item_lines(manifest):
            self.notice(line)
        if self._folder is not None:
            with contextlib.suppress(TransferFailed):  # which accepting it will say
                self.notice(room_line(manifest, free_space(self._folder), self._folder))

    def _progress(self, session: Session, progress: TransferProgress) -> None:
        columns = self._console.progress_columns
        if columns is not None:
            line = self._lines.progressed(progress, session.path, columns)
            self._console.progress(progress.transfer, line)

    def _stalled(self, stalled: TransferStalled) -> None:
        columns = self._console.progress_columns
        line = None if columns is None else self._lines.stalled(stalled, columns)
        if line is not None:
            self._console.progress(stalled.transfer, line)
        else:
            self.notice(f"{shown_name(stalled.label)}: nothing has moved for {stalled.seconds:.0f} s")

    def _over(self, transfer: int) -> None:
        self._lines.over(transfer)
        self._console.progress_over(transfer)

    def _broken(self, broken: TransferBroken) -> None:
        label = shown_name(broken.label)
        if not isinstance(broken.error, ConnectionLost):  # of which more is told
            self._told = f"{label}: {broken.error}"
            self.notice(self._told)
        if broken.kept is not None:
            amount = f" ({human_size(broken.bytes)})" if broken.bytes else ""
            self.notice(
                f"what has come of {without_count(label)}{amount} is kept in {broken.kept}: it goes on from there when "
                f"it is sent again{self._goes_on}; remove it if it is not wanted"
            )

    def _leaving(self, text: str, reason: str) -> None:
        if reason and reason not in self._told:
            text = self._told = f"{text}: {reason}"
        self.notice(text)


def _where(received: TransferReceived) -> str:
    """Say what has come, and where it is."""
    some, label = _some_of(received), shown_name(without_count(received.label))
    if len(received.paths) == 1:
        path = received.paths[0]
        where = str(path.with_name(shown_name(path.name)))
        return f"{some}{label} as {where}" if some else where
    label = some + label
    return f"{label} into {received.paths[0].parent}" if received.paths else label


def _some_of(done: TransferSent | TransferReceived) -> str:
    """Say how many files of how many it was, if some were not taken."""
    is_all = done.files + done.failed >= done.offered
    return "" if is_all else f"{done.files} of {counted(done.offered)} of "


def _summary(done: TransferSent | TransferReceived, session: Session, not_taken: str) -> str:
    """Say how much it was, how fast it went, and what is missing: `not_taken` if some were not taken."""
    some = _some_of(done)
    files = f"{counted(done.files)}, " if not some and (done.files != 1 or done.failed) else ""
    rate = ""
    if done.seconds >= _TELLING:
        rate = f" in {took(done.seconds)}, {human_size(done.moved / done.seconds)}/s {over(session.path)}"
    text = f"({files}{human_size(done.size)}{rate})"
    if done.size > done.moved:
        text += f"; {human_size(done.size - done.moved)} were there already"
    if done.failed:
        text += f"; {counted(done.failed)} {'was' if done.failed == 1 else 'were'} not: see above"
    if some:
        text += f"; {not_taken}"
    return text
