"""A disk that writes nothing until it may."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from p2p_peer.transfer import sink as sink_module

from tests.peer.pair import PATIENCE

__all__ = ["closed_gate"]


@contextmanager
def closed_gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let every write to disk wait until the gate is opened."""
    gate = threading.Event()
    real = os.pwrite

    def pwrite(*arguments: Any) -> int:
        assert gate.wait(PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(sink_module.os, "pwrite", pwrite)
    yield gate
    gate.set()
