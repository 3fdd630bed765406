"""The sender's journal: the digests of what it has read, so that an unchanged file is not read again to be skipped.

One file for each thing that is being sent, in STATE_DIR/sending; it goes when that has arrived, or gets old. A transfer
goes on without one when it cannot be had. docs/protocol/transfer.md.
"""

import contextlib
import fcntl
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from blake3 import blake3
from p2p_core import fields, limits
from p2p_core.errors import NotPrivate
from p2p_core.identity import PeerId
from p2p_core.journaled import Journaled, Replay
from p2p_core.ledger import Ledger
from p2p_core.manifest import Manifest
from p2p_core.wire.journal import Begin, Blocks, Files, Forgotten, JournalUnusable, Record, Side, file_id

from p2p_peer.private_file import check_our_folder, make_folder
from p2p_peer.transfer.journal import Journal

__all__ = ["SentJournal", "clear_old", "journal_names"]

_log = logging.getLogger(__name__)

_FOLDER = "sending"
_LABEL = "punchwire sent journal v1"
_NAMES = 16  # tried: those before the right one are of another version of Punchwire, or no journals
_NAME = re.compile(r"[0-9a-f]{16}(-[0-9]+)?\.journal(\.new)?")
_KEPT = 30 * 24 * 3600  # s
# A file that is written to within one tick of its file system's clock looks the same before and after (git's racy
# problem); FAT has the longest ticks, of 2 s.
_TICK_NS = 2 * 10**9

# What is known of an entry's file.
_UNREAD, _EARLIER, _HOLDS, _STEADY, _TOO_YOUNG = range(5)


