"""Bytes that have come and that nobody has read."""

from collections import deque

__all__ = ["Unread"]

MAX_UNREAD = 1024 * 1024  # bytes; then no more is asked for: a turn of the event loop, as the pump reads it


class Unread:
    """A queue of bytes."""

    def __init__(self) -> None:
        self._pieces: deque[memoryview] = deque()
        self.size = 0

    @property
    def is_full(self) -> bool:
        """Whether there is enough. What comes all the same is kept."""
        return self.size >= MAX_UNREAD

    def append(self, data: bytes) -> None:
        """Put `data` at the end."""
        if data:
            self._pieces.append(memoryview(data))
            self.size += len(data)

    def read_into(self, space: memoryview) -> int:
        """Move as much as there is and fits into `space`; return how many bytes."""
        done = 0
        while self._pieces and done < len(space):
            piece = self._pieces[0]
            part = piece[: len(space) - done]
            space[done : done + len(part)] = part
            done += len(part)
            if len(part) == len(piece):
                self._pieces.popleft()
            else:
                self._pieces[0] = piece[len(part) :]
        self.size -= done
        return done
