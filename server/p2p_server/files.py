"""Reading a file without waiting for it, writing one so that nobody ever reads half of it; who else may write there."""

import errno
import os
import stat
import tempfile
from pathlib import Path, PurePath

from p2p_core import private_files
from p2p_core.errors import UsageError

__all__ = ["Unreadable", "check_folder", "is_lasting", "make_folder", "place", "read"]

_MAX_BYTES = 1024 * 1024  # a certificate chain has a few KiB; more is neither that nor a key

# What its owner made of a file. Any other error, of a disk, a file server or our own descriptors, says nothing of it.
_LASTING = frozenset(
    (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.EACCES,
        errno.EPERM,
        errno.ENXIO,  # a socket
    )
)


class Unreadable(UsageError):
    """A file cannot be read, or is none to be read."""

    advice = "Check its path and who may read it."

    def __init__(self, path: Path, why: str, *, is_lasting: bool = True) -> None:
        """Not `is_lasting`: another try may go well."""
        super().__init__(f"cannot read {path}: {why}")
        self.why = why
        self.is_lasting = is_lasting


def is_lasting(error: OSError) -> bool:
    """Whether an error is about the file, and not about what just keeps us from it."""
    return error.errno in _LASTING


def read(path: Path, *, is_secret: bool = False) -> bytes:
    """Return what a small file has in it. Raises `Unreadable`: a pipe or a device could keep us waiting for ever.

    `is_secret`: also `NotPrivate`, if there is a private key in it, and others may read or have written it, or put
    another in its place.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise Unreadable(path, "it is a folder")
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable(path, "it is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(_MAX_BYTES + 1)
            if b"PRIVATE KEY-----" in data and is_secret:
                private_files.check_secret(path, status, os.geteuid())
                _check_way(path)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unreadable(path, str(error.strerror), is_lasting=is_lasting(error)) from None
    if len(data) > _MAX_BYTES:
        raise Unreadable(path, "it is too large for a PEM file")
    return data


def place(path: Path, data: bytes, mode: int) -> None:
    """Put a file with these contents and permission bits at `path`, in the place of any that was there."""
    descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)  # hidden, and 0600 until it is complete
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # else a power cut may take the name away again
    finally:
        os.close(folder)


def make_folder(path: Path, mode: int) -> None:
    """Make a folder, and those above it, if there are none. The umask may take bits away, and adds none.

    Raises `OSError`.
    """
    try:
        path.mkdir(mode, exist_ok=True)
    except FileNotFoundError:
        make_folder(path.parent, 0o755)
        path.mkdir(mode, exist_ok=True)


def check_folder(path: Path, *, is_ours: bool) -> None:
    """Raise `NotPrivate` when others may put something into a folder, or another one in its place.

    `is_ours`: others than us and root; else, others than its owner. Raises `OSError` when it cannot be looked at.
    """
    if is_ours:
        private_files.check_ours(path, os.stat(path), os.geteuid())
    else:
        private_files.check_only_owner_writes(path, os.stat(path))
    _check_way(path)


def _check_way(path: Path) -> None:
    for folder in private_files.folders_on_the_way(path.absolute(), _link):
        private_files.check_above(path, folder, os.stat(folder))


def _link(path: PurePath) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None
