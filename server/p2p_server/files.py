"""Reading a file without waiting for it, and writing one so that nobody ever reads half of it."""

import os
import stat
import tempfile
from pathlib import Path

from p2p_core.errors import UsageError

__all__ = ["place", "read"]

_CHECK = "Check its path and who may read it."
_MAX_BYTES = 1024 * 1024  # a certificate chain has a few KiB; more is neither that nor a key


def read(path: Path) -> bytes:
    """Return what a small file has in it. Raises `UsageError`: a pipe or a device could keep us waiting for ever."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise UsageError(f"cannot read {path}: it is a folder", advice=_CHECK)
            if not stat.S_ISREG(mode):
                raise UsageError(f"cannot read {path}: it is not a regular file", advice=_CHECK)
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data = file.read(_MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", advice=_CHECK) from None
    if len(data) > _MAX_BYTES:
        raise UsageError(f"cannot read {path}: it is too large for a PEM file", advice=_CHECK)
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
