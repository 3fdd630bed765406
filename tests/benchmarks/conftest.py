"""Benchmarks as they are run, only with less to do."""

import subprocess
import sys
from pathlib import Path

from tests.programs import PATIENCE

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a benchmark to its end."""
    argv = [sys.executable, BENCHMARKS / program, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
