"""The C library's allocator, told to keep memory for buffers that come and go with every message of a relay.

Left to itself glibc gives a few hundred KiB back to the system as soon as they are free, and the next message has them
mapped, page by page, again: a fifth of what relaying costs.
"""

import ctypes

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)
_KEPT = 16 * 1024**2  # bytes free at the end of the heap before any are given back
_LARGE = 4 * 1024**2  # bytes from which on an allocation is mapped by itself; 128 KiB if not told


def keep_freed_memory() -> None:
    """Keep up to 16 MiB that were freed. Does nothing with C libraries that have no mallopt(3)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
        mallopt(_M_TRIM_THRESHOLD, _KEPT)
