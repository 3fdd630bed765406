"""A pytest plugin that lets the event loop stand still now and then, as on a machine that is busy elsewhere.

    make test ARGS='-p tests.stalls tests/peer'
    STALLS_SEED=7 make test ARGS='-p tests.stalls tests/peer/test_run.py'

A test that fails with it, and not without, depends on how fast the machine is: on luck. Such a test is mended by a
clock of its own, or by waiting for what it needs; a longer time only makes it rarer.
"""

import asyncio
import os
import random
import time
from typing import Any, Final

import pytest

CHANCE: Final = 0.03  # of a stall in one turn of the loop
STALL: Final = (0.2, 0.6)  # s; a virtual machine on a busy host
MOST: Final = 6  # stalls in one test, so that it comes to an end


class Stalls:
    """When the loop stands still."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._random = random.Random(seed)
        self._left = MOST

    def turn(self) -> None:
        """Stand still, or not."""
        if self._left and self._random.random() < CHANCE:
            self._left -= 1
            time.sleep(self._random.uniform(*STALL))

    def pytest_report_header(self) -> str:
        return f"stalls: STALLS_SEED={self._seed}"

    def pytest_runtest_setup(self) -> None:
        self._left = MOST


def pytest_configure(config: pytest.Config) -> None:
    stalls = Stalls(os.environ.get("STALLS_SEED") or str(random.randrange(2**32)))
    config.pluginmanager.register(stalls)
    every_loop: Any = asyncio.BaseEventLoop
    turn = every_loop._run_once

    def slow_turn(loop: asyncio.AbstractEventLoop) -> None:
        stalls.turn()
        turn(loop)

    every_loop._run_once = slow_turn
