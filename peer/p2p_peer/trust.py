"""Mediators this user has met, by the name they were dialled under: trust on first use, as ssh does it.

One JSON file, 0600 in a folder 0700, replaced atomically.
"""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from p2p_core.errors import Malformed, UsageError
from p2p_core.identity import PeerId

from p2p_peer.regular_files import read_start

__all__ = ["MediatorId", "TrustStore", "default_state_dir"]

_FILE = "known_mediators.json"
_ANOTHER_FOLDER = "Give --state-dir a folder that you may write to."
_MAX_FILE_BYTES = 1024 * 1024  # 3000 mediators with the longest names there are
_LOCK_STEP = 0.05  # s between two tries
_LOCK_TRIES = 20  # one second: others hold it for milliseconds, and no signal is heard meanwhile

# A mediator id is made and printed as a peer id is: SHA-256 of a SubjectPublicKeyInfo.
MediatorId = PeerId


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
                "there is no home folder to remember mediators in", advice="Name a folder for it with --state-dir."
            ) from error
    return base / "punchwire"


@dataclass(frozen=True, slots=True)
class TrustStore:
    """The mediators remembered in the folder that was chosen, or else in `default_state_dir`."""

    chosen: Path | None = None

    @property
    def folder(self) -> Path:
        """The folder. Raises `UsageError` when none was chosen and there is no other."""
        return self.chosen or default_state_dir()

    def known(self, name: str) -> MediatorId | None:
        """Return the mediator id remembered for `name` ("host:port"). Raises `UsageError` for a damaged file."""
        return self._parse(self._read().get(name))

    def remember(self, name: str, mediator: MediatorId) -> MediatorId | None:
        """Remember `mediator` under `name`, and return the other id that was remembered for it until now.

        Raises `UsageError` when the file is damaged or cannot be written.
        """
        if self.known(name) == mediator:
            return None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._alone():
                entries = self._read()
                before = self._parse(entries.get(name))
                if before == mediator:
                    return None
                entries[name] = str(mediator)
                self._replace(json.dumps(entries, indent=2, sort_keys=True))
                return before
        except OSError as error:
            raise UsageError(f"{self.folder} cannot be written to: {error.strerror}", advice=_ANOTHER_FOLDER) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Let no other process write between what this one reads and what it writes, if that can be had soon.

        Without it two first connections in the same moment may forget one another's mediator, which is then met anew.
        That is no reason to wait for whoever holds the lock: anybody who may read the folder can take it for good.
        """
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _try_to_lock(descriptor)
            yield
        finally:
            os.close(descriptor)

    def _replace(self, text: str) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=_FILE)  # mkstemp makes it 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            Path(temporary).replace(self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / _FILE

    def _read(self) -> dict[str, str]:
        try:
            data = read_start(self.path, _MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}", advice=_ANOTHER_FOLDER) from error
        if len(data) > _MAX_FILE_BYTES:
            raise self._damaged()
        try:
            entries = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError) as error:  # the latter for brackets in brackets in brackets
            raise self._damaged() from error
        if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
            raise self._damaged()
        return entries

    def _parse(self, text: str | None) -> MediatorId | None:
        try:
            return None if text is None else MediatorId.parse(text)
        except Malformed as error:
            raise self._damaged() from error

    def _damaged(self) -> UsageError:
        return UsageError(
            f"{self.path}, where mediators are remembered, is damaged", advice="Remove it to meet mediators anew."
        )


def _try_to_lock(descriptor: int) -> None:
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sleep(_LOCK_STEP)
        except OSError:  # some file systems, over a network, have no locks on folders
            return
        else:
            return
