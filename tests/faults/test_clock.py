"""A moved clock is wrong by what it was told, in a program that runs already; and waits are as long as ever."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults import clock
from tests.faults.clock import MovedClock

PROGRAM = """
import datetime, sys, threading, time
for _ in sys.stdin:
    began = time.monotonic()
    threading.Event().wait(0.01)
    time.sleep(0.01)
    print(time.time(), datetime.datetime.now().timestamp(), time.clock_gettime(time.CLOCK_REALTIME),
          began, time.monotonic(), flush=True)
"""


@pytest.mark.skipif(bool(clock.unavailable()), reason=clock.unavailable())
def test_it_moves_while_a_program_runs(tmp_path: Path) -> None:
    moved = MovedClock(tmp_path / "clock")
    argv = [sys.executable, "-c", PROGRAM]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(argv, text=True, env=os.environ | moved.environment, **pipes) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        last = 0.0
        for hours in (0, 26, -3, 0.1, 0):
            moved.move(hours)
            before, steady = time.time(), time.monotonic()
            program.stdin.write("\n")
            program.stdin.flush()
            *walls, began, ended = map(float, program.stdout.readline().split())
            after = time.time()
            for wall in walls:
                assert before - 1 <= wall - hours * 3600 <= after + 1
            assert steady <= began < ended <= time.monotonic()
            assert began >= last
            last = ended
