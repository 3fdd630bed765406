"""Processor time and memory of children, and theirs."""

import subprocess
import sys

import pytest

from benchmarks.meter import Meter
from tests.programs import end

SPEND = """
import os, sys, time
held = b"x" * int(sys.argv[2])
while time.process_time() < float(sys.argv[1]): pass
print("spent", flush=True)
sys.stdin.readline()
"""
IN_A_CHILD = "import subprocess, sys; subprocess.run([sys.executable, *sys.argv[1:]], check=True)"


def spending(seconds: float, size: int, *before: str) -> "subprocess.Popen[str]":
    argv = [sys.executable, *before, "-c", SPEND, str(seconds), str(size)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def wait_until_spent(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "spent\n"


@pytest.mark.parametrize("before", [(), ("-c", IN_A_CHILD)])
def test_a_child_and_a_childs_child(before: tuple[str, ...]) -> None:
    with Meter() as meter:
        process = spending(0.5, 100_000_000, *before)
        wait_until_spent(process)
        process.communicate("\n")
    assert process.returncode == 0
    assert meter.cpu >= 0.5
    assert meter.server_cpu == 0
    if sys.platform == "linux":
        assert 100_000_000 <= meter.memory < 200_000_000


def test_what_was_there_before_is_no_part_of_it() -> None:
    process = spending(0.5, 100_000_000)
    try:
        wait_until_spent(process)
        with Meter(process.pid) as meter:
            other = spending(0.2, 1)
            wait_until_spent(other)
            other.communicate("\n")
        assert 0.2 <= meter.cpu < 0.5
        assert meter.server_cpu < 0.1
        assert meter.memory < 100_000_000
    finally:
        end(process)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_server_is_measured_by_itself() -> None:
    process = spending(0.3, 1)
    try:
        with Meter(process.pid) as meter:
            wait_until_spent(process)
        assert meter.server_cpu > 0.2
        assert meter.cpu == 0
    finally:
        end(process)
