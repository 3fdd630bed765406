"""Sizes, names and progress as people read them."""

import re

__all__ = ["duration", "human_size", "progress_line", "shown_name"]

_BAR = 10  # characters
_LONGEST_NAME = 60  # characters


def human_size(size: float) -> str:
    """Return `size` bytes in units of 1000, as disks are sold."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def shown_name(name: str) -> str:
    """Return a file's name so that it cannot be taken for anything else: no long one, and no blanks that push aside."""
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 + 1 :]}"
    return re.sub(r"\s{2,}", lambda blanks: "␣" * len(blanks[0]), name)


def progress_line(name: str, done: int, total: int, seconds: float) -> str:
    """Return how far a transfer is that has run for `seconds`: bar, share, rate, and time left."""
    share = done / total if total else 1.0
    full = int(_BAR * share)
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {duration((total - done) / rate)} left" if rate else ""
    bar = f"[{'#' * full}{'.' * (_BAR - full)}]"
    return f"{name} {bar} {share:4.0%} of {human_size(total)}, {human_size(rate)}/s{left}"


def duration(seconds: float) -> str:
    """Return `seconds` as 0:05, or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
