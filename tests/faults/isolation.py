"""One run in namespaces of its own: network, mounts, and where `ip netns` keeps its names.

Runs side by side have the same ports, and each may fill disks. What is started in there is a group of its own.
"""

import sys
from collections.abc import Sequence
from typing import Final

from tests.lab import rootless
from tests.lab.netns import LabError, tool

__all__ = ["isolated", "unavailable"]

_INSIDE: Final = """
mount -t tmpfs tmpfs /run && "$0" link set lo up && exec "$@"
"""


def unavailable() -> str:
    """Why nothing can be run like that here; empty where it can."""
    found = rootless.availability()
    return found.reason if found.mode == "none" else ""


def isolated(argv: Sequence[str]) -> list[str]:
    """Return the argument vector that runs this Python with `argv` like that. Raises LabError where it cannot be."""
    if reason := unavailable():
        raise LabError(reason)
    inside = [tool("sh"), "-c", _INSIDE, tool("ip"), sys.executable, *argv]
    return rootless.command([tool("unshare"), "-nm", "--propagation", "private", *inside])
