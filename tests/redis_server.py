"""A real redis-server for tests: alone on a free port of this computer, nothing kept on disk."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

PATIENCE = 10.0  # s until it answers; it takes 10 ms
PROGRAM = "redis-server"


def needed() -> None:
    """Skip the test where there is no redis-server, unless CI says that there is one."""
    if shutil.which(PROGRAM) is None:
        reason = f"{PROGRAM} is not installed; scripts/system-packages does it"
        pytest.fail(reason, pytrace=False) if os.environ.get("CI") == "true" else pytest.skip(reason)


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RedisServer:
    """Starts at once. It can be killed, frozen, and started again on the same port."""

    def __init__(self, *options: str) -> None:
        self.port = free_port()
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="punchwire-redis-")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._folder.cleanup()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        log = Path(self._folder.name, "log")
        self._process = subprocess.Popen(
            [
                PROGRAM,
                *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder.name),
                *("--save", "", "--appendonly", "no", "--logfile", str(log)),
                *self._options,
            ],
        )
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{PROGRAM} did not start:\n{log.read_text()}")
            time.sleep(0.005)

    def kill(self) -> None:
        """End it as a crash would: everything in it is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Let it hold on to its connections, and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
                connection.sendall(b"PING\r\n")
                return bool(connection.recv(64))  # an error too: it may want a password
        except OSError:
            return False
