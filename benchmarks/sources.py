"""What `benchmarks/transfer.py` sends: a large file, many small ones, some of everything. And: is a copy the same?"""

import os
import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path

from blake3 import blake3

__all__ = ["KIB", "MIB", "Keeps", "Source", "large_file", "mixed_folder", "small_files", "write_over"]

KIB, MIB = 1024, 1024 * 1024
PER_FOLDER = 200  # small files
SMALL = 4 * KIB  # bytes each
LARGE_IN_MIXED, MEDIUM_IN_MIXED = 3, 20  # files, of which each is so many times smaller than `size`:
LARGE_PART, MEDIUM_PART = 8, 512
LARGEST_SMALL = 64 * KIB  # bytes; half of the small files in the mixed folder have less than 256
EMPTY_FILES, EMPTY_FOLDERS = 50, 20
DEPTH = 8  # folders in each other
LONG_AGO = 1_600_000_000  # s since 1970; whole seconds, because some formats keep no more


class Keeps(Flag):
    """What a contestant keeps of an entry besides its name and content."""

    NOTHING = 0
    MODES = auto()
    TIMES = auto()
    ALL = MODES | TIMES


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder, as it has to arrive."""

    mode: int  # with its kind
    size: int
    mtime: int  # s
    digest: bytes  # BLAKE3 of a file's content


@dataclass(frozen=True, slots=True)
class Source:
    """A file or a folder, and what is in it."""

    path: Path
    entries: dict[str, Entry]  # by relative path; "." is the file or folder itself

    @property
    def is_tree(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.entries["."].mode)

    @property
    def bytes(self) -> int:
        """In all files together."""
        return sum(entry.size for entry in self.entries.values())

    @property
    def files(self) -> int:
        """How many there are."""
        return sum(stat.S_ISREG(entry.mode) for entry in self.entries.values())

    def difference(self, copy: Path, keeps: Keeps) -> str:
        """Say in what `copy` differs from it; empty if in nothing. Of a single file only the content is looked at."""
        found = dict(_entries(copy))
        for name in sorted(self.entries.keys() | found.keys()):
            if name not in found:
                return f"{name} is missing"
            if name not in self.entries:
                return f"{name} is there and was not sent"
            entry, theirs = self.entries[name], found[name]
            if stat.S_IFMT(entry.mode) != stat.S_IFMT(theirs.mode) or entry.size != theirs.size:
                return f"{name} is of another kind or size"
            if entry.digest != theirs.digest:
                return f"{name} has other content"
            if self.is_tree and Keeps.MODES in keeps and entry.mode != theirs.mode:
                return f"{name} has the mode {theirs.mode:o} and not {entry.mode:o}"
            if self.is_tree and Keeps.TIMES in keeps and entry.mtime != theirs.mtime:
                return f"{name} has another time of modification"
        return ""


def large_file(folder: Path, size: int) -> Source:
    """Make one file of `size` bytes."""
    path = folder / "large.bin"
    _write(path, size)
    return Source(path, dict(_entries(path)))


def small_files(folder: Path, count: int) -> Source:
    """Make `count` files of 4 KiB, in folders of 200."""
    top = folder / "small"
    for number in range(count):
        _write(top / f"part-{number // PER_FOLDER:03}" / f"file-{number:05}.bin", SMALL)
    return _settled(top)


def mixed_folder(folder: Path, size: int, count: int) -> Source:
    """Make a few large files, which have 3/8 of `size`, `count` small ones, and empty ones, in nested folders."""
    top, luck = folder / "mixed", random.Random(1)
    nest = top / "nest"
    for level in range(DEPTH):
        nest /= f"level {level}"
    for number in range(LARGE_IN_MIXED):
        _write(top / "large" / f"disk {number}.img", size // LARGE_PART)
    for number in range(MEDIUM_IN_MIXED):
        _write(top / "bilder über alles" / f"Größe {number}.jpg", size // MEDIUM_PART)
    for number in range(count):
        path = (nest if number % 10 == 0 else top / "src" / f"module_{number % 37}") / f"source_{number}.py"
        _write(path, int(LARGEST_SMALL ** luck.random()))
        path.chmod(luck.choice((0o644, 0o600, 0o755)))
    for number in range(EMPTY_FILES):
        _write(top / "empty" / f"mark-{number}", 0)
    for number in range(EMPTY_FOLDERS):
        (top / "empty" / f"folder-{number}" / "in it").mkdir(parents=True)
    nest.chmod(0o700)
    return _settled(top)


def write_over(path: Path, size: int) -> None:
    """Make a file of zeros, and touch all of its memory or disk."""
    zeros = bytes(MIB)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(zeros[: size - start])
        file.flush()
        os.fsync(file.fileno())  # else it is written to the disk while others are measured


def _write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - start)))
        file.flush()
        if size >= MIB:
            os.fsync(file.fileno())


def _settled(top: Path) -> Source:
    """Give everything in a tree an old time, folders last; the small files of a disk are written to it."""
    paths = [top, *top.rglob("*")]
    for age, path in enumerate(sorted(paths, reverse=True)):
        os.utime(path, (LONG_AGO + age, LONG_AGO + age))
    os.sync()
    return Source(top, dict(_entries(top)))


def _entries(top: Path) -> Iterator[tuple[str, Entry]]:
    """Everything there, by its relative path; nothing if there is nothing."""
    if not top.exists():
        return
    paths = [top, *top.rglob("*")] if top.is_dir() else [top]
    for path in paths:
        status = path.lstat()
        is_file = stat.S_ISREG(status.st_mode)
        digest = _digest(path, status.st_size) if is_file else b""
        yield (
            str(path.relative_to(top)),
            Entry(status.st_mode, status.st_size if is_file else 0, int(status.st_mtime), digest),
        )


def _digest(path: Path, size: int) -> bytes:
    hasher = blake3()
    if size < MIB:
        return hasher.update(path.read_bytes()).digest()
    return hasher.update_mmap(path).digest()
