"""Reading a file that is named by somebody, without waiting for it and without end."""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

__all__ = ["open_regular", "read_start"]


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading. Raises `OSError`.

    Other files are an `OSError`, too: a pipe or a device could keep us waiting for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, "it is a folder")
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_start(path: Path, size: int) -> bytes:
    """Return the first `size` bytes of a regular file, or all if it has fewer. Raises `OSError`, as `open_regular`."""
    with open_regular(path) as file:
        return file.read(size)