class SentJournal:
    """What an earlier try of the same transfer read, and a record of this one. Belongs to the reading thread."""

    def __init__(self, folder: int, journal: Journal, known: Journaled, clock: Callable[[], int]) -> None:
        self._folder, self._known, self._clock = folder, known, clock
        self._journal: Journal | None = journal
        self._states = bytearray(len(known.manifest))
        for entry in range(len(known.manifest)):
            if known.file(entry):
                self._states[entry] = _EARLIER

    @classmethod
    def open(
        cls,
        state_dir: Path,
        peer: PeerId,
        paths: Sequence[bytes],
        manifest: Manifest,
        clock: Callable[[], int] = time.time_ns,
    ) -> "SentJournal | None":
        """Open the journal of sending `paths`, absolute as `os.fsencode` gives them, to `peer`; or begin one.

        Old ones of other transfers are cleared away. None: there is none to be had, which has been logged.
        `clock` gives ns since 1970.
        """
        try:
            clear_old(state_dir, clock)
            path = state_dir / _FOLDER
            make_folder(path)
            check_our_folder(state_dir)
            check_our_folder(path)
            folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, NotPrivate) as error:
            _log.warning("what is sent is not journaled: %s", error)
            return None
        opened = None
        try:
            opened = _open_first(
                folder, journal_names(peer, paths), Begin(Side.SENT, peer, manifest.block_size), manifest
            )
        except OSError as error:
            _log.warning("what is sent is not journaled: %s", error)
        finally:
            if opened is None:
                os.close(folder)
        return None if opened is None else cls(folder, *opened, clock)

    @property
    def ledger(self) -> Ledger:
        """The digests that an earlier try journaled. Those of a file hold once `begin_file` has said so."""
        return self._known.ledger

    def begin_file(self, entry: int, status: os.stat_result) -> bool:
        """A file is open and about to be read: say whether its digests in `ledger` still hold.

        Has to be called before the file is read, with its status then; else what is read of it is not journaled. May be
        called again before any further block: a file that was too young to be journaled gets older.
        """
        now = file_id(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        state = self._states[entry]
        if self._known.file(entry) == now and state in (_EARLIER, _HOLDS):
            self._states[entry] = _HOLDS
            return True
        if state in (_EARLIER, _HOLDS):
            self._forget(entry)
        self._known.set_file(entry, now)
        is_steady = max(status.st_mtime_ns, status.st_ctime_ns) + _TICK_NS < self._clock()
        self._states[entry] = _STEADY if is_steady else _TOO_YOUNG
        return False

    def put(self, first: int, digests: bytes) -> None:
        """Note the digests of consecutive blocks that were read. They are not put into `ledger`.

        A single one that an earlier try journaled is not journaled again.
        """
        if digests == self.ledger.digest(first):
            return
        manifest = self._known.manifest
        end = min(first + len(digests) // limits.HASH_BYTES, manifest.blocks)  # a stream cannot be read again
        if self._journal is None or first >= end:
            return
        ids: list[tuple[int, bytes]] = []
        runs: list[tuple[int, int]] = []  # first block, and the one behind the last
        ordinal, entry = first, manifest.entry_of(first)
        while ordinal < end:
            until = min(end, manifest.first_block(entry) + manifest.block_count(entry))
            if until > ordinal and self._states[entry] in (_HOLDS, _STEADY):
                start = runs.pop()[0] if runs and runs[-1][1] == ordinal else ordinal
                runs.append((start, until))
                if self._states[entry] == _STEADY and (is_file := self._known.file(entry)):
                    ids.append((entry, is_file))
                    self._states[entry] = _HOLDS
            ordinal = until
            entry += 1
        records: list[Record] = [Files(tuple(ids))] if ids else []
        for start, stop in runs:
            at, until = (start - first) * limits.HASH_BYTES, (stop - first) * limits.HASH_BYTES
            records.append(Blocks(start, digests[at:until]))
        self._append(*records)

    def close(self) -> None:
        """Close it, for a later try. May be called again."""
        if self._journal is not None:
            self._journal.close()
        self._journal = None
        folder, self._folder = self._folder, -1
        if folder >= 0:
            os.close(folder)

    def remove(self) -> None:
        """Close and remove it: everything has arrived, or nobody wants it."""
        if self._journal is not None:
            with contextlib.suppress(OSError):  # it gets old then
                self._journal.remove()
        self.close()

    def _forget(self, entry: int) -> None:
        first, count = self._known.manifest.first_block(entry), self._known.manifest.block_count(entry)
        self.ledger.forget(first, count)
        self._append(Forgotten(first, count))

    def _append(self, *records: Record) -> None:
        """Write records, or no more of them: a full disk here is no reason to end a transfer."""
        if self._journal is None or not records:
            return
        try:
            self._journal.append(*records)
        except OSError as error:
            _log.warning("what is sent is not journaled any more: %s", error.strerror)
            self._journal.close()
            self._journal = None


def clear_old(state_dir: Path, clock: Callable[[], int] = time.time_ns) -> None:
    """Remove the journals of transfers that nobody has gone on with for 30 days, unless they are open."""
    try:
        folder = os.open(state_dir / _FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        for name in os.listdir(folder):
            if _NAME.fullmatch(name):
                with contextlib.suppress(OSError):
                    _clear_if_old(folder, name, clock() // 10**9 - _KEPT)
    finally:
        os.close(folder)


def _clear_if_old(folder: int, name: str, oldest: int) -> None:
    """Remove a file that was not written to since `oldest`, s since 1970. Raises `OSError`."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        if os.fstat(descriptor).st_mtime < oldest:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(name, dir_fd=folder)
    finally:
        os.close(descriptor)


def journal_names(peer: PeerId, paths: Sequence[bytes]) -> Iterator[str]:
    """Yield the names to try for the journal of sending `paths` to `peer`, the best first."""
    digest = blake3(fields.encode(_LABEL, peer, *paths)).hexdigest(8)
    yield f"{digest}.journal"
    for number in range(1, _NAMES):
        yield f"{digest}-{number}.journal"


def _open_first(
    folder: int, names: Iterable[str], begin: Begin, manifest: Manifest
) -> tuple[Journal, Journaled] | None:
    """Open the first journal that can be used. None if another process has it. Raises `OSError`."""
    for name in names:
        try:
            return _open(folder, name, begin, manifest)
        except JournalUnusable as error:
            _log.warning("%s in the state folder is left alone: %s", name, error)
    return None


def _open(folder: int, name: str, begin: Begin, manifest: Manifest) -> tuple[Journal, Journaled] | None:
    """Open one journal or begin it. Raises `JournalUnusable` or `OSError`."""
    replay = Replay(begin, manifest)
    journal = Journal.open(folder, name, replay.take)
    if journal is None:
        return None
    try:
        known = replay.finish()
        if not replay.is_same:  # the numbers of blocks are others
            journal.replace((begin, *known.records()))
    except BaseException:
        journal.close()
        raise
    return journal, known
