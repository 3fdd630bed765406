"""Whom this user has met: trust on first use, as ssh does it.

Mediators are remembered by the name they were dialled under, peers by their id, with what the user says of them. All is
in one file, `trust.json` in the state folder.
"""

import contextlib
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from p2p_core.errors import LocalProtocolError, Malformed, UsageError
from p2p_core.identity import PeerId

from p2p_peer.private_file import PrivateFile, Stamp
from p2p_peer.remembered import KnownPeer, MediatorId, Remembered, name_fault, read_remembered

__all__ = ["KnownPeer", "MediatorId", "TrustStore", "default_state_dir"]

_FILE = "trust.json"
_MAX_FILE_BYTES = 1024 * 1024  # 4000 peers, or 3000 mediators with the longest names there are


def default_state_dir() -> Path:
    """Return `$XDG_STATE_HOME/punchwire`, or `~/.local/state/punchwire` (XDG Base Directory Specification).

    Raises `UsageError` for a user without a home folder.
    """
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # which the specification says to ignore
        try:
            base = Path.home() / ".local" / "state"
        except RuntimeError as error:
            raise UsageError(
                "there is no home folder to remember anything in", advice="Name a folder for it with --state-dir."
            ) from error
    return base / "punchwire"


@dataclass(slots=True)
class _LastRead:
    """What was in the file, and the stamp of the file that it was in; None: of none."""

    stamp: Stamp | None = None
    remembered: Remembered = field(default_factory=Remembered)


