"""An sshd on loopback for the time of a benchmark: its own port, keys and configuration, and nothing of the user's."""

import getpass
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["MISSING", "SshFailed", "TemporarySshd", "missing_programs"]

CIPHER = "aes128-gcm@openssh.com"
MISSING = "Debian and Ubuntu have them in openssh-server and openssh-client"
_LOOPBACK = "127.0.0.1"
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"  # where sshd is, and most users' PATH does not look
_PATIENCE = 10.0  # s for sshd to listen; it takes less than one
_SEPARATION = Path("/run/sshd")  # as root, sshd wants this empty folder; usually its service makes it
_SETTINGS = """\
ListenAddress {address}
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
LogLevel INFO
"""


class SshFailed(Exception):
    """sshd did not start, or scp did not copy."""


def missing_programs() -> list[str]:
    """Return which of OpenSSH's programs are not installed."""
    return [name for name in ("sshd", "scp", "ssh-keygen") if _find(name) is None]


class TemporarySshd:
    """Runs while it is entered. `folder` takes its files, and is the caller's to remove."""

    def __init__(self, folder: Path) -> None:
        """Take `folder`, which must not exist."""
        self._folder = folder
        self._port = 0
        self._process: subprocess.Popen[str] | None = None
        self._made_separation = False
        self._said: list[str] = []
        self._listens = False
        self._decided = threading.Event()  # whether it listens, or never will

    def __enter__(self) -> Self:
        self._folder.mkdir(mode=0o700)
        for name in ("host_key", "user_key"):
            make = [_needed("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self._folder / name]
            subprocess.run(make, check=True, stdin=subprocess.DEVNULL)
        self._port = _free_port()
        settings = self._folder / "sshd_config"
        settings.write_text(_SETTINGS.format(address=_LOOPBACK, port=self._port, folder=self._folder))
        host_key = (self._folder / "host_key.pub").read_text()
        (self._folder / "known_hosts").write_text(f"[{_LOOPBACK}]:{self._port} {host_key}")
        if os.geteuid() == 0 and not _SEPARATION.exists():
            _SEPARATION.mkdir(mode=0o755)
            self._made_separation = True
        try:
            self._start([_needed("sshd"), "-D", "-e", "-f", str(settings)])
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def copy(self, source: Path, destination: Path) -> None:
        """Run `scp` from here to there, through the sshd. Raises `SshFailed`."""
        options = {
            "BatchMode": "yes",
            "IdentityFile": self._folder / "user_key",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self._folder / "known_hosts",
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
        }
        argv = [_needed("scp"), "-q", "-F", "none", "-c", CIPHER, "-P", str(self._port)]
        for name, value in options.items():
            argv += ["-o", f"{name}={value}"]
        argv += [str(source), f"{getpass.getuser()}@{_LOOPBACK}:{destination}"]
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise SshFailed(
                f"scp ended with exit code {done.returncode}: {done.stderr.strip()} (sshd: {self._last_words()})"
            )

    def _start(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, args=[self._process.stderr], daemon=True)
        self._reader.start()
        self._decided.wait(_PATIENCE)
        if not self._listens:
            raise SshFailed(f"sshd did not start: {self._last_words()}")

    def _last_words(self) -> str:
        return "; ".join(self._said[-3:])

    def _read(self, said: IO[str]) -> None:
        for line in said:
            self._said.append(line.strip())
            if "Server listening" in line:
                self._listens = True
                self._decided.set()
        self._decided.set()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._reader.join()
            assert self._process.stderr is not None
            self._process.stderr.close()
        if self._made_separation:
            _SEPARATION.rmdir()


def _find(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}")


def _needed(name: str) -> str:
    found = _find(name)
    if found is None:
        raise SshFailed(f"{name} is not installed: {MISSING}")
    return found


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_LOOPBACK, 0))
        return int(sock.getsockname()[1])
