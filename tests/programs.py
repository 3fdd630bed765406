"""Punchwire's real programs as child processes: a mediator, and peers that report as JSON.

Used by the tests that need real processes, by `benchmarks/` and by `scripts/demo.py`. Whoever starts a
process says where: on this computer, or on a host of the lab.
"""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any, Final, Self

from p2p_core.identity import PeerId, load_public_key

DIRECT: Final = frozenset({"tcp", "quic"})  # paths; QUIC is taken where a busy machine holds TCP up for 0.1 s
PATIENCE = 30.0  # s for anything to happen; it takes less than one

Start = Callable[..., subprocess.Popen[str]]  # takes an argument vector and the options of Popen


class ProgramFailed(Exception):
    """A program did not do what was waited for."""


def start_here(argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
    """Start a process on this computer."""
    return subprocess.Popen(argv, text=True, **options)


def p2p_peer(*arguments: str | Path) -> list[str]:
    """Return the argument vector of `p2p-peer`."""
    return _program("p2p-peer", "p2p_peer.cli.main", arguments)


def p2p_server(*arguments: str | Path) -> list[str]:
    """Return the argument vector of `p2p-server`."""
    return _program("p2p-server", "p2p_server", arguments)


def _program(script: str, module: str, arguments: Sequence[str | Path]) -> list[str]:
    installed = Path(sys.executable).parent / script
    command = [str(installed)] if installed.exists() else [sys.executable, "-m", module]
    return [*command, *map(str, arguments)]


@dataclass(frozen=True, slots=True)
class Keys:
    """A peer's keys in a folder of their own, made by the real command."""

    folder: Path
    peer: PeerId

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Make a pair in `folder`."""
        subprocess.run(p2p_peer("keygen", folder), check=True, stdout=subprocess.DEVNULL)
        return cls(folder, PeerId.of(load_public_key((folder / "public.pem").read_bytes())))

    @property
    def pair(self) -> Path:
        """The key pair."""
        return self.folder / "key.pem"

    @property
    def public(self) -> Path:
        """The public key."""
        return self.folder / "public.pem"

    def forget_mediators(self) -> None:
        """Let its peer remember none: a new one may be on a port that an earlier one had."""
        (self.folder / "state" / "trust.json").unlink(missing_ok=True)


@dataclass
class Mediator:
    """A running `p2p-server`."""

    process: subprocess.Popen[str]
    host: str
    port: int
    stun_port: int  # 0: it answers no STUN
    id: str

    @classmethod
    def start(
        cls,
        folder: Path,
        admitted: Sequence[Keys],
        *flags: str | Path,
        start: Start = start_here,
        host: str = "127.0.0.1",
    ) -> Self:
        """Start one on ports of its own choice that admits `admitted`; its files are in `folder`."""
        authorized = folder / "authorized"
        authorize = p2p_server("authorize", "--authorized", authorized, *(keys.public for keys in admitted))
        subprocess.run(authorize, check=True, stdout=subprocess.DEVNULL)
        stun = () if "--no-stun" in flags else ("--stun-port", "0")
        where = ("--host", host, "--port", "0", *stun, "--authorized", authorized, "--state-dir", folder)
        logs = ["--log-format", "json", "--log-level", "warning"]
        process = start(p2p_server(*where, *logs, *flags), stdout=subprocess.PIPE)
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            process.wait(PATIENCE)
            raise ProgramFailed(f"the mediator did not start: exit code {end(process)}")
        ready = json.loads(line)
        return cls(process, host, ready["port"], ready["stun_port"] or 0, ready["mediator_id"] or "")

    def stop(self) -> int:
        """End it; return its exit code."""
        return end(self.process)


@dataclass(eq=False)
class Peer:
    """A running `p2p-peer --json`, and what it has said so far."""

    name: str
    process: subprocess.Popen[str]
    events: list[dict[str, Any]] = field(default_factory=list)
    times: dict[str, float] = field(default_factory=dict)  # s since the start, of the first event of each kind
    _started: float = field(default_factory=time.monotonic)
    _heard: Queue[str | None] = field(default_factory=Queue)

    @classmethod
    def start(
        cls,
        name: str,
        mediator: Mediator,
        own: Keys,
        other: Keys,
        *flags: str | Path,
        start: Start = start_here,
        **options: Any,
    ) -> Self:
        """Start one that meets `other`; what it remembers is in the folder of its keys."""
        where = (mediator.host, str(mediator.port), own.pair, other.public)
        argv = p2p_peer(*where, "--json", "--state-dir", own.folder / "state", *flags)
        options.setdefault("stdin", subprocess.DEVNULL)
        return cls(name, start(argv, stdout=subprocess.PIPE, **options))

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, kind: str, patience: float = PATIENCE, *, nth: int = 1) -> dict[str, Any]:
        """Return the nth event of this kind. Raises `ProgramFailed` when something else ends the waiting."""
        deadline = time.monotonic() + patience
        while len(found := self.all(kind)) < nth:
            try:
                heard = self._heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise ProgramFailed(f"{self.name} said no {kind} within {patience:.0f} s") from None
            if len(self.all(kind)) < nth and (heard is None or heard == "error"):
                reason = (self.first("error") or {}).get("message", "no reason given")
                raise ProgramFailed(f"{self.name} ended before it said {kind}: {reason}")
        return found[nth - 1]

    def in_the_middle(self) -> dict[str, Any]:
        """Return the first `transfer_progress` once blocks have come or gone."""
        nth = 1
        while (progress := self.wait_for("transfer_progress", nth=nth))["bytes"] == 0:
            nth += 1
        return progress

    def first(self, kind: str) -> dict[str, Any] | None:
        """Return the first event of this kind, if there was one."""
        return next((event for event in self.events if event["event"] == kind), None)

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Return all events of this kind so far."""
        return [event for event in self.events if event["event"] == kind]

    def exit_code(self, patience: float = PATIENCE) -> int:
        """Wait for the end; return the exit code. Every event has been read by then."""
        code = self.process.wait(patience)
        self._reader.join(patience)
        return code

    def stop(self) -> int:
        """End it; return its exit code."""
        return end(self.process)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)  # anything else on standard output is a failure, and ends the reading
            self.times.setdefault(event["event"], time.monotonic() - self._started)
            self.events.append(event)
            self._heard.put(event["event"])
        self._heard.put(None)


class Programs(ExitStack):
    """Programs that are ended when it is left, whatever happened."""

    def mediator(self, *arguments: Any, **options: Any) -> Mediator:
        """As `Mediator.start`."""
        mediator = Mediator.start(*arguments, **options)
        self.callback(mediator.stop)
        return mediator

    def peer(self, *arguments: Any, **options: Any) -> Peer:
        """As `Peer.start`."""
        peer = Peer.start(*arguments, **options)
        self.callback(peer.stop)
        return peer


def end(process: subprocess.Popen[str]) -> int:
    """End a process if it still runs, close its pipes, and return its exit code."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    return process.returncode
