"""The file that a journal is in: one process has it, each append is one write, and a sync goes on beside them.

Its format is that of `p2p_core.wire.journal`. What its records mean is for `received_journal` and `sent_journal`.
"""

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable

from p2p_core.wire.journal import SALT_BYTES, JournalReader, JournalUnusable, JournalWriter, Record, Synced

from p2p_peer.transfer.on_disk import sync_file_system

__all__ = ["Journal"]

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1024 * 1024  # bytes read, or about as many written, at once
_RECORDS_AT_ONCE = 64  # when a whole journal is written: most are a few KiB
_OPENINGS = 10  # tries to get a file that is not just being replaced


class Journal:
    """An open journal. Belongs to one thread, but for what `sync` begins."""

    def __init__(self, folder: int, name: str, descriptor: int) -> None:
        self._folder, self._name, self._descriptor = folder, name, descriptor
        self._writer = JournalWriter(b"")
        self._end = 0
        self._lock = threading.Lock()
        self._syncing = False

    @classmethod
    def open(cls, folder: int, name: str, take: Callable[[Record, int], None]) -> "Journal | None":
        """Open or make the file `name` in an open folder, and give `take` every record that counts and where it ends.

        `folder` has to stay open as long as the journal; it is not closed here. None: another process, or another
        transfer of this one, has the journal open. Raises `JournalUnusable`, and leaves what is there alone, when it is
        something else or `take` raises it; `OSError` when it cannot be opened, made or read.
        """
        descriptor = _open_locked(folder, name)
        if descriptor is None:
            return None
        journal = cls(folder, name, descriptor)
        try:
            journal._read(take)
        except BaseException:
            journal.close()
            raise
        return journal

    def append(self, *records: Record) -> None:
        """Write records behind all others, in one write. Raises `OSError`; then none of them is in the journal."""
        with self._lock:
            self._append(records)

    def replace(self, records: Iterable[Record], *, synced: bool = False) -> None:
        """Write a journal of these records in place of this one, at once or not at all. Raises `OSError`.

        `synced`: what they speak of is on the disk. No sync may be under way.
        """
        new = f"{self._name}.new"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=self._folder)
        descriptor = os.open(new, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self._folder)
        journal = Journal(self._folder, new, descriptor)
        try:
            _lock(descriptor)
            journal._write_all(records, synced=synced)
            if self._end:  # else there is nothing to lose
                os.fsync(descriptor)
            with self._lock:
                os.rename(new, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        except BaseException:
            os.close(descriptor)
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=self._folder)
            raise
        with self._lock:
            os.close(self._descriptor)
            self._descriptor, self._writer, self._end = descriptor, journal._writer, journal._end

    def put_on_disk(self) -> None:
        """Put what has been appended on the disk, and only the journal itself. Raises `OSError`."""
        os.fsync(self._descriptor)

    def sync(self) -> None:
        """Begin to put all of the file system on the disk, in a thread; when it is there, the journal says so.

        Does nothing while one is under way. Nobody has to wait for it: closing the journal cuts it off.
        """
        if self._syncing:
            return
        self._syncing = True
        descriptor = os.dup(self._folder)  # not the journal's own: that would keep it locked
        threading.Thread(target=self._sync, args=(descriptor, self._end), name="sync", daemon=True).start()

    def close(self) -> None:
        """Close the file; another process may open it now. May be called again."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
            if descriptor >= 0:
                os.close(descriptor)

    def remove(self) -> None:
        """Close the file and remove it, if nobody else did. Raises `OSError`."""
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._name, dir_fd=self._folder)
        finally:
            self.close()

    def _read(self, take: Callable[[Record, int], None]) -> None:
        reader = JournalReader()
        while data := os.read(self._descriptor, _PIECE):
            for record in reader.receive(data):
                take(record, reader.end)
        self._end, self._writer = reader.end, JournalWriter(reader.link)
        if os.fstat(self._descriptor).st_size > self._end:
            os.ftruncate(self._descriptor, self._end)

    def _write_all(self, records: Iterable[Record], *, synced: bool) -> None:
        salt = secrets.token_bytes(SALT_BYTES)
        self._writer = JournalWriter(salt)
        self._write(JournalWriter.start(salt))
        some: list[Record] = []
        for record in records:
            some.append(record)
            if len(some) == _RECORDS_AT_ONCE:
                self._append(some)
                some.clear()
        self._append(some)
        if synced:
            self._append([Synced(self._end)])

    def _append(self, records: Iterable[Record]) -> None:
        writer = JournalWriter(self._writer.link)
        self._write(writer.encode(*records))
        self._writer = writer

    def _write(self, data: bytes) -> None:
        """Write all of it, or nothing. Raises `OSError`."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            if len(rest) < len(data):  # half of it would hide whatever comes behind
                os.ftruncate(self._descriptor, self._end)
            raise
        self._end += len(data)

    def _sync(self, descriptor: int, end: int) -> None:
        """In a thread: what was written before the journal's offset `end` is on the disk when this is through."""
        try:
            sync_file_system(descriptor)
            with self._lock:
                if self._descriptor >= 0:
                    self._append([Synced(end)])
        except OSError:  # then it is as if the sync had not been begun, and the next one may do better
            pass
        finally:
            os.close(descriptor)
            self._syncing = False


def _open_locked(folder: int, name: str) -> int | None:
    """Open or make a file for this process alone; None if another one has it. Raises `JournalUnusable` or `OSError`."""
    for _ in range(_OPENINGS):
        try:
            descriptor = os.open(name, _FLAGS | os.O_CREAT, 0o600, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
                raise JournalUnusable("it is no file") from error
            raise
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise JournalUnusable("it is no file")
            if not _lock(descriptor):
                os.close(descriptor)
                return None
            if _is_at(folder, name, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # it was replaced or removed between opening and locking it
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some file systems, over a network, have no locks
        return True
    return True


def _is_at(folder: int, name: str, descriptor: int) -> bool:
    try:
        there = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
