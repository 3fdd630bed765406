"""Which peers are admitted: a folder with one public key for each, `<peer id>.pem`.

A peer's file is read anew each time the peer proves itself, so adding and removing a key works at once, whatever
the file system's clock does. What becomes of those who are here when their key is removed: `revocation`.
"""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

from p2p_core.errors import KeyLocked, NotPrivate, UsageError
from p2p_core.identity import PeerId, RSAPublicKey, load_public_key, public_pem
from p2p_core.private_files import check_only_owner_writes

from p2p_server.files import Unreadable, check_folder, is_lasting, place, read
from p2p_server.logs import fields

__all__ = ["Admits", "KeyFolder", "KeysUnreadable", "admit_anyone", "authorize"]

Admits = Callable[[PeerId], bool]
"""Whether a peer is admitted. Raises `KeysUnreadable`."""

_SUFFIX = ".pem"
_PEER = re.compile(r"[a-z2-7]{52}")  # a peer id, in the name of a file

_log = logging.getLogger(__name__)


class KeysUnreadable(Exception):
    """It cannot be told now whether a peer is admitted: a disk, a file server or our own descriptors fail.

    Or others may write to the folder, so that nothing in it is believed.
    """


def admit_anyone(_peer: PeerId) -> bool:
    """Admit every key that proves itself (`--open`)."""
    return True


class KeyFolder:
    """The folder of authorized keys, file by file."""

    def __init__(self, path: Path) -> None:
        """Admit whose keys lie in `path`. While it does not exist, nobody is admitted."""
        self.path = path
        self._warned: dict[str, str] = {}
        self._unreadable: str | None = None

    def check(self) -> None:
        """Raise `NotPrivate` when others than the folder's owner could admit keys. Raises `OSError`."""
        check_folder(self.path, is_ours=False)

    def admits(self, peer: PeerId) -> bool:
        """Whether the public key of `peer` lies in the folder, under its name. Raises `KeysUnreadable`."""
        name = f"{peer}{_SUFFIX}"
        try:
            check_only_owner_writes(self.path, os.stat(self.path))  # what is above is looked at by `check`
            os.stat(self.path / name)
        except NotPrivate as error:
            self.tell_unreadable(str(error))
            raise KeysUnreadable from None
        except OSError as error:
            if is_lasting(error):
                return False
            self.tell_unreadable(str(error.strerror))
            raise KeysUnreadable from None
        return self.whose(name) == peer

    def whose(self, name: str) -> PeerId | None:
        """Return which peer a file admits; warn of one that admits nobody. May be called in a thread.

        Raises `KeysUnreadable`, and tells why.
        """
        problem: str | None = None
        peer: PeerId | None = None
        try:
            peer = PeerId.of(load_public_key(read(self.path / name)))
        except Unreadable as error:
            problem = error.why
            if not error.is_lasting:
                self.tell_unreadable(problem)
                raise KeysUnreadable from None
        except UsageError as error:
            problem = str(error)
        if peer is not None and name != f"{peer}{_SUFFIX}":
            peer, problem = None, "it is not named after the peer id of its key"
        self._warn(name, problem)
        return peer

    def tell_unreadable(self, why: str | None) -> None:
        """Warn that keys cannot be read; once for each reason, until all of them could be: None."""
        if why is not None and why != self._unreadable:
            _log.warning(
                "authorized keys cannot be read; whose key it is is neither admitted nor sent away",
                extra=fields(event="keys-unreadable", why=why),
            )
        self._unreadable = why

    def _warn(self, name: str, problem: str | None) -> None:
        if problem is None:
            self._warned.pop(name, None)
        elif self._warned.get(name) != problem:
            self._warned[name] = problem
            peer = _PEER.search(name)
            _log.warning(
                "a file in the folder of authorized keys is passed over",
                extra=fields(
                    event="key-passed-over",
                    peer=peer.group() if peer else None,
                    file=None if peer else name,
                    why=problem,
                ),
            )


def authorize(folder: Path, sources: list[Path]) -> list[tuple[PeerId, Path]]:
    """File the public key in each PEM under its peer id; return the ids and where they are.

    A source is a public key, a certificate or a key pair, of which only the public half is written. Raises
    `UsageError` before anything is written if one of them is none of these.
    """
    keys = [_read_source(source) for source in sources]
    filed = []
    try:
        _make(folder)
        for key in keys:
            peer = PeerId.of(key)
            path = folder / f"{peer}{_SUFFIX}"
            place(path, public_pem(key), 0o644)
            filed.append((peer, path))
    except OSError as error:
        advice = "Name a folder that you may write to, with --authorized."
        raise UsageError(f"cannot write to {folder}: {error.strerror}", advice=advice) from None
    return filed


def _make(folder: Path) -> None:
    """Make a folder and those above it, for everybody to read: the mediator is often another user than this one."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)  # whatever the umask


def _read_source(source: Path) -> RSAPublicKey:
    data = read(source)
    try:
        return load_public_key(data)
    except KeyLocked:
        raise UsageError(
            f"{source} is a key pair that is locked with a passphrase", advice="Give its public key, public.pem."
        ) from None
    except UsageError as error:
        raise type(error)(f"{source}: {error}", advice=error.advice) from None
