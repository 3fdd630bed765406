"""Reading a file without waiting for it, and writing one so that nobody ever reads half of it."""

import errno
import os
import stat
import tempfile
from pathlib import Path

from p2p_core.errors import UsageError

__all__ = ["Unreadable", "is_lasting", "place", "read"]

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


def read(path: Path) -> bytes:
    """Return what a small file has in it. Raises `Unreadable`: a pipe or a device could keep us waiting for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise Unreadable(path, "it is a folder")
            if not stat.S_ISREG(mode):
                raise Unreadable(path, "it is not a regular file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(_MAX_BYTES + 1)
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
