"""Sets of whole numbers as the runs they are made of: `(first, count)`, rising, and none touching the next."""

from collections.abc import Iterable, Iterator

__all__ = ["Ranges", "each", "ranges_of"]

Ranges = tuple[tuple[int, int], ...]


def ranges_of(numbers: Iterable[int]) -> Ranges:
    """Return the runs of `numbers`, which rise."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and sum(runs[-1]) == number:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return tuple(runs)


def each(ranges: Ranges) -> Iterator[int]:
    """Yield every number in `ranges`."""
    for first, count in ranges:
        yield from range(first, first + count)
