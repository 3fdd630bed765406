"""The wall clock of a program, moved while it runs: by a library of ours that is preloaded into it.

A time namespace would move the clocks that nobody sets, and only those; setting the real one would move everybody's.
"""

import atexit
import os
import shutil
import struct
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Final

__all__ = ["MovedClock", "unavailable"]

SOURCE: Final = Path(__file__).with_name("movedclock.c")
OFFSET: Final = struct.Struct("=q")  # ns
HOUR: Final = 3_600_000_000_000  # ns


class MovedClock:
    """One wall clock, which is right to begin with. Programs have it that are started with its `environment`."""

    def __init__(self, file: Path) -> None:
        """`file` holds the offset as long as programs run."""
        self._file = file
        file.write_bytes(OFFSET.pack(0))

    @property
    def environment(self) -> dict[str, str]:
        """What a program needs in its environment to have this clock."""
        library = _compiled()
        assert library is not None
        return {"LD_PRELOAD": str(library), "MOVED_CLOCK": str(self._file)}

    def move(self, hours: float) -> None:
        """Let it be wrong by so much, forward, or back if negative."""
        with self._file.open("r+b") as file:
            file.write(OFFSET.pack(round(hours * HOUR)))


def unavailable() -> str:
    """Why no clock can be moved here; empty where it can."""
    return "" if _compiled() is not None else "clocks are moved by a library, and no C compiler made it"


@cache
def _compiled() -> Path | None:
    """The library; None where it cannot be compiled or preloaded."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    folder = tempfile.mkdtemp(prefix="punchwire-clock-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = Path(folder, "movedclock.so")
    argv = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        return None
    tried = subprocess.run(["true"], env=os.environ | {"LD_PRELOAD": str(library)}, capture_output=True, check=False)
    return None if tried.returncode or tried.stderr else library
