"""Trees of files that are the same in every run, and what there is to compare of two of them."""

import os
import random
import stat
from pathlib import Path
from typing import Any

from blake3 import blake3

__all__ = ["contents", "make_tree", "size_of"]

_OLD = 1_600_000_000_123_456_789  # ns: a time that no file gets by itself
_PIECES = (0, 1, 4095, 4096, 65_537)  # sizes of small files, in bytes


def make_tree(top: Path, *, large: int, small: int, seed: str = "") -> None:
    """Make a folder with `large` files of several MiB, `small` ones in folders of 20, empty ones, modes, and links."""
    chance = random.Random(f"tree {seed}")
    top.mkdir()
    for number in range(large):
        _write(top / f"large {number}.bin", chance.randbytes(3 * 2**20 + chance.randrange(6 * 2**20)), chance)
    for number in range(small):
        folder = top / "small" / f"{number // 20:03}"
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / f"{number:05} \u00e9", chance.randbytes(chance.choice(_PIECES)), chance)
    (top / "nothing" / "below").mkdir(parents=True)
    (top / "small" / "to the first").symlink_to(f"../large {0}.bin")
    for folder, _, _ in os.walk(top, topdown=False):
        os.chmod(folder, chance.choice((0o700, 0o755)))
        os.utime(folder, ns=(_OLD, _OLD + chance.randrange(10**12)))


def contents(top: Path) -> dict[str, Any]:
    """Return what is in a folder, itself included: by path, the mode, time, and content or target of each entry."""
    found: dict[str, Any] = {}
    for path in (top, *sorted(top.rglob("*"))):
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            what: Any = os.readlink(path)
        else:
            what = (oct(status.st_mode), status.st_mtime_ns, _hash(path) if path.is_file() else None)
        found[str(path.relative_to(top))] = what
    return found


def size_of(top: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.lstat().st_size for path in top.rglob("*") if path.is_file() and not path.is_symlink())


def _write(path: Path, content: bytes, chance: random.Random) -> None:
    path.write_bytes(content)
    path.chmod(chance.choice((0o600, 0o644, 0o755, 0o444)))
    os.utime(path, ns=(_OLD, _OLD + chance.randrange(10**12)))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return blake3(file.read()).hexdigest()
