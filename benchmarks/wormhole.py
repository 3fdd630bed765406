"""magic-wormhole, as `benchmarks/transfer.py` lets it copy: in an environment of its own, with a mailbox server of its
own, and without a relay.
"""

import json
import os
import re
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any, Self

from benchmarks.contestants import PATIENCE, Contestant, CopyFailed, Job, run
from benchmarks.sources import Keeps
from tests.programs import ProgramFailed, Programs, end

__all__ = ["MagicWormhole", "install", "start_mailbox"]

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = ROOT / ".venv-wormhole" / "bin"
LOOPBACK = "127.0.0.1"
LISTENING = r"Site (?:\(TLS\) )?starting on (\d+)\n"  # what the mailbox server logs when it does, with its port
START_TIME = 30.0  # s for that
INSTALLATION_TIME = 600.0  # s


def install() -> str:
    """Make the environment, unless it is there; return why that is not possible, or nothing."""
    make = ["make", "--silent", "--directory", str(ROOT), ".venv-wormhole/.installed"]
    try:
        done = subprocess.run(make, capture_output=True, text=True, timeout=INSTALLATION_TIME, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    return "" if done.returncode == 0 else (said or ["make failed"])[-1]


def start_mailbox(folder: Path, programs: Programs, endpoint: str = "tcp:0") -> tuple["subprocess.Popen[str]", int]:
    """Start a mailbox server, which keeps nothing, at an endpoint of Twisted's on loopback; return it and its port."""
    log = folder / "mailbox.log"
    listen = ["--port", f"{endpoint}:interface={LOOPBACK}", "--channel-db", ":memory:"]
    twist = [str(PROGRAMS / "twist"), "--log-file", str(log), "--log-format", "text"]
    mailbox = subprocess.Popen([*twist, "wormhole-mailbox", *listen], stdin=subprocess.DEVNULL, text=True)
    programs.callback(end, mailbox)
    deadline = time.monotonic() + START_TIME
    while not (found := re.search(LISTENING, log.read_text() if log.exists() else "")):
        if mailbox.poll() is not None or time.monotonic() > deadline:
            raise ProgramFailed(f"the mailbox server does not listen: exit code {mailbox.poll()}")
        time.sleep(0.05)
    return mailbox, int(found[1])


class MagicWormhole(Contestant):
    """`wormhole send` and `wormhole receive`, connected directly. It always writes a new file."""

    keeps = Keeps.NOTHING  # modes of files it keeps, but not of folders

    def __init__(self, server: int, port: int, folder: Path) -> None:
        """Use the mailbox server on `port`, which is the process `server`; `folder` takes temporary files."""
        self.server = server
        self._folder = folder
        self._wormhole = [str(PROGRAMS / "wormhole"), "--relay-url", f"ws://{LOOPBACK}:{port}/v1", "--transit-helper="]

    @classmethod
    def start(cls, folder: Path, programs: Programs) -> Self:
        """Start a mailbox server of its own."""
        folder.mkdir()
        mailbox, port = start_mailbox(folder, programs)
        return cls(mailbox.pid, port, folder)

    def copy(self, job: Job) -> float:
        """Copy; the time is the sender's: all but start and meeting."""
        code = f"{secrets.randbelow(10**6)}-benchmark"
        times = self._folder / "times.json"
        sending = [*self._wormhole, "--dump-timing", str(times), "send", "--no-qr", "--hide-progress"]
        receiving = [*self._wormhole, "receive", "--hide-progress", "--accept-file", "--output-file", str(job.target)]
        receiver = subprocess.Popen(
            [*receiving, code],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"TMPDIR": str(self._folder)},  # where it keeps the archive of a tree until it has come
        )
        try:
            run([*sending, "--code", code, str(job.source.path)])
            if receiver.wait(PATIENCE) != 0:
                raise CopyFailed(f"wormhole receive ended with exit code {receiver.returncode}")
        finally:
            end(receiver)
        return _time_of_the_files(json.loads(times.read_text()))


def _time_of_the_files(events: list[dict[str, Any]]) -> float:
    """Add up what it takes to list them, which is between two messages of the meeting, and to send them."""

    def only(name: str, **details: str) -> dict[str, Any]:
        """Return the event of this name and details."""
        (found,) = (event for event in events if event["name"] == name and details.items() <= event["details"].items())
        return found

    (welcome,) = (event for event in events if event["details"].get("message", {}).get("type") == "welcome")
    listing = only("ws_send", type="claim")["start"] - welcome["start"]
    return float(listing + only("get ack")["stop"] - only("tx file")["start"])
