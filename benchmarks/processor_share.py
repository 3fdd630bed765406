"""A share of a processor for a process, by a control group of its own: on Linux, of version 2 or 1, mostly as root."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

__all__ = ["ProcessorShare"]

ROOT = Path("/sys/fs/cgroup")
HIERARCHIES = (ROOT, ROOT / "cpu")  # of version 2, and of version 1's controller
PERIOD = 10_000  # µs in which the process has its share: it never stands still for longer
PROCESSES = "cgroup.procs"
V2, V1_PERIOD, V1_QUOTA = "cpu.max", "cpu.cfs_period_us", "cpu.cfs_quota_us"


class ProcessorShare:
    """What a process may take of a processor: all of it, unless it is `limited`."""

    def __init__(self, process: int) -> None:
        """Put it into a group, if that is possible."""
        self._process = str(process)
        self._hierarchy = next(filter(self._joins, HIERARCHIES), None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the group; the process may go on."""
        if self._hierarchy:
            with suppress(OSError):  # it may have ended
                (self._hierarchy / PROCESSES).write_text(self._process)
            self._in(self._hierarchy).rmdir()

    @property
    def is_limitable(self) -> bool:
        """Whether `limited` limits it."""
        return self._hierarchy is not None

    @contextmanager
    def limited(self, share: float) -> Iterator[None]:
        """Give the process no more than `share` of a processor meanwhile, if that is possible."""
        self._set(str(round(share * PERIOD)))
        try:
            yield
        finally:
            self._set(None)

    def _joins(self, hierarchy: Path) -> bool:
        if not (hierarchy / PROCESSES).exists():
            return False
        group = self._in(hierarchy)
        try:
            group.mkdir()
            if (group / V2).exists() or (group / V1_QUOTA).exists():
                (group / PROCESSES).write_text(self._process)
                return True
            group.rmdir()
        except OSError:
            with suppress(OSError):
                group.rmdir()
        return False

    def _in(self, hierarchy: Path) -> Path:
        return hierarchy / f"punchwire-{self._process}"

    def _set(self, quota: str | None) -> None:
        if self._hierarchy is None:
            return
        group = self._in(self._hierarchy)
        if (group / V2).exists():
            (group / V2).write_text(f"{quota or 'max'} {PERIOD}")
        else:
            (group / V1_PERIOD).write_text(str(PERIOD))
            (group / V1_QUOTA).write_text(quota or "-1")
