"""Received files before they have their names: in a folder of their own in the target folder, `.punchwire-<16 hex>`.

A file of several blocks is there under a name made of its path in the transfer, so that a later try finds it whatever
its number is then. The journal lies beside it. A file of one block never shows itself before it is whole, where the
system can do that: it has no name at all until then.
"""

import contextlib
import errno
import functools
import os
import secrets
import stat
from collections.abc import Iterable
from typing import Protocol

from blake3 import blake3
from p2p_core.errors import TransferFailed
from p2p_core.identity import PeerId
from p2p_core.manifest import Manifest
from p2p_core.safe_names import with_number
from p2p_core.wire.journal import JournalUnusable

from p2p_peer.transfer.received_journal import JOURNAL, ReceivedJournal, staging_names

__all__ = ["MAX_NAMES", "OPEN_FOLDER", "StagedFile", "Staging", "Unplaced", "final_mode", "set_time"]

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # whatever is there: nothing is waited for
MAX_NAMES = 10_000  # tried before a folder full of the same name is given up
_UNNAMED: int | None = getattr(os, "O_TMPFILE", None)  # open(2): Linux
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})  # FAT, some networks
_PIECE = 1024 * 1024  # bytes copied at once
_ATTEMPTS = 10  # to open a folder that another transfer is just removing


class Unplaced(Protocol):
    """A whole file that has no name yet."""

    status: os.stat_result

    def link(self, folder: int, name: str) -> None:
        """Give it a name in an open folder. Raises `FileExistsError` if that is taken."""

    def replace(self, folder: int, name: str) -> None:
        """Give it a name, in place of the file that has it."""

    def close(self) -> None:
        """Close it. May be called again."""

    def remove(self) -> None:
        """Close it; there shall be nothing left of it."""


