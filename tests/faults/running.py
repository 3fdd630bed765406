"""One process of a peer: what it was given, what it has said, and how it ended. It may be killed at any moment."""

import contextlib
import json
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final

from tests.faults.scenario import Job

__all__ = ["Running"]

READER_PATIENCE: Final = 10.0  # s until all that a dead process has said is read
WORDS: Final = 400  # in the longest line


class Running:
    """A `p2p-peer --json`. What it says on standard error goes to a file."""

    def __init__(self, side: str, number: int, process: subprocess.Popen[str], errors: Path, job: Job) -> None:
        """It is the process `number` of this side; for a chat it gets its lines one after the other."""
        self.side, self.number, self.process, self.errors = side, number, process, errors
        self.started = time.monotonic()
        self.ended_at: float | None = None
        self.events: list[dict[str, Any]] = []
        self.garbage: list[str] = []  # on standard output, that is no event
        self.written: list[str] = []
        self.killed = self.hung = False  # by us; past its deadline
        self.signalled_at: float | None = None
        self._job = job
        self._said = 0  # of the events, how many were looked at for `progress`
        self._shown, self._part = 0, 0.0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def name(self) -> str:
        return f"{self.side}{self.number}"

    def poll(self) -> bool:
        """Whether it has ended; then all that it has said was read."""
        if self.ended_at is None and self.process.poll() is not None:
            self._reader.join(READER_PATIENCE)
            self.ended_at = time.monotonic()
        return self.ended_at is not None

    def said(self, kind: str) -> bool:
        return any(event["event"] == kind for event in tuple(self.events))

    def give_lines(self) -> None:
        """Give a chat the lines that are due by now, and the end behind the last one."""
        job, stdin = self._job, self.process.stdin
        if not job.is_chat or stdin is None or stdin.closed or not self.said("connected"):
            return
        if len(self.written) == 0:
            self._talks_since = time.monotonic()
        due = min(job.lines, 1 + int((time.monotonic() - self._talks_since) / job.seconds * job.lines))
        try:
            while len(self.written) < due:
                number = len(self.written)
                line = f"{self.name}/{number} {'word ' * (number * 37 % WORDS if number % 5 == 0 else 3)}".rstrip()
                self.written.append(line)
                stdin.write(f"{line}\n")
                stdin.flush()
            if due == job.lines:
                stdin.close()
        except OSError:  # it has gone
            self._close_input()

    def paste(self, text: str) -> None:
        """Type a line that is no message: a token."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{text}\n")
            self.process.stdin.flush()
            if not self._job.is_chat:
                self.process.stdin.close()
        except OSError:
            self._close_input()

    def progress(self) -> tuple[int, float]:
        """How many messages it was shown, and which part of a tree it has received."""
        events = self.events
        for event in events[self._said : len(events)]:
            self._said += 1
            match event:
                case {"event": "message"}:
                    self._shown += 1
                case {"event": "transfer_progress", "direction": "received", "bytes": int(some), "total": int(total)}:
                    self._part = max(self._part, some / max(total, 1))
                case {"event": "transfer_received"}:
                    self._part = 1.0
        return self._shown, self._part

    def hears_signals(self) -> bool:
        """Whether it catches them (proc(5)), as it does from its first instruction on."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:  # it has just ended
            return False
        caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def kill(self) -> None:
        """End it as a crash would."""
        self.killed = True
        self.process.kill()
        self.process.wait()
        self.poll()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if number in (signal.SIGTERM, signal.SIGINT):
            self.signalled_at = time.monotonic()
        self.process.send_signal(number)

    def close(self) -> None:
        """Let go of it; it has ended."""
        self._close_input()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def _close_input(self) -> None:
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):  # what was still to be written
                self.process.stdin.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                event = json.loads(line)
                event["event"]
            except (ValueError, KeyError, TypeError):
                self.garbage.append(line)
            else:
                self.events.append(event | {"at": time.monotonic()})
