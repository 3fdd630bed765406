"""Benchmarks as they are run, only with less to do."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs import PATIENCE, Programs

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture
def programs() -> Iterator[Programs]:
    with Programs() as running:
        yield running


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a benchmark to its end."""
    argv = [sys.executable, BENCHMARKS / program, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
