"""Whom `benchmarks/transfer.py` lets copy: Punchwire on each of its paths, a plain socket, and what OpenSSH carries."""

import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks import plain_socket, quic_peer
from benchmarks.sources import Keeps, Source
from benchmarks.temporary_sshd import HOST, TemporarySshd
from tests.programs import Keys, Mediator, ProgramFailed, Programs, end, p2p_peer, start_here

__all__ = [
    "UNLIMITED_RELAY",
    "Contestant",
    "CopyFailed",
    "Job",
    "PlainSocket",
    "Punchwire",
    "Rsync",
    "Scp",
    "TarOverSsh",
    "run",
]

AES = "aes128-gcm@openssh.com"  # the fastest cipher OpenSSH has where processors know AES
PATIENCE = 900.0  # s for one copy
MEETING_TIME = 60.0  # s for one peer to wait for the other
UNLIMITED_RELAY = (
    *("--relay-rate", "0", "--relay-bytes", "0"),
    *("--relay-total-rate", "0", "--relay-total-bytes", "0"),
)
PATH_FLAGS = {"tcp": "--direct-only", "quic": "--direct-only", "relay": "--relay-only"}


class CopyFailed(Exception):
    """A copy is not what the source is, or did not come to be."""


@dataclass(frozen=True, slots=True)
class Job:
    """One copy to make: of `source`, into the folder `inbox`, under the same name."""

    source: Source
    inbox: Path
    in_place: bool = False  # a file is there, and is to be overwritten

    @property
    def target(self) -> Path:
        """Where the copy is to be."""
        return self.inbox / self.source.path.name


class Contestant(ABC):
    """One way to copy."""

    keeps = Keeps.ALL  # of the files of a tree
    for_trees_only = False
    server: int | None = None  # a process that is part of neither end

    @abstractmethod
    def copy(self, job: Job) -> float:
        """Copy; return how many seconds the files alone took, 0 if it does not tell. Raises `CopyFailed`."""

    def settle(self) -> None:
        """Wait until all of its processes have ended, but for servers."""
        return


class Punchwire(Contestant):
    """The real command, twice, introduced by a mediator."""

    def __init__(self, mediator: Mediator, alice: Keys, bob: Keys, path: str) -> None:
        """Over the kind of path that `path` names."""
        self._mediator, self._alice, self._bob, self._path = mediator, alice, bob, path
        self.server = mediator.process.pid

    @classmethod
    def on_each_path(cls, folder: Path, programs: Programs) -> dict[str, "Punchwire"]:
        """Start a mediator for all of them."""
        alice, bob = Keys.make(folder / "alice"), Keys.make(folder / "bob")
        mediator = programs.mediator(folder / "mediator", [alice, bob], *UNLIMITED_RELAY)
        return {path: cls(mediator, alice, bob, path) for path in PATH_FLAGS}

    def copy(self, job: Job) -> float:
        """Send from alice to bob; the time is from the connection to the receipt: all but start and meeting."""
        # Without --wait one would wait for ever for another that failed.
        how = ("--wait", str(MEETING_TIME), PATH_FLAGS[self._path])
        overwriting = ("--overwrite", "always", "--in-place") if job.in_place else ()
        with Programs() as programs:
            receive = ("--yes", "--receive", job.inbox, *overwriting)
            bob = programs.peer("bob", self._mediator, self._bob, self._alice, *how, *receive, start=self._start)
            send = ("--send", job.source.path)
            alice = programs.peer("alice", self._mediator, self._alice, self._bob, *how, *send, start=self._start)
            try:
                sent = alice.wait_for("transfer_sent", PATIENCE)
                codes = (alice.exit_code(), bob.exit_code())
                bob.wait_for("transfer_received")
            except ProgramFailed as failure:
                errors = ((peer.name, peer.first("error")) for peer in (bob, alice))
                said = [
                    f"{name} says: {error['message']}"
                    for name, error in errors
                    if error and error["message"] not in str(failure)
                ]
                raise CopyFailed("; ".join([str(failure), *said])) from failure
        if codes != (0, 0):
            raise CopyFailed(f"p2p-peer ended with the exit codes {codes}")
        if (path := alice.wait_for("connected")["path"]) != self._path:
            raise CopyFailed(f"the path was {path}")
        if sent["moved"] < job.source.bytes:
            raise CopyFailed(f"only {sent['moved']} of {job.source.bytes} bytes were sent")
        return alice.times["transfer_sent"] - alice.times["connected"]

    def _start(self, argv: Sequence[str], **options: Any) -> "subprocess.Popen[str]":
        if self._path == "quic":
            argv = [sys.executable, quic_peer.__file__, *argv[len(p2p_peer()) :]]
        return start_here(argv, **options)


