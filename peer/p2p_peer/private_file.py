"""A file that only its owner reads and writes, 0600 in a folder 0700: read with care, and replaced atomically."""

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from time import sleep

from p2p_core import private_files
from p2p_core.errors import UsageError

from p2p_peer.regular_files import open_regular

__all__ = ["PrivateFile", "Stamp", "check_our_folder", "check_ours", "check_way", "make_folder"]

_ANOTHER_FOLDER = "Give --state-dir a folder that you may write to."
_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LOCK_STEP = 0.05  # s between two tries
_LOCK_TRIES = 20  # one second: others hold it for milliseconds, and no signal is heard meanwhile

Stamp = tuple[int, int, int]  # of a file: inode, time of its last change in ns, size in bytes


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """The file at `path`, which need not be there."""

    path: Path

    def read(self, size: int) -> bytes | None:
        """Return the first `size` bytes, or all if it has fewer; None if there is no file.

        Raises `UsageError` when it cannot be read, `NotPrivate` when others may have written what is in it, or put it
        there.
        """
        try:
            check_ours(self.path.parent)
            check_way(self.path)
            with open_regular(self.path) as file:
                private_files.check_ours(self.path, os.fstat(file.fileno()), os.geteuid())
                return file.read(size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}", advice=_ANOTHER_FOLDER) from error

    def stamp(self) -> Stamp | None:
        """Return what tells it from any other that was, or will be, at this path; None if it cannot be had.

        Its owner and its permissions cannot change without it, those of the folders on its way can: those are looked
        at, too. Raises `UsageError` for them.
        """
        try:
            check_ours(self.path.parent)
            check_way(self.path)
            status = self.path.stat()
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns, status.st_size  # not mtime, which anything may set back

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let no other process write between what this one reads and what it writes, if that can be had soon.

        Without it two that write in the same moment may undo what the other one did. That is no reason to wait for
        whoever holds the lock: anybody who may read the folder can take it for good. Makes the folder. Raises
        `UsageError` when that, or anything inside, cannot be written.
        """
        folder = self.path.parent
        try:
            make_folder(folder)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _try_to_lock(descriptor)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UsageError(f"{folder} cannot be written to: {error.strerror}", advice=_ANOTHER_FOLDER) from error

    def append(self, data: bytes) -> None:
        """Write to its end, at once: other processes may do so, too. Makes the folder.

        Raises `OSError`, also for what is no regular file; `NotPrivate`, as `read` does.
        """
        make_folder(self.path.parent)
        check_our_folder(self.path.parent)
        descriptor = os.open(self.path, _APPENDING, 0o600)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
            private_files.check_ours(self.path, status, os.geteuid())
            os.write(descriptor, data)
        finally:
            os.close(descriptor)

    def replace(self, data: bytes) -> None:
        """Write the whole file, or leave it as it was, whatever happens meanwhile. Raises `OSError`.

        A link in its place is replaced, too, and what it leads to is left alone.
        """
        descriptor, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)  # mkstemp makes it 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)  # else a power cut may leave the new name with nothing in it
            Path(temporary).replace(self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def check_ours(path: Path) -> None:
    """Raise `NotPrivate` when other users may have written what is in a file, or put there what is in a folder.

    Raises `OSError` when it is not there, or cannot be looked at.
    """
    private_files.check_ours(path, path.stat(), os.geteuid())


def check_our_folder(path: Path) -> None:
    """As `check_ours`; and when other users may put another folder in its place."""
    check_ours(path)
    check_way(path)


def check_way(path: Path) -> None:
    """Raise `NotPrivate` when everybody may replace a file or folder, or a folder or link that leads to it.

    Raises `OSError` when a folder on the way is not there, or cannot be looked at.
    """
    for folder in private_files.folders_on_the_way(path.absolute(), _link):
        private_files.check_above(path, folder, os.stat(folder))


def _link(path: PurePath) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def make_folder(path: Path) -> None:
    """Make a folder that only its owner enters, if there is none, and those above it; whatever the umask is.

    Raises `OSError`.
    """
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except FileNotFoundError:
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)


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
