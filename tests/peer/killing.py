"""A process that is killed at a chosen system call: from then on none of its calls does anything."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["Killed", "killed_at"]

_CALLS = (
    "close ftruncate fchmod fsync link listdir mkdir open pwrite rename rmdir stat symlink unlink utime write"
).split()
_CHANGES = set(_CALLS) - {"listdir", "stat"}  # killed before one that only looks is as before the next that changes


class Killed(BaseException):
    """The process is no more."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[None]:
    """Let this thread and those named "write" be killed before their call `number` that changes something.

    At the end their open files are closed, as the system does.
    """
    calls, dead = 0, False
    opened: set[int] = set()
    owner = threading.current_thread()
    real_close = os.close

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal calls, dead
            thread = threading.current_thread()
            if thread is not owner and thread.name != "write":
                return real(*arguments, **named)
            calls += name in _CHANGES
            if dead or calls > number:
                dead = True
                raise Killed
            if name == "close":
                opened.discard(arguments[0])
            result = real(*arguments, **named)
            if name == "open":
                opened.add(result)
            return result

        return call

    with monkeypatch.context() as patches:
        for name in _CALLS:
            patches.setattr(os, name, wrapped(name, getattr(os, name)))
        patches.setattr(threading, "excepthook", _ignore_killed(threading.excepthook))
        yield
    for descriptor in opened:
        real_close(descriptor)


def _ignore_killed(hook: Callable[[threading.ExceptHookArgs], Any]) -> Callable[[threading.ExceptHookArgs], None]:
    def ignore(arguments: threading.ExceptHookArgs) -> None:
        if arguments.exc_type is not Killed:
            hook(arguments)

    return ignore
