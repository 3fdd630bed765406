"""A disk that writes nothing until it may."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.peer.pair import PATIENCE

__all__ = ["Gate", "closed_gate"]


class Gate(threading.Event):
    """What writes wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()  # something waits


@contextmanager
def closed_gate(monkeypatch: pytest.MonkeyPatch, after: int = 0) -> Iterator[Gate]:
    """Let every write of files to disk, but for the first `after`, wait until the gate is opened."""
    gate = Gate()
    real, count = os.pwrite, 0

    def pwrite(*arguments: Any) -> int:
        nonlocal count
        count += 1
        if count > after:
            gate.reached.set()
            assert gate.wait(PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(os, "pwrite", pwrite)
    yield gate
    gate.set()
