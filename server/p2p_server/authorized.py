"""Which peers are admitted: a folder with one public key for each, `<peer id>.pem`.

A peer's file is read anew each time the peer proves itself, so adding and removing a key works at once, whatever
the file system's clock does. The whole folder is looked through only to warn about files that admit nobody.
"""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from p2p_core.errors import KeyLocked, UsageError
from p2p_core.identity import PeerId, RSAPublicKey, load_public_key, public_pem

from p2p_server.files import place, read

__all__ = ["Admits", "KeyFolder", "admit_anyone", "authorize"]

Admits = Callable[[PeerId], bool]

_SUFFIX = ".pem"
_Signature = tuple[int, int, int]

_log = logging.getLogger(__name__)


def admit_anyone(_peer: PeerId) -> bool:
    """Admit every key that proves itself (`--open`)."""
    return True


class KeyFolder:
    """The folder of authorized keys."""

    def __init__(self, folder: Path) -> None:
        """Look through `folder` for the first time. While it does not exist, nobody is admitted."""
        self._folder = folder
        self._seen: _Signature | str = ""  # as the folder was when it was looked through; a str says why it was not
        self._names: set[str] = set()
        self._problems: dict[str, str] = {}
        self._look()

    @property
    def is_empty(self) -> bool:
        """Whether there is no key in it, as far as was seen."""
        return not self._names - self._problems.keys()

    def admits(self, peer: PeerId) -> bool:
        """Whether the public key of `peer` lies in the folder, under its name."""
        self._look()
        path = self._folder / f"{peer}{_SUFFIX}"
        if not path.exists():
            return False
        problem = _problem(path)
        if problem is not None:
            self._warn(path.name, problem)
        return problem is None

    def _look(self) -> None:
        """Warn about files that admit nobody, if the folder has changed since the last time.

        Only names that are new, or were warned of, are read: a folder of ten thousand keys holds nobody up.
        """
        try:
            status = self._folder.stat()
            signature = (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            if signature == self._seen:
                return
            names = {name for name in os.listdir(self._folder) if not name.startswith(".")}
        except OSError as error:
            if error.strerror != self._seen:
                _log.warning("cannot read the folder of authorized keys: %s; nobody is admitted", error.strerror)
            self._seen = str(error.strerror)
            return
        doubtful = (names - self._names) | (names & self._problems.keys())
        self._seen, self._names = signature, names
        problems = {
            name: problem for name in sorted(doubtful) if (problem := _problem(self._folder / name)) is not None
        }
        for name, problem in problems.items():
            self._warn(name, problem)
        self._problems = problems
        _log.info("authorized keys: %d", len(names) - len(problems))

    def _warn(self, name: str, problem: str) -> None:
        if self._problems.get(name) != problem:
            _log.warning("%s in the folder of authorized keys is passed over: %s", name, problem)
            self._problems[name] = problem


def authorize(folder: Path, sources: list[Path]) -> list[tuple[PeerId, Path]]:
    """File the public key in each PEM under its peer id; return the ids and where they are.

    A source is a public key, a certificate or a key pair, of which only the public half is written. Raises
    `UsageError` before anything is written if one of them is none of these.
    """
    keys = [_read_source(source) for source in sources]
    filed = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for key in keys:
            peer = PeerId.of(key)
            path = folder / f"{peer}{_SUFFIX}"
            place(path, public_pem(key), 0o644)
            filed.append((peer, path))
    except OSError as error:
        advice = "Name a folder that you may write to, with --authorized."
        raise UsageError(f"cannot write to {folder}: {error.strerror}", advice=advice) from None
    return filed


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
    return None if path.name == f"{peer}{_SUFFIX}" else "it is not named after the peer id of its key"
