"""Whose key was taken away while its peer is here: the folder of authorized keys, looked at again and again.

Once a second one `stat` of the folder tells whether a name in it has come or gone; then, and from time to time for
files that were written over in place, the files' own `stat` tells which of them to read. With 10 000 keys that is 2 µs,
43 ms, and 40 µs for each that is read; it is done in a thread, so that the event loop goes on meanwhile.

A folder that cannot be read takes nobody's key away. It admits nobody either, but whoever is here stays: an operator
empties the folder to send everybody away, and a file server that is gone for a minute must not do the same. When the
folder is back, whose key is missing is sent away as ever.
"""

import logging
import os
import time
from dataclasses import dataclass

from p2p_core.identity import PeerId

from p2p_server.authorized import SUFFIX, KeyFolder
from p2p_server.logs import fields

__all__ = ["KeyWatch"]

_UNSETTLED = 2_000_000_000  # ns; two changes within one tick of the file system's clock look like one
_WRITTEN_OVER = 15.0  # s between looks at all files; 10 000 of them cost 0.3 % of a core

_Signature = tuple[int, ...]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was when it was read."""

    signature: _Signature | None  # None: it is a link to nowhere
    is_good: bool  # it admits the peer it is named after


class KeyWatch:
    """Looks at a folder of authorized keys, and tells what was taken away since the last look."""

    def __init__(self, folder: KeyFolder) -> None:
        """Look for the first time, which reads every file."""
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._signature: _Signature | None = None  # of the folder; None: it may have changed unseen
        self._looked = -_WRITTEN_OVER
        self._problem: str | None = None
        self.look()

    @property
    def count(self) -> int:
        """How many peers are admitted, as far as was seen."""
        return sum(file.is_good for file in self._files.values())

    @property
    def could_read(self) -> bool:
        """Whether the last look saw the folder."""
        return self._problem is None

    def look(self, *, thoroughly: bool = False) -> frozenset[PeerId]:
        """Return the peers that were admitted at the last look, and are no more; `thoroughly` looks at every file.

        May be called in a thread, one call at a time.
        """
        now = time.monotonic()
        thoroughly = thoroughly or now >= self._looked + _WRITTEN_OVER
        try:
            status = self._folder.path.stat()
            signature = _signature(status)
            if signature == self._signature and not thoroughly:
                return frozenset()
            with os.scandir(self._folder.path) as entries:
                found = {entry.name: self._sign(entry) for entry in entries if not entry.name.startswith(".")}
        except OSError as error:
            self._tell_unreadable(str(error.strerror))
            return frozenset()
        is_settled = abs(time.time_ns() - status.st_mtime_ns) > _UNSETTLED
        self._signature, self._looked, self._problem = signature if is_settled else None, now, None
        return self._take(found)

    def _take(self, found: dict[str, _Signature | None]) -> frozenset[PeerId]:
        """Read the files that are new or have changed."""
        before = self._files
        self._files = {
            name: file
            if (file := before.get(name)) is not None and file.signature == signature
            else _File(signature, self._folder.is_good(name))
            for name, signature in sorted(found.items())
        }
        good = {name for name, file in self._files.items() if file.is_good}
        gone = {name for name, file in before.items() if file.is_good} - good
        if self._files != before:
            read = fields(event="keys-read", count=len(good), removed=len(gone))
            _log.info("looked through the folder of authorized keys", extra=read)
        return frozenset(PeerId.parse(name.removesuffix(SUFFIX)) for name in gone)

    def _sign(self, entry: "os.DirEntry[str]") -> _Signature | None:
        try:
            return _signature(entry.stat())
        except FileNotFoundError:
            return None
        except OSError:  # which says nothing of the key in it
            file = self._files.get(entry.name)
            return None if file is None else file.signature

    def _tell_unreadable(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            unreadable = fields(event="keys-unreadable", why=problem)
            _log.warning("cannot read the folder of authorized keys; nobody else is admitted", extra=unreadable)


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