class PlainSocket(Contestant):
    """`plain_socket.py`, twice; trees are packed and unpacked by `tar`."""

    def copy(self, job: Job) -> float:
        """Copy; the time is the sender's."""
        program, suffix = [sys.executable, plain_socket.__file__], "-tree" if job.source.is_tree else ""
        where = job.inbox if job.source.is_tree else job.target
        receiver = subprocess.Popen([*program, f"receive{suffix}", where], stdout=subprocess.PIPE, text=True)
        try:
            assert receiver.stdout is not None
            port = receiver.stdout.readline().strip()
            said = run([*program, f"send{suffix}", str(job.source.path), port])
            if receiver.wait(PATIENCE) != 0:
                raise CopyFailed("the plain connection broke")
        finally:
            end(receiver)
        return float(said)


class _OverSsh(Contestant):
    """What tells no time of its own, and has an sshd at the other end."""

    def __init__(self, sshd: TemporarySshd, cipher: str | None = AES) -> None:
        """Take OpenSSH's own choice of a cipher for None."""
        self._sshd, self._cipher = sshd, cipher

    def settle(self) -> None:
        """Wait for the sshd."""
        self._sshd.settle()


class Scp(_OverSsh):
    """`scp`, which overwrites a file in place. Without -p, which would cost it a round trip for each file."""

    keeps = Keeps.MODES

    def copy(self, job: Job) -> float:
        """Copy."""
        recursively = ["-r"] if job.source.is_tree else []
        run([*self._sshd.command("scp", self._cipher), *recursively, str(job.source.path), f"{HOST}:{job.inbox}/"])
        return 0.0


class Rsync(_OverSsh):
    """`rsync -a`. It never looks for what is the same on both sides, because nothing is."""

    def copy(self, job: Job) -> float:
        """Copy."""
        flags = ["-a", "--whole-file", *(["--inplace"] if job.in_place else [])]
        shell = self._sshd.shell_command("ssh", self._cipher)
        run(["rsync", *flags, "-e", shell, str(job.source.path), f"{HOST}:{job.inbox}/"])
        return 0.0


class TarOverSsh(_OverSsh):
    """`tar | ssh tar`."""

    for_trees_only = True

    def copy(self, job: Job) -> float:
        """Copy."""
        path = job.source.path
        unpack = [*self._sshd.command("ssh", self._cipher), HOST, f"tar -xpf - -C {shlex.quote(str(job.inbox))}"]
        with subprocess.Popen(["tar", "-cf", "-", "-C", path.parent, path.name], stdout=subprocess.PIPE) as packing:
            run(unpack, stdin=packing.stdout)
        if packing.returncode != 0:
            raise CopyFailed(f"tar ended with exit code {packing.returncode}")
        return 0.0


def run(argv: Sequence[str], *, stdin: IO[bytes] | None = None) -> str:
    """Run a program to its end; return what it printed. Raises `CopyFailed`."""
    source = subprocess.DEVNULL if stdin is None else stdin
    try:
        done = subprocess.run(argv, stdin=source, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise CopyFailed(str(error)) from error
    if done.returncode != 0:
        last_line = (done.stderr.strip().splitlines() or ["it does not say why"])[-1]
        raise CopyFailed(f"{Path(argv[0]).name} ended with exit code {done.returncode}: {last_line}")
    return done.stdout
