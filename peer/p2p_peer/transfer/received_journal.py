"""The receiver's journal: which blocks are verified and written, and which files have their names.

It lies in the staging folder of its transfer, as `journal`, and goes with it. docs/protocol/transfer.md.
"""

import contextlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator

from blake3 import blake3
from p2p_core import fields
from p2p_core.identity import PeerId
from p2p_core.journaled import Journaled, Replay
from p2p_core.ledger import Ledger
from p2p_core.manifest import Manifest
from p2p_core.safe_names import STAGING_PREFIX
from p2p_core.wire.journal import Begin, Blocks, Boot, Files, Forgotten, JournalUnusable, Name, Record, Side, file_id

from p2p_peer.transfer.journal import Journal
from p2p_peer.transfer.on_disk import boot_id, sync_file_system

__all__ = ["JOURNAL", "ReceivedJournal", "staging_names"]

_log = logging.getLogger(__name__)

JOURNAL = "journal"
_LABEL = "punchwire staging folder v1"
_NAMES = 16  # staging folders tried: each before the right one is in use, or of another version of Punchwire


def staging_names(peer: PeerId, manifest: Manifest) -> Iterator[str]:
    """Yield the names to try for the staging folder of what `peer` offers, the best first.

    The next one is to be taken when the journal in a folder is in use (`open` returns None) or unusable (it raises
    `JournalUnusable`): that transfer's things are left alone, and the new one begins beside it.
    """
    names = sorted(manifest.name(entry).encode() for entry in manifest.top_level())
    digest = blake3(fields.encode(_LABEL, peer, *names)).hexdigest(8)
    yield f"{STAGING_PREFIX}{digest}"
    for number in range(1, _NAMES):
        yield f"{STAGING_PREFIX}{digest}-{number}"


class ReceivedJournal:
    """What an earlier try of the same transfer left, and a record of this one. Belongs to the writing thread.

    The order of calls keeps the journal true at every moment:

    - `forget` before a known block is overwritten with another, or when it turns out not to be there
    - write the block, then `put` its digest
    - `place` before files get their names and when folders are made, `name` before anything is made under that name
    - `sync` every now and then; what was not synced is lost when the computer, not the process, comes to its end
    """

    def __init__(self, journal: Journal, known: Journaled) -> None:
        self._journal, self._known = journal, known

    @classmethod
    def open(
        cls, staging: int, peer: PeerId, manifest: Manifest, *, boot: bytes | None = None
    ) -> "ReceivedJournal | None":
        """Open the journal in an open staging folder, or begin one there. May take as long as a disk takes to sync.

        `staging` is not closed here, and has to stay open until `close`. None: another transfer has the journal.
        Raises `JournalUnusable` for one that is of another transfer or version, or no journal; `OSError` when it cannot
        be written.
        """
        begin = Begin(Side.RECEIVED, peer, manifest.block_size)
        boot = boot_id() if boot is None else boot
        replay = Replay(begin, manifest)
        try:
            journal = Journal.open(staging, JOURNAL, replay.take)
        except JournalUnusable as error:
            _log.warning("the journal of an earlier transfer is left alone: %s", error)
            raise
        if journal is None:
            return None
        try:
            known = replay.finish(boot)
            if replay.is_same:
                journal.append(Boot(boot))
            else:  # the numbers of blocks are others: what holds of them is written down anew, as being on the disk
                if any(known.ledger.known_runs()):
                    sync_file_system(staging)
                journal.replace(_all(begin, known, boot), synced=True)
        except BaseException:
            journal.close()
            raise
        return cls(journal, known)

    @property
    def ledger(self) -> Ledger:
        """The digests of the blocks that are there, as the journal says: whether the files are is for the caller."""
        return self._known.ledger

    @property
    def names(self) -> dict[int, str]:
        """The names that entries were given."""
        return self._known.names

    def was_placed(self, entry: int) -> bool:
        """Whether a file had its name, or was about to get it."""
        return self._known.file(entry) is not None

    def is_placed(self, entry: int, status: os.stat_result) -> bool:
        """Whether `status` is that of the very file that was given its name there, and nobody has written to it since.

        A file that was, and is not so any more, is the user's; and one that is in staging still has no name yet. Of a
        folder it is enough that it is the same one.
        """
        return self._known.file(entry) == _file_id(status)

    def name(self, entry: int, name: str) -> None:
        """Note the name that an entry gets. Raises `OSError`, as all the following do."""
        self._known.set_name(entry, name)
        self._journal.append(Name(entry, name))

    def put(self, first: int, digests: bytes) -> None:
        """Note that consecutive blocks are verified and written. It is not put into `ledger`."""
        self._journal.append(Blocks(first, digests))

    def place(self, files: Iterable[tuple[int, os.stat_result]]) -> None:
        """Note which files are about to get their names. `files`: entries, each with its status, times set already."""
        ids = tuple((entry, _file_id(status)) for entry, status in files)
        for entry, is_file in ids:
            self._known.set_file(entry, is_file)
        self._journal.append(Files(ids))

    def forget(self, first: int, count: int) -> None:
        """Note that blocks do not count any more, neither here nor in `ledger`, and see that this is on the disk.

        Without that, a block that is half overwritten could be taken for what was there before.
        """
        self.ledger.forget(first, count)
        self._journal.append(Forgotten(first, count))
        self._journal.put_on_disk()

    def sync(self) -> None:
        """Begin to put everything on the disk, all received files too. Returns at once; one at a time."""
        self._journal.sync()

    def close(self) -> None:
        """Close it, for a later try. May be called again."""
        self._journal.close()

    def remove(self) -> None:
        """Close and remove it: the transfer is done, or nobody wants it."""
        with contextlib.suppress(OSError):  # as the rest of staging, it can only be in the way then
            self._journal.remove()


def _all(begin: Begin, known: Journaled, boot: bytes) -> Iterator[Record]:
    yield begin
    yield Boot(boot)
    yield from known.records()


def _file_id(status: os.stat_result) -> bytes:
    if stat.S_ISDIR(status.st_mode):  # what gets into it changes its size and time
        return file_id(status.st_ino, 0, 0)
    return file_id(status.st_ino, status.st_size, status.st_mtime_ns)
