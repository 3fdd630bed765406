"""Stores a transfer in a folder: verified blocks become files, files get their names, and the journal knows it first.

A file of one block is written whole, and has no name until then; one of several grows in the staging folder. Either
gets its name when all of it is verified, and the journal says so before that. So whenever this process is killed, the
next one finds each file at its place, in staging, or not at all, and knows which.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator

from p2p_core import limits
from p2p_core.errors import TransferFailed
from p2p_core.manifest import EntryKind
from p2p_core.printable import printable
from p2p_core.ranges import Ranges, each, ranges_of

from p2p_peer.transfer.block_writer import BlockWriter, Callbacks, Finished, unwritable
from p2p_peer.transfer.staging import StagedFile, Staging, Unplaced
from p2p_peer.transfer.stock import State, Stock
from p2p_peer.transfer.target import Target

__all__ = ["Callbacks", "Finished", "Sink"]

SYNC_EVERY = 5.0  # s of writing that the end of the computer, not of the process, may cost
_NOT_STORED = frozenset({State.FAILED, State.UNWANTED})
_HAS_NAME = frozenset({State.PLACED, State.OUTDATED})
_TOGETHER = 32  # whole files that one journal record speaks of: each is an open file until then


class Sink(BlockWriter):
    """Takes the blocks of one transfer into a folder. What it is given is its own from then on."""

    def __init__(
        self, target: Target, staging: Staging, stock: Stock, callbacks: Callbacks, *, in_place: bool = False
    ) -> None:
        """`stock` is what is there already. `in_place`: large files that are replaced are themselves overwritten."""
        super().__init__(target.manifest, staging.journal.ledger, callbacks)
        self._target, self._staging, self._journal = target, staging, staging.journal
        self._states, self._in_place = stock.states, in_place
        self.has_come = stock.bytes > 0 or State.PLACED in stock.states
        self._large: StagedFile | None = None  # being written
        self._large_entry = -1
        self._whole: deque[tuple[int, Unplaced]] = deque()  # files that are about to get their names
        self._first = 0  # ordinal of the first block that is written and not journaled
        self._digests = bytearray()  # of all of these
        self._synced = time.monotonic()

    def _store(self, entry: int, ordinal: int, offset: int, data: memoryview, digest: bytes) -> None:
        if self._states[entry] in _NOT_STORED:
            self._ledger.put(ordinal, digest)  # the root is over it all the same
            return
        if self._ledger.digest(ordinal) == digest:
            return
        if len(self._whole) == _TOGETHER or ordinal != self._first + len(self._digests) // limits.HASH_BYTES:
            self._commit()
        try:
            if self._manifest.block_count(entry) == 1:
                self._write_whole(entry, data)
            else:
                self._write_part(entry, ordinal, offset, data)
        except (TransferFailed, OSError) as error:
            self._lose(entry, error)
            self._ledger.put(ordinal, digest)
            return
        if not self._digests:
            self._first = ordinal
        self._digests += digest
        self.has_come = True

    def _stored(self) -> None:
        behind = self._first + len(self._digests) // limits.HASH_BYTES
        self._commit()
        if self._large is not None and behind == self._end(self._large_entry):
            self._end_large()
        if time.monotonic() - self._synced > SYNC_EVERY:
            self._synced = time.monotonic()
            self._journal.sync()

    def _end(self, entry: int) -> int:
        return self._manifest.first_block(entry) + self._manifest.block_count(entry)

    def _write_whole(self, entry: int, data: memoryview) -> None:
        """Write a file at once; it gets its name with the next `_commit`."""
        folder, mode = self._target.folder_of(entry), self._manifest.mode(entry)
        old = self._take_back(entry)
        if old is not None:
            old.remove()
        self._whole.append((entry, self._staging.write_whole(folder, data, mode, self._mtime_ns(entry))))

    def _write_part(self, entry: int, ordinal: int, offset: int, data: memoryview) -> None:
        """Write a block of a file of several."""
        if self._large is None or entry != self._large_entry:
            self._end_large()
            self._large, self._large_entry = self._open_large(entry), entry
        if self._ledger.digest(ordinal) is not None:
            self._journal.forget(ordinal, 1)
        self._large.write(data, offset)

    def _open_large(self, entry: int) -> StagedFile:
        self._target.folder_of(entry)  # if that is impossible, it is better known now than at the end
        name, file = self._staged_name(entry), self._take_back(entry)
        if file is None and entry != self._manifest.stream:
            file = self._staging.reopen(name)
            if file is None and self._in_place:
                file = self._target.take_existing(entry, self._staging, name)
        if file is None:
            self._staging.forget(name)
            first, count = self._manifest.first_block(entry), self._manifest.block_count(entry)
            if self._ledger.has_any(first, count):
                self._journal.forget(first, count)
            file = self._staging.create(name)
        return file

    def _take_back(self, entry: int) -> StagedFile | None:
        """Take its name from a file of an earlier try that is to be changed, if it is there as it was placed."""
        if self._states[entry] not in _HAS_NAME:
            return None
        self._states[entry] = State.MISSING
        return self._target.take_back(entry, self._staging, self._staged_name(entry))

    def _end_large(self) -> None:
        """No more comes of the file of several blocks: it gets its name, if it is whole; else it stays in staging."""
        self._commit()
        file, self._large = self._large, None
        if file is not None and self._ledger.has_all(self._large_entry):
            self._give_name(self._large_entry, file)
        elif file is not None:
            file.close()

    def _commit(self) -> None:
        """Journal what is written, and give whole files their names."""
        if self._digests:
            self._journal.put(self._first, bytes(self._digests))
            self._ledger.put(self._first, memoryview(self._digests))
            self._digests.clear()
        if self._whole:
            self._journal.place((entry, file.status) for entry, file in self._whole)
        while self._whole:
            entry, file = self._whole.popleft()
            try:
                self._place(entry, file)
            finally:
                file.remove()

    def _give_name(self, entry: int, file: StagedFile) -> None:
        """Give a file of several blocks its name. If the disk is at fault that there is none, it stays in staging."""
        mode, mtime_ns = self._manifest.mode(entry), self._mtime_ns(entry)
        try:
            file.complete(self._ledger.size(entry), mode, mtime_ns)
            self._journal.place([(entry, file.status)])
        except OSError as error:
            file.close()
            self._lose(entry, error)
        else:
            self._place(entry, file)
        if self._states[entry] == State.FAILED:
            file.remove()

    def _place(self, entry: int, file: Unplaced) -> None:
        try:
            self._target.place(entry, file)
            self._states[entry] = State.PLACED
            self.has_come = True  # an empty one has no blocks
        except (TransferFailed, OSError) as error:
            self._lose(entry, error)

    def _lose(self, entry: int, error: TransferFailed | OSError) -> None:
        """One entry cannot be stored; the others go on. Raises `TransferFailed` if it is none of its own fault."""
        if isinstance(error, OSError):
            what = f"{printable(self._manifest.name(entry))} cannot be written"
            if self._target.is_fatal(error):
                raise unwritable(what, error) from error
            error = unwritable(what, error)
        self._states[entry] = State.FAILED
        if entry == self._large_entry and self._large is not None:
            self._large.remove()
            self._large = None
        self._callbacks.file_failed(entry, error)

    def _drop(self, entry: int) -> None:
        if self._states[entry] not in (State.MISSING, State.OUTDATED):
            return
        self._states[entry] = State.FAILED  # until the sender has said that it leaves it out, too
        if entry == self._large_entry and self._large is not None:
            self._large.remove()
            self._large = None
        elif self._manifest.block_count(entry) > 1:
            self._staging.forget(self._staged_name(entry))

    def _finish(self, absent: Ranges) -> None:
        self._end_large()
        self._leave_out(absent)
        for entry in each(absent):
            if self._states[entry] != State.PLACED:  # what an earlier try has brought of it stays as it is
                self._states[entry] = State.UNWANTED
        kinds = self._manifest.kind
        for entry in self._missing():
            if kinds(entry) is EntryKind.FOLDER:
                self._make(entry, self._make_folder)
            elif kinds(entry) is not EntryKind.LINK:
                self._make(entry, self._finish_file)
        self._commit()
        for entry in self._missing():
            self._make(entry, self._make_link)
        for entry in reversed(range(len(self._manifest))):
            self._check_wanted()
            if kinds(entry) is EntryKind.FOLDER and self._states[entry] == State.PLACED:
                self._target.finish_folder(entry)
        self._callbacks.finished(self._finished())

    def _missing(self) -> Iterator[int]:
        for entry in range(len(self._manifest)):
            if self._states[entry] in (State.MISSING, State.OUTDATED):
                self._check_wanted()
                yield entry

    def _make(self, entry: int, make: Callable[[int], None]) -> None:
        try:
            make(entry)
        except (TransferFailed, OSError) as error:
            self._lose(entry, error)

    def _finish_file(self, entry: int) -> None:
        """Give a file its name of which no block came in this try."""
        file = self._take_back(entry) or self._staging.reopen(self._staged_name(entry))
        if file is None and self._ledger.size(entry) == 0:
            self._write_whole(entry, memoryview(b""))
            if len(self._whole) == _TOGETHER:
                self._commit()
            return
        if file is None:
            raise TransferFailed("it was removed before it was whole")
        self._give_name(entry, file)

    def _make_folder(self, entry: int) -> None:
        self._target.make_folder(entry)
        self._states[entry] = State.PLACED

    def _make_link(self, entry: int) -> None:
        self._target.make_link(entry, self._staging)
        self._states[entry] = State.PLACED

    def _finished(self) -> Finished:
        manifest, states = self._manifest, self._states
        stored = [entry for entry in range(len(manifest)) if states[entry] == State.PLACED and manifest.is_file(entry)]
        return Finished(
            self._ledger.root(),
            ranges_of(entry for entry in range(len(manifest)) if states[entry] == State.FAILED),
            tuple(self._target.path(entry) for entry in manifest.top_level() if states[entry] == State.PLACED),
            len(stored),
            sum(map(self._ledger.size, stored)),
            self._ledger,
        )

    def _mtime_ns(self, entry: int) -> int | None:
        """When a file was changed last, if the sender can know: of a stream it cannot."""
        return None if entry == self._manifest.stream else self._manifest.mtime_ns(entry)

    def _staged_name(self, entry: int) -> str:
        return self._staging.name_for(self._manifest.path(entry))

    def _close(self) -> None:
        for _, file in self._whole:
            file.remove()
        if self._large is not None:
            with contextlib.suppress(OSError):  # whatever is wrong now, the transfer was given up for it already
                self._large.close()
        if not (self._is_kept and self.has_come):
            self._staging.remove()
        self._staging.close()
        self._target.close()
