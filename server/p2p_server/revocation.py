"""Whose key was taken away while its peer is here: the folder of authorized keys, looked at again and again.

Once a second one `stat` of the folder tells whether a name in it has come or gone; then, and from time to time for
files that were written over in place, the files' own `stat` tells which of them to read. With 10 000 keys that is 2 µs,
43 ms, and 40 µs for each that is read; it is done in a thread, so that the event loop goes on meanwhile.

Who is sent away is decided by who is here, and not by what an earlier look saw: a key may come, let its peer in and go
between two looks.

A folder or a file that cannot be read takes nobody's key away. It admits nobody either, but whoever is here stays: an
operator empties the folder to send everybody away, and a file server that is gone for a minute must not do the same.
When the folder is back, whose key is missing is sent away as ever.
"""

import logging
import os
import time
from dataclasses import dataclass

from p2p_core.errors import NotPrivate
from p2p_core.identity import PeerId

from p2p_server.authorized import KeyFolder, KeysUnreadable
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
    peer: PeerId | None  # whom it admits


class KeyWatch:
    """Looks at a folder of authorized keys, and tells whose are good."""

    def __init__(self, folder: KeyFolder) -> None:
        """Look for the first time, which reads every file."""
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._signature: _Signature | None = None  # of the folder; None: it may have changed unseen
        self._looked = -_WRITTEN_OVER
        self._could_read = False
        self.look()

    @property
    def count(self) -> int:
        """How many peers are admitted, as far as was seen."""
        return len(self._good())

    @property
    def could_read(self) -> bool:
        """Whether the last look saw the folder."""
        return self._could_read

    def look(self, *, thoroughly: bool = False) -> frozenset[PeerId] | None:
        """Return the peers that are admitted; None if nothing has changed, or it cannot be told.

        `thoroughly` looks at every file. May be called in a thread, one call at a time.
        """
        now = time.monotonic()
        thoroughly = thoroughly or now >= self._looked + _WRITTEN_OVER
        try:
            self._folder.check()
            status = self._folder.path.stat()
            signature = _signature(status)
            if signature == self._signature and not thoroughly:
                return None
            with os.scandir(self._folder.path) as entries:
                found = {entry.name: self._sign(entry) for entry in entries if not entry.name.startswith(".")}
        except (OSError, NotPrivate) as error:
            self._could_read = False
            self._folder.tell_unreadable(str(error.strerror if isinstance(error, OSError) else error))
            return None
        is_settled = abs(time.time_ns() - status.st_mtime_ns) > _UNSETTLED
        could_read_all = self._take(found)
        self._signature = signature if is_settled and could_read_all else None
        self._looked, self._could_read = now, True
        return self._good()

    def is_gone(self, peer: PeerId) -> bool:
        """Whether the key of a peer that the last look did not see is not there by now either."""
        try:
            return not self._folder.admits(peer)
        except KeysUnreadable:
            return False

    def _take(self, found: dict[str, _Signature | None]) -> bool:
        """Read the files that are new or have changed; return whether all of them could be read."""
        before, files = self._files, dict[str, _File]()
        could_read_all = True
        for name, signature in sorted(found.items()):
            file = before.get(name)
            if file is None or file.signature != signature:
                try:
                    file = _File(signature, self._folder.whose(name))
                except KeysUnreadable:
                    could_read_all = False
            if file is not None:
                files[name] = file
        was_good, self._files = self._good(), files
        if could_read_all:
            self._folder.tell_unreadable(None)
        if files != before:
            good = self._good()
            read = fields(event="keys-read", count=len(good), removed=len(was_good - good))
            _log.info("looked through the folder of authorized keys", extra=read)
        return could_read_all

    def _good(self) -> frozenset[PeerId]:
        return frozenset(file.peer for file in self._files.values() if file.peer is not None)

    def _sign(self, entry: "os.DirEntry[str]") -> _Signature | None:
        try:
            return _signature(entry.stat())
        except FileNotFoundError:
            return None
        except OSError:  # which says nothing of the key in it
            file = self._files.get(entry.name)
            return None if file is None else file.signature


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_size
