"""Writing a file so that nobody ever reads half of it."""

import os
import tempfile
from pathlib import Path

__all__ = ["place"]


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
