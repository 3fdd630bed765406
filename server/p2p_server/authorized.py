"""Which peers are admitted: a folder with one public key for each, `<peer id>.pem`.

A peer's file is read anew each time the peer proves itself, so adding and removing a key works at once, whatever
the file system's clock does. What becomes of those who are here when their key is removed: `revocation`.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from p2p_core.errors import KeyLocked, UsageError
from p2p_core.identity import PeerId, RSAPublicKey, load_public_key, public_pem

from p2p_server.files import place, read
from p2p_server.logs import fields

__all__ = ["SUFFIX", "Admits", "KeyFolder", "admit_anyone", "authorize"]

Admits = Callable[[PeerId], bool]

SUFFIX = ".pem"

_log = logging.getLogger(__name__)


def admit_anyone(_peer: PeerId) -> bool:
    """Admit every key that proves itself (`--open`)."""
    return True


class KeyFolder:
    """The folder of authorized keys, file by file."""

    def __init__(self, path: Path) -> None:
        """Admit whose keys lie in `path`. While it does not exist, nobody is admitted."""
        self.path = path
        self._warned: dict[str, str] = {}

    def admits(self, peer: PeerId) -> bool:
        """Whether the public key of `peer` lies in the folder, under its name."""
        name = f"{peer}{SUFFIX}"
        return os.path.exists(self.path / name) and self.is_good(name)  # which raises nothing, as Path.exists does

    def is_good(self, name: str) -> bool:
        """Whether a file admits the peer it is named after; warn of one that does not. May be called in a thread."""
        problem = _problem(self.path / name)
        if problem is None:
            self._warned.pop(name, None)
        elif self._warned.get(name) != problem:
            self._warned[name] = problem
            _log.warning(
                "a file in the folder of authorized keys is passed over",
                extra=fields(event="key-passed-over", file=name, why=problem),
            )
        return problem is None


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
            path = folder / f"{peer}{SUFFIX}"
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


def _problem(path: Path) -> str | None:
    """Say why a file admits nobody; None if it admits the peer it is named after."""
    try:
        peer = PeerId.of(load_public_key(read(path)))
    except UsageError as error:
        return str(error)
    return None if path.name == f"{peer}{SUFFIX}" else "it is not named after the peer id of its key"
