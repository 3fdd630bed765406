"""A small disk of its own that can be filled to the last page, and emptied again: a tmpfs."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from tests.lab.netns import tool

__all__ = ["Disk"]

FILLER: Final = ".filler"  # hidden, so that nobody takes it for something that was sent
PIECE: Final = bytes(1 << 20)


class Disk:
    """A mounted one. It takes the rights to mount: see `isolation`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextmanager
    def mounted(cls, folder: Path, mebibytes: int) -> Iterator[Self]:
        """Mount one on a new folder for as long as the context lasts."""
        folder.mkdir()
        subprocess.run([tool("mount"), "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder)], check=True)
        try:
            yield cls(folder)
        finally:  # whatever still has something open there, as a failed test may: it is only taken out of sight
            subprocess.run([tool("umount"), "--lazy", str(folder)], check=True)

    def fill(self) -> None:
        """Leave not a page, to whoever has a file open here either."""
        with (self.folder / FILLER).open("ab", buffering=0) as file:
            for size in (len(PIECE), os.sysconf("SC_PAGE_SIZE"), 1):
                try:
                    while True:
                        file.write(PIECE[:size])
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Give the room back."""
        (self.folder / FILLER).unlink(missing_ok=True)
