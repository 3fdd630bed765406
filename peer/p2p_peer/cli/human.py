"""Sizes, names, times and rates as people read them."""

import re

from p2p_peer.cli.widths import widths_of

__all__ = ["counted", "duration", "human_size", "shortened", "shown_name", "took", "without_count"]

_LONGEST_NAME = 60  # characters
_SHORT_TIME = 10  # s: below that tenths are shown


def human_size(size: float) -> str:
    """Return `size` bytes in units of 1000, as disks are sold."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.0f} TB" if value >= 100 else f"{value:.1f} TB"


def counted(count: int, what: str = "file") -> str:
    """Return how many there are of something."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def shown_name(name: str) -> str:
    """Return a file's name so that it cannot be taken for anything else: no long one, and no blanks that push aside."""
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 + 1 :]}"
    return re.sub(r"\s{2,}", lambda blanks: "␣" * len(blanks[0]), name)


def without_count(label: str) -> str:
    """Return what a transfer is called without how many files it has, for where that is told anyway."""
    return re.sub(r" \(\d+ files?\)$", "", label)


def shortened(text: str, columns: int) -> str:
    """Return `text`, without its middle if it would take more than so many columns (UAX #11), of which one is left."""
    if text.isascii() and len(text) <= columns:
        return text
    widths = widths_of(text)
    if sum(widths) <= columns:
        return text
    room = max(columns - 1, 0)
    head = _fitting(widths, room - room // 2)
    tail = _fitting(widths[::-1], room // 2)
    return f"{text[:head]}…{text[len(text) - tail :]}"


def _fitting(widths: list[int], room: int) -> int:
    """Return how many characters of these widths there is room for."""
    for count, width in enumerate(widths):
        room -= width
        if room < 0:
            return count
    return len(widths)


def duration(seconds: float) -> str:
    """Return `seconds` as 0:05, or 1:02:03."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def took(seconds: float) -> str:
    """Return how long something took: 0.4 s, or as `duration` has it."""
    return f"{seconds:.1f} s" if seconds < _SHORT_TIME else duration(seconds)
