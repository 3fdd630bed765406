"""A file that only its owner reads and writes, 0600 in a folder 0700: read with care, and replaced atomically."""

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from p2p_core.errors import UsageError

from p2p_peer.regular_files import open_regular

__all__ = ["PrivateFile", "Stamp", "check_ours"]

_ANOTHER_FOLDER = "Give --state-dir a folder that you may write to."
_OTHERS_WRITE = 0o022  # permission bits
_LOCK_STEP = 0.05  # s between two tries
_LOCK_TRIES = 20  # one second: others hold it for milliseconds, and no signal is heard meanwhile

Stamp = tuple[int, int, int]  # of a file: inode, time of its last change in ns, size in bytes


@dataclass(frozen=True, slots=True)
class PrivateFile:
    """The file at `path`, which need not be there."""

    path: Path

    def read(self, size: int) -> bytes | None:
        """Return the first `size` bytes, or all if it has fewer; None if there is no file.

        Raises `UsageError` when it cannot be read, and when others may have written what is in it, or put it there.
        """
        try:
            check_ours(self.path.parent)
            with open_regular(self.path) as file:
                _check(self.path, os.fstat(file.fileno()))
                return file.read(size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self.path} cannot be read: {error.strerror}", advice=_ANOTHER_FOLDER) from error

    def stamp(self) -> Stamp | None:
        """Return what tells it from any other that was, or will be, at this path; None if it cannot be had.

        Its owner and its permissions cannot change without it, those of its folder can: those are looked at, too.
        Raises `UsageError` for them.
        """
        try:
            check_ours(self.path.parent)
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
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                _try_to_lock(descriptor)
                yield
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UsageError(f"{folder} cannot be written to: {error.strerror}", advice=_ANOTHER_FOLDER) from error

    def replace(self, data: bytes) -> None:
        """Write the whole file, or leave it as it was, whatever happens meanwhile. Raises `OSError`."""
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
    """Raise `UsageError` when other users may have written what is in a file, or put there what is in a folder.

    Raises `OSError` when it is not there, or cannot be looked at.
    """
    _check(path, path.stat())


def _check(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise UsageError(
            f"{path} belongs to another user of this computer, so nothing in it is believed",
            advice="Give --state-dir a folder of your own.",
        )
    if status.st_mode & _OTHERS_WRITE:
        mode = "go-w" if stat.S_ISDIR(status.st_mode) else "600"
        raise UsageError(
            f"other users of this computer can write to {path}, so nothing in it is believed",
            advice=f"Look whether it has what you know it to have; if so: chmod {mode} {path}",
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
