import ctypes

import pytest
from p2p_core.allocator import keep_freed_memory


def test_both_thresholds_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []

    class Library:
        mallopt = staticmethod(lambda *arguments: calls.append(arguments))

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Library)
    keep_freed_memory()
    assert calls == [(-3, 4 * 1024**2), (-1, 16 * 1024**2)]


def test_a_c_library_without_it_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_memory()


def test_this_one_takes_it() -> None:
    keep_freed_memory()