@dataclass(frozen=True, slots=True)
class TrustStore:
    """Whoever is remembered in the folder that was chosen, or else in `default_state_dir`.

    Each method raises `UsageError` when the file is damaged or cannot be read, and when others may have written it;
    those that change something, also when it cannot be written.
    """

    chosen: Path | None = None
    _last: _LastRead = field(default_factory=_LastRead, init=False, repr=False, compare=False)

    @property
    def folder(self) -> Path:
        """The folder. Raises `UsageError` when none was chosen and there is no other."""
        return self.chosen or default_state_dir()

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / _FILE

    # What to do about it.

    def command(self, *arguments: str) -> str:
        """Return the command line of `p2p-peer trust` that does something with what is remembered here."""
        folder = () if self.chosen is None else ("--state-dir", str(self.chosen))
        return shlex.join(("p2p-peer", "trust", *arguments, *folder))

    @property
    def look(self) -> str:
        """The advice for whoever names somebody who is not remembered."""
        return f"Look who is remembered: {self.command()}"

    # Mediators.

    def known(self, name: str) -> MediatorId | None:
        """Return the mediator id remembered for `name` ("host:port")."""
        return self._read().mediators.get(name)

    def mediators(self) -> dict[str, MediatorId]:
        """Return all mediators by name, sorted."""
        return dict(sorted(self._read().mediators.items()))

    def remember(self, name: str, mediator: MediatorId) -> MediatorId | None:
        """Remember `mediator` under `name`, and return the other id that was remembered for it until now."""
        if self.known(name) == mediator:
            return None
        with self._changing() as remembered:
            before = remembered.mediators.get(name)
            remembered.mediators[name] = mediator
        return None if before == mediator else before

    def forget_mediator(self, name: str) -> None:
        """Forget a mediator. Raises `UsageError` when there is none of that name."""
        with self._changing() as remembered:
            if remembered.mediators.pop(name, None) is None:
                raise UsageError(f"no mediator at {name} is remembered", advice=self.look)

    # Peers.

    def peer(self, peer_id: PeerId) -> KnownPeer | None:
        """Return what is remembered of a peer."""
        return self._read().peers.get(peer_id)

    def peer_at(self, target: str) -> KnownPeer | None:
        """Return the peer that was met by dialling `target` ("host:port")."""
        return self._read().at(target)

    def peers(self) -> tuple[KnownPeer, ...]:
        """Return all peers: those with a name first, sorted by it, then by when they were first met."""
        return tuple(sorted(self._read().peers.values(), key=_order))

    def met(self, peer_id: PeerId, target: str | None, now: int) -> bool:
        """Remember that a peer was met `now` (Unix time, s), at `target` if it was dialled; return whether it is new.

        Raises `LocalProtocolError` when another peer is remembered for `target`: that is for the caller to judge first.
        """
        with self._changing() as remembered:
            before = remembered.peers.get(peer_id)
            peer = before or KnownPeer(peer_id, None, (), verified=False, first_met=now, last_met=now)
            targets = peer.targets
            if target is not None and target not in targets:
                if remembered.at(target) is not None:
                    raise LocalProtocolError(f"another peer is remembered for {target}")
                targets = (*targets, target)
            remembered.peers[peer_id] = replace(peer, targets=targets, last_met=now)
        return before is None

    def rename(self, peer_id: PeerId, name: str | None) -> None:
        """Give a peer that is remembered a name, or take it away. Raises `UsageError` for a name it cannot have."""
        if name is not None and (fault := name_fault(name)) is not None:
            raise UsageError(f"a peer cannot be named {name!r}: {fault}", advice="Choose a short, plain name.")
        with self._changing() as remembered:
            peer = self._known(remembered, peer_id)
            other = None if name is None else remembered.named(name)
            if other is not None and other.id != peer_id:
                raise UsageError(f"the peer {other.id} has the name {other.name}", advice="Choose another name.")
            remembered.peers[peer_id] = replace(peer, name=name)

    def verify(self, peer_id: PeerId, verified: bool = True) -> None:
        """Remember of a peer that is remembered whether the words of its key were compared."""
        with self._changing() as remembered:
            remembered.peers[peer_id] = replace(self._known(remembered, peer_id), verified=verified)

    def forget_peer(self, peer_id: PeerId) -> None:
        """Forget a peer that is remembered."""
        with self._changing() as remembered:
            del remembered.peers[self._known(remembered, peer_id).id]

    def _known(self, remembered: Remembered, peer_id: PeerId) -> KnownPeer:
        peer = remembered.peers.get(peer_id)
        if peer is None:
            raise UsageError(f"no peer {peer_id} is remembered", advice=self.look)
        return peer

    # The file.

    @contextlib.contextmanager
    def _changing(self) -> Iterator[Remembered]:
        """Let what is remembered be changed, and write it."""
        file = PrivateFile(self.path)
        with file.alone():
            remembered = self._parse()  # of its own: it will be changed
            before = remembered.text()
            yield remembered
            after = remembered.text()
            if len(after) > _MAX_FILE_BYTES:
                raise UsageError(
                    f"{self.path} is full",
                    advice=f"Forget some whom you do not meet any more: {self.command('remove', 'WHO')}",
                )
            if after != before:
                self._last.stamp = None
                file.replace(after)

    def _read(self) -> Remembered:
        """Return what is remembered, which is not to be changed; a file that is the same as before is not read again.

        Whoever knocks makes us look here, and a large file takes 40 ms.
        """
        stamp = PrivateFile(self.path).stamp()
        if stamp is None:
            return self._parse()
        if stamp != self._last.stamp:
            self._last.remembered = self._parse()  # of this stamp or a later one, which will differ
            self._last.stamp = stamp
        return self._last.remembered

    def _parse(self) -> Remembered:
        data = PrivateFile(self.path).read(_MAX_FILE_BYTES + 1)
        if data is None:
            return Remembered()
        try:
            if len(data) > _MAX_FILE_BYTES:
                raise Malformed("it is too long")
            return read_remembered(data)
        except Malformed as error:
            raise UsageError(
                f"{self.path}, where peers and mediators are remembered, is damaged: {error}",
                advice="Move it away to meet all of them anew.",
            ) from error


def _order(peer: KnownPeer) -> tuple[bool, str, int, PeerId]:
    return peer.name is None, (peer.name or "").casefold(), peer.first_met, peer.id
