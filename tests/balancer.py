"""HAProxy in front of two mediators, on loopback, with the configuration of docker-compose.yml.

It takes connections on a socket that is listening before it starts, so nobody has to wait for it, and nobody else has
its port. What it is asked meanwhile goes to a socket of its own.
"""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.programs import PATIENCE, end

CONFIGURATION = Path(__file__).parents[1] / "share" / "doc" / "punchwire" / "haproxy.cfg"
HERE = "127.0.0.1"
INSTANCES = ("a", "b")  # as the configuration calls them
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def program(name: str) -> str:
    """Return the path of a program that scripts/system-packages installs; without it the test is skipped, but in CI."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{name} is not installed")
    return found


@dataclass(frozen=True)
class Balancer:
    """A running HAProxy."""

    process: subprocess.Popen[str]
    port: int
    _asked_at: int

    @classmethod
    def start(cls, folder: Path, ports: Sequence[int], health_ports: Sequence[int], **settings: str) -> Self:
        """Start one in front of mediators at these ports; what it says on standard error is in `folder`.

        `health_ports` are those of their metrics, `settings` more of its variables.
        """
        where = {}
        for name, port, health in zip(INSTANCES, ports, health_ports, strict=True):
            where[f"PUNCHWIRE_MEDIATOR_{name.upper()}"] = f"{HERE}:{port}"
            where[f"PUNCHWIRE_HEALTH_{name.upper()}"] = str(health)
        asking = folder / "asking.cfg"
        asking.write_text('global\n    stats socket "${PUNCHWIRE_ASKED}" level admin\n')
        with socket.create_server((HERE, 0)) as peers, socket.create_server((HERE, 0)) as asked, ExitStack() as files:
            where |= {"PUNCHWIRE_LISTEN": _inherited(peers), "PUNCHWIRE_ASKED": _inherited(asked)}
            process = subprocess.Popen(
                [program("haproxy"), "-db", "-f", CONFIGURATION, "-f", asking],
                env=os.environ | where | settings,
                pass_fds=(peers.fileno(), asked.fileno()),
                text=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=files.enter_context((folder / "haproxy.log").open("w")),
            )
            return cls(process, peers.getsockname()[1], asked.getsockname()[1])

    def stop(self) -> int:
        """End it; return its exit code."""
        return end(self.process)

    def finish(self) -> int:
        """Let it end when no connection is left; return its exit code."""
        self.process.send_signal(signal.SIGUSR1)
        self.process.wait(PATIENCE)
        return self.stop()

    def send_to(self, *instances: str) -> None:
        """Let new connections go to these only; those that are there stay."""
        for name in INSTANCES:
            self.ask(f"set server mediators/{name} state {'ready' if name in instances else 'drain'}")

    def states(self) -> dict[str, str]:
        """What it thinks of each mediator: UP, DOWN, or on the way from one to the other."""
        rows = [line.split(",") for line in self.ask("show stat").splitlines()]
        return {row[1]: row[17] for row in rows if row[0] == "mediators" and row[1] in INSTANCES}

    def ask(self, command: str) -> str:
        """Return what it answers to a command of its management guide, section 9.3."""
        with socket.create_connection((HERE, self._asked_at), PATIENCE) as asking, asking.makefile("rw") as text:
            text.write(f"{command}\n")
            text.flush()
            return text.read()


def _inherited(listening: socket.socket) -> str:
    listening.set_inheritable(True)
    return f"fd@{listening.fileno()}"