class StagedFile:
    """A file in the staging folder."""

    status: os.stat_result  # since `complete`

    def __init__(self, staging: int, name: str, descriptor: int) -> None:
        self._staging, self._name, self._descriptor = staging, name, descriptor

    def write(self, data: memoryview, offset: int) -> None:
        """Write `data` at `offset`. Raises `OSError`."""
        write_all(self._descriptor, data, offset)

    def length(self) -> int:
        """How many bytes it has."""
        return os.fstat(self._descriptor).st_size

    def complete(self, size: int, mode: int, mtime_ns: int | None) -> None:
        """Everything is written: give it its size, mode and time, and close it. Raises `OSError`."""
        if self.length() != size:  # of an earlier try, or of what was there before
            os.ftruncate(self._descriptor, size)
        with contextlib.suppress(OSError):  # a suggestion, and not every file system can follow it
            os.fchmod(self._descriptor, final_mode(mode))
        set_time(self._descriptor, mtime_ns)
        self.status = os.fstat(self._descriptor)
        self.close()  # before it gets its name: a network's file system may say only here that there is no room

    def link(self, folder: int, name: str) -> None:
        """Give it a name in an open folder. Raises `FileExistsError` if that is taken."""
        _move(self._staging, self._name, folder, name)

    def replace(self, folder: int, name: str) -> None:
        """Give it a name, in place of the file that has it."""
        os.rename(self._name, name, src_dir_fd=self._staging, dst_dir_fd=folder)

    def close(self) -> None:
        """Close it. May be called again."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def remove(self) -> None:
        """Close and remove it."""
        with contextlib.suppress(OSError):
            self.close()
        with contextlib.suppress(OSError):  # whatever is wrong now, it was given up for it already
            os.unlink(self._name, dir_fd=self._staging)


class _UnnamedFile:
    """A file that nobody sees until it gets its name. If it never does, the system removes it."""

    def __init__(self, staging: "Staging", descriptor: int) -> None:
        self._staging, self._descriptor = staging, descriptor
        self.status = os.fstat(descriptor)

    def link(self, folder: int, name: str) -> None:
        os.link(_path_of(self._descriptor), name, dst_dir_fd=folder, follow_symlinks=True)  # open(2), at O_TMPFILE

    def replace(self, folder: int, name: str) -> None:
        other = _random_name()
        self.link(self._staging.descriptor, other)
        os.rename(other, name, src_dir_fd=self._staging.descriptor, dst_dir_fd=folder)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    remove = close


class Staging:
    """An open staging folder, and the journal in it. Belongs to one thread."""

    def __init__(self, root: int, name: str, descriptor: int, journal: ReceivedJournal, *, is_new: bool) -> None:
        self.descriptor, self.journal = descriptor, journal
        self.name = name  # in the target folder
        self._root, self._is_new = root, is_new
        self._can_be_unnamed = _UNNAMED is not None and self._try_unnamed()

    @classmethod
    def open(cls, root: int, peer: PeerId, manifest: Manifest) -> "Staging":
        """Open or make one in the open target folder, which has to stay open. Takes as long as a disk takes to sync.

        It is the one of an earlier try, if there is one and it is free. Raises `TransferFailed` or `OSError`.
        """
        final_mode(0)  # asks for the umask: before there are threads that make files
        for name in staging_names(peer, manifest):
            for _ in range(_ATTEMPTS):
                with contextlib.suppress(FileNotFoundError):  # another transfer has just removed it
                    staging = cls._open(root, name, peer, manifest)
                    if staging is None:
                        break
                    return staging
        raise TransferFailed("too many transfers of the same files are under way there")

    @classmethod
    def _open(cls, root: int, name: str, peer: PeerId, manifest: Manifest) -> "Staging | None":
        """Open or make the folder `name`. None, if it is somebody else's, or in use."""
        is_new = True
        try:
            os.mkdir(name, 0o700, dir_fd=root)
        except FileExistsError:
            is_new = False
        try:
            descriptor = os.open(name, OPEN_FOLDER, dir_fd=root)
        except OSError as error:
            if is_new or error.errno not in (errno.ENOTDIR, errno.ELOOP, errno.EACCES):
                raise
            return None
        try:
            journal = None
            if is_new or os.fstat(descriptor).st_uid in (os.geteuid(), 0):
                with contextlib.suppress(JournalUnusable):
                    journal = ReceivedJournal.open(descriptor, peer, manifest)
        except BaseException:
            os.close(descriptor)
            raise
        if journal is None:
            os.close(descriptor)
            return None
        return cls(root, name, descriptor, journal, is_new=is_new)

    @staticmethod
    def name_for(path: Iterable[str]) -> str:
        """Return the name in here of the file that has this path in the transfer."""
        return blake3("/".join(path).encode()).hexdigest(16)

    def create(self, name: str) -> StagedFile:
        """Make an empty file. Raises `OSError`."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FILE
        return StagedFile(self.descriptor, name, os.open(name, flags, 0o600, dir_fd=self.descriptor))

    def reopen(self, name: str) -> StagedFile | None:
        """Open the file of an earlier try, if it is there and nobody else has it. Raises `OSError`."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:
            os.unlink(name, dir_fd=self.descriptor)  # it has its place already, and may be changed there
            return None
        if not status.st_mode & stat.S_IWUSR:
            _make_writable(self.descriptor, name)
        descriptor = os.open(name, os.O_WRONLY | _OPEN_FILE, dir_fd=self.descriptor)
        if not os.path.samestat(os.fstat(descriptor), status):
            os.close(descriptor)
            return None
        return StagedFile(self.descriptor, name, descriptor)

    def take(self, folder: int, place: str, status: os.stat_result, name: str) -> StagedFile | None:
        """Move the file at `place` in an open folder here, to be written to. None, if it is not that of `status`.

        Raises `OSError`.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)
        os.rename(place, name, src_dir_fd=folder, dst_dir_fd=self.descriptor)
        if not os.path.samestat(os.stat(name, dir_fd=self.descriptor, follow_symlinks=False), status):
            self._put_back(name, folder, place)  # somebody has put another there just now
            return None
        if status.st_nlink != 1:
            self._copy(name)
        return self.reopen(name)

    def write_whole(self, folder: int, data: memoryview, mode: int, mtime_ns: int | None) -> Unplaced:
        """Write a file that will get its name in the open `folder`. Raises `OSError`."""
        descriptor = self._open_unnamed(folder, mode)
        if descriptor is None:
            file = self.create(_random_name())
            try:
                file.write(data, 0)
                file.complete(len(data), mode, mtime_ns)
            except OSError:
                file.remove()
                raise
            return file
        try:
            write_all(descriptor, data, 0)
            set_time(descriptor, mtime_ns)
            return _UnnamedFile(self, descriptor)
        except OSError:
            os.close(descriptor)
            raise

    def replace_by_link(self, text: str, folder: int, name: str) -> None:
        """Make a symbolic link in an open folder, in place of the file that has its name. Raises `OSError`."""
        other = _random_name()
        os.symlink(text, other, dir_fd=self.descriptor)
        os.rename(other, name, src_dir_fd=self.descriptor, dst_dir_fd=folder)

    def forget(self, name: str) -> None:
        """Remove a file of an earlier try, if there is one."""
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self.descriptor)

    def length(self, name: str) -> int:
        """Return how many bytes the file of an earlier try has; 0 if there is none that can be gone on with."""
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) and status.st_nlink == 1 else 0

    def remove(self) -> None:
        """Remove all that is left here, the journal too: nothing of it is needed any more."""
        with contextlib.suppress(OSError):
            for name in os.listdir(self.descriptor):
                if name != JOURNAL:
                    with contextlib.suppress(OSError):
                        os.unlink(name, dir_fd=self.descriptor)
        self.journal.remove()
        with contextlib.suppress(OSError):  # another transfer may just begin in it
            os.rmdir(self.name, dir_fd=self._root)

    def abandon(self) -> None:
        """Close it as if it had not been opened."""
        if self._is_new:
            self.remove()
        self.close()

    def close(self) -> None:
        """Close it, for a later try."""
        self.journal.close()
        os.close(self.descriptor)

    def _copy(self, name: str) -> None:
        """Put a copy in place of a file that has other names too: under those it is not to change. Raises `OSError`."""
        other = _random_name()
        copy, source = self.create(other), os.open(name, os.O_RDONLY | _OPEN_FILE, dir_fd=self.descriptor)
        try:
            at = 0
            while data := os.pread(source, _PIECE, at):
                copy.write(memoryview(data), at)
                at += len(data)
            copy.replace(self.descriptor, name)
        except OSError:
            copy.remove()
            raise
        finally:
            os.close(source)
            copy.close()

    def _put_back(self, name: str, folder: int, place: str) -> None:
        for number in range(MAX_NAMES):
            with contextlib.suppress(FileExistsError):
                _move(self.descriptor, name, folder, with_number(place, number) if number else place)
                return

    def _open_unnamed(self, folder: int, mode: int) -> int | None:
        if not self._can_be_unnamed:
            return None
        assert _UNNAMED is not None
        try:
            return os.open(".", os.O_WRONLY | _UNNAMED | os.O_CLOEXEC, mode & 0o777 | 0o400, dir_fd=folder)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):  # another file system begins there
                return None
            raise

    def _try_unnamed(self) -> bool:
        """Whether files can be made and named so here: not everywhere, and not without /proc."""
        self._can_be_unnamed, name = True, _random_name()
        try:
            descriptor = self._open_unnamed(self.descriptor, 0o600)
            if descriptor is None:
                return False
            try:
                os.link(_path_of(descriptor), name, dst_dir_fd=self.descriptor, follow_symlinks=True)
            finally:
                os.close(descriptor)
            os.unlink(name, dir_fd=self.descriptor)
        except OSError:
            return False
        return True


def final_mode(mode: int) -> int:
    """The mode of a received file: never wider than this user's files are, and never out of this user's own reach."""
    return mode & 0o777 & ~_umask() | 0o400


def set_time(descriptor: int, mtime_ns: int | None) -> None:
    """Set the time of the last change, if the file system can."""
    if mtime_ns is not None:
        try:  # noqa: SIM105 - for each file: `contextlib.suppress` would take as long as the call
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        except OSError:
            pass


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write `data` at `offset`, however often that takes. Raises `OSError`."""
    while data:
        count = os.pwrite(descriptor, data, offset)
        data, offset = data[count:], offset + count


def _move(source: int, name: str, folder: int, new: str) -> None:
    """Move a file from one open folder to another. Raises `FileExistsError` if the new name is taken, or `OSError`."""
    where = {"src_dir_fd": source, "dst_dir_fd": folder}
    try:
        os.link(name, new, follow_symlinks=False, **where)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
        try:
            os.rename(name, new, **where)
        except OSError:
            os.unlink(new, dir_fd=folder)  # ours, and empty
            raise
    else:
        os.unlink(name, dir_fd=source)


def _make_writable(folder: int, name: str) -> None:
    descriptor = os.open(name, os.O_RDONLY | _OPEN_FILE, dir_fd=folder)  # there is no chmod that follows no links
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _path_of(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _random_name() -> str:
    return secrets.token_hex(16)


@functools.cache
def _umask() -> int:
    """The process's umask. It can only be read by setting it, so it is read once."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
