"""Sets of whole numbers as the runs they are made of: `(first, count)`, rising, and none touching the next."""

from collections.abc import Iterable, Iterator

__all__ = ["Ranges", "as_bits", "each", "from_bits", "ranges_of"]

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


def as_bits(ranges: Ranges) -> bytes:
    """Return a bit for each number, that of 0 the lowest in the first byte; no zero bytes stand at the end."""
    bits = bytearray(-(-sum(ranges[-1]) // 8) if ranges else 0)
    for first, count in ranges:
        end = first + count
        begin, whole = -(-first // 8), end // 8
        if begin < whole:
            bits[begin:whole] = b"\xff" * (whole - begin)
        for number in (*range(first, min(begin * 8, end)), *range(max(whole * 8, first), end)):
            bits[number // 8] |= 1 << number % 8
    return bytes(bits)


def from_bits(bits: bytes) -> Ranges:
    """Return what `as_bits` was made of. Raises `ValueError` for zero bytes at the end."""
    if bits.endswith(b"\0"):
        raise ValueError("zero bytes at the end")
    return ranges_of(8 * at + bit for at, byte in enumerate(bits) if byte for bit in range(8) if byte >> bit & 1)
