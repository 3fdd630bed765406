"""An sshd on loopback for the time of a benchmark: its own port, keys and configuration, and nothing of the user's.

The listening is ours, and each connection has an sshd of its own, as inetd would start it. So there is no port that
another may take first, and each sshd is a child whose end can be waited for, with all that ran in it.
"""

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ["HOST", "MISSING", "SshFailed", "TemporarySshd", "find", "missing_programs"]

HOST = "benchmark"  # its name in the configuration that the clients are given
MISSING = "Debian and Ubuntu have them in openssh-server and openssh-client"
_LOOPBACK = "127.0.0.1"
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"  # where sshd is, and most users' PATH does not look
_PATIENCE = 30.0  # s for an sshd to end when its client has
_SEPARATION = Path("/run/sshd")  # as root, sshd wants this empty folder; usually its service makes it
_SERVER = """\
HostKey "{folder}/host_key"
AuthorizedKeysFile "{folder}/user_key.pub"
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
LogLevel INFO
"""
_CLIENT = """\
Host {host}
HostName {address}
Port {port}
User {user}
IdentityFile "{folder}/user_key"
UserKnownHostsFile "{folder}/known_hosts"
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
IdentitiesOnly yes
IdentityAgent none
BatchMode yes
LogLevel ERROR
"""


class SshFailed(Exception):
    """There is no sshd, or it does not start."""


def missing_programs() -> list[str]:
    """Return which of OpenSSH's programs are not installed."""
    return [name for name in ("sshd", "ssh", "scp", "ssh-keygen") if find(name) is None]


class TemporarySshd:
    """Listens while it is entered. `folder` takes its files, and is the caller's to remove."""

    def __init__(self, folder: Path) -> None:
        """Take `folder`, which must not exist."""
        self._folder = folder
        self._made_separation = False
        self._sessions: list[subprocess.Popen[str]] = []  # that are not known to have ended
        self._said: list[str] = []

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700)
        for name in ("host_key", "user_key"):
            make = [_needed("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self._folder / name]
            subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
        settings = self._folder / "sshd_config"
        settings.write_text(_SERVER.format(folder=self._folder))
        self._sshd = [_needed("sshd"), "-i", "-e", "-f", str(settings)]
        self._separate()
        try:
            self._check()
            self._listen()
        except BaseException:
            self._remove_separation()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the accepting
        self._acceptor.join()
        self._listener.close()
        for session in self._sessions:
            session.terminate()
        self.settle()
        self._remove_separation()

    def command(self, program: str, cipher: str | None) -> list[str]:
        """Return how `ssh` or `scp` is begun; `HOST` is then the sshd. OpenSSH takes its default cipher for None."""
        chosen = [] if cipher is None else ["-c", cipher]
        return [_needed(program), "-q", "-F", str(self._folder / "ssh_config"), *chosen]

    def shell_command(self, program: str, cipher: str | None) -> str:
        """As `command`, in one string."""
        return shlex.join(self.command(program, cipher))

    def settle(self) -> None:
        """Wait until every sshd has ended whose client has."""
        while self._sessions:
            session = self._sessions[0]
            _, said = session.communicate(timeout=_PATIENCE)
            self._said += said.splitlines()
            self._sessions.remove(session)

    def last_words(self) -> str:
        """What the sshds have said last."""
        return "; ".join(self._said[-3:])

    def _check(self) -> None:
        done = subprocess.run(
            [*self._sshd, "-t"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SshFailed(f"sshd does not start: {'; '.join(done.stderr.splitlines()[-3:])}")

    def _listen(self) -> None:
        self._listener = socket.create_server((_LOOPBACK, 0))
        port = self._listener.getsockname()[1]
        host_key = (self._folder / "host_key.pub").read_text()
        (self._folder / "known_hosts").write_text(f"[{_LOOPBACK}]:{port} {host_key}")
        client = _CLIENT.format(host=HOST, address=_LOOPBACK, port=port, user=getpass.getuser(), folder=self._folder)
        (self._folder / "ssh_config").write_text(client)
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._separate()
            with connection:
                self._sessions.append(self._start(connection))

    def _start(self, connection: socket.socket) -> "subprocess.Popen[str]":
        end = connection.fileno()
        return subprocess.Popen(self._sshd, stdin=end, stdout=end, stderr=subprocess.PIPE, text=True)

    def _separate(self) -> None:
        if os.geteuid() == 0 and not _SEPARATION.exists():
            _SEPARATION.mkdir(mode=0o755)
            self._made_separation = True

    def _remove_separation(self) -> None:
        if self._made_separation:
            with suppress(FileNotFoundError):
                _SEPARATION.rmdir()


def find(program: str) -> str | None:
    """Return where a program is."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


def _needed(name: str) -> str:
    found = find(name)
    if found is None:
        raise SshFailed(f"{name} is not installed: {MISSING}")
    return found
