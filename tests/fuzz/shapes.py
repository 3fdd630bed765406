"""Bytes as what a parser takes that wants more than bytes, and what keeps fuzzing from ending at a checksum."""

import asyncio
import atexit
import functools
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import Any

from p2p_core.printable import is_control, printable

__all__ = ["chosen", "file_of", "framed", "in_loop", "shown", "text_of", "unframed", "without_waiting"]


def chosen(data: bytes, count: int) -> tuple[int, bytes]:
    """Return which of `count` ways is meant, by the first byte, and the rest."""
    return (data[0] % count if data else 0), data[1:]


def text_of(data: bytes) -> str:
    """Return text as a terminal or a file may give it, with stray bytes in it."""
    return data.decode("utf-8", "surrogateescape")


def framed(parts: Iterable[bytes]) -> bytes:
    """Return several byte strings as one, each behind its length."""
    return b"".join(len(part).to_bytes(2) + part for part in parts)


def unframed(data: bytes) -> Iterator[bytes]:
    """Yield the byte strings in `data`; the last one may be cut off."""
    while data:
        end = 2 + int.from_bytes(data[:2])
        yield data[2:end]
        data = data[end:]


def shown(text: str) -> None:
    """Check that `text`, as it is shown, does nothing to a terminal."""
    assert not any(map(is_control, printable(text))), f"it is shown as {printable(text)!r}"


@functools.cache
def _folder() -> Path:
    folder = tempfile.TemporaryDirectory(prefix="punchwire-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def file_of(data: bytes, name: str = "input") -> Path:
    """Return a file that holds `data`, the same one each time, for its owner alone."""
    path = _folder() / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def in_loop(run: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine in an event loop of its own."""
    with asyncio.Runner() as runner:
        return runner.run(run())


def without_waiting(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine for which all has come already."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    finally:
        coroutine.close()
    raise AssertionError("it waits for more, where all has come")
