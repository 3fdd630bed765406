"""Sizes and progress as people read them."""

__all__ = ["duration", "human_size", "progress_line"]

_BAR = 10  # characters


def human_size(size: float) -> str:
    """Return `size` bytes in units of 1000, as disks are sold."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


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
