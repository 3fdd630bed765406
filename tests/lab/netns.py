"""One Linux network namespace at a time: make it, configure it, run things in it, take it away.

Everything goes through iproute2's named namespaces (`ip netns`), so that a lab can also be looked at from a shell:
`ip netns list`, then `ip netns exec <name> ...`.
"""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

RUN = Path("/run/netns")  # where `ip netns` keeps its names
CLONE_NEWNET = 0x40000000  # <linux/sched.h>; os.setns and its constants come with Python 3.12
DEATH_TIMEOUT = 5.0  # s for a killed process to be gone; only one stuck in the kernel takes longer


class LabError(RuntimeError):
    """The lab could not be built or used; the text says which command failed and what it said."""


@cache
def tool(name: str) -> str:
    """The absolute path of a program, also where the PATH of an ordinary user lacks /usr/sbin. Raises LabError."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        raise LabError(f"{name} is not installed (scripts/system-packages installs what the lab needs)")
    return found


def execute(argv: Sequence[str], stdin: str = "") -> str:
    """Runs a short command to its end and returns what it printed; raises LabError with what it complained about."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)} failed ({done.returncode}): {done.stderr.strip() or 'silently'}")
    return done.stdout


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace; making this object does not make the namespace, `create` does."""

    name: str

    @property
    def path(self) -> Path:
        return RUN / self.name

    def create(self, ipv6: bool = False) -> None:
        """Makes the namespace with nothing but loopback, forwarding nothing whatever the machine's own setting."""
        execute([tool("ip"), "netns", "add", self.name])
        self.ip("link set lo up")
        self.sysctl("net/ipv4/ip_forward", "0")
        if not ipv6:
            self.sysctl("net/ipv6/conf/all/disable_ipv6", "1", missing_ok=True)
        # With br_netfilter loaded, a bridge would run the NAT rules itself and break hairpinning.
        self.sysctl("net/bridge/bridge-nf-call-iptables", "0", missing_ok=True)

    def delete(self) -> None:
        """Takes the name away; the kernel removes the namespace once nothing runs in it. Raises LabError."""
        execute([tool("ip"), "netns", "del", self.name])

    def ip(self, *commands: str) -> None:
        """Runs `ip` subcommands ("addr add ... dev ...") in the namespace, in order, up to the first that fails."""
        execute([tool("ip"), "-netns", self.name, "-batch", "-"], stdin="\n".join([*commands, ""]))

    def nft(self, ruleset: str) -> None:
        """Adds nftables rules in the namespace."""
        execute(self.command([tool("nft"), "-f", "-"]), stdin=ruleset)

    def sysctl(self, key: str, value: str, missing_ok: bool = False) -> None:
        """Writes a kernel setting such as "net/ipv4/ip_forward"; with `missing_ok`, one that may not exist."""
        with self.entered():
            try:
                Path("/proc/sys", key).write_text(value)
            except FileNotFoundError:
                if not missing_ok:
                    raise
            except OSError as error:
                raise LabError(f"{self.name}: {key} cannot be set to {value}: {error}") from error

    def command(self, argv: Sequence[str]) -> list[str]:
        """The argument vector that runs `argv` inside the namespace; the process id is that of `argv` itself."""
        return [tool("ip"), "netns", "exec", self.name, *argv]

    def socket(self, kind: int, family: int = socket.AF_INET) -> socket.socket:
        """A new socket that lives in the namespace for as long as it is open, whichever thread uses it."""
        with self.entered():
            return socket.socket(family, kind)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Moves the calling thread, and no other, into the namespace for as long as the context lasts."""
        outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            inside = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(inside)
            finally:
                os.close(inside)
            try:
                yield
            finally:
                _setns(outside)
        finally:
            os.close(outside)


def _setns(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def names() -> list[str]:
    """The named namespaces that exist, as this process sees them."""
    return sorted(entry.name for entry in RUN.iterdir()) if RUN.is_dir() else []


def processes(namespaces: Iterable[Namespace]) -> list[int]:
    """The ids of all processes inside any of these namespaces, this process excepted."""
    wanted = _identities(namespaces)
    return [pid for pid in _process_ids() if pid != os.getpid() and _identity(_net_of(pid)) in wanted]


def kill_processes(namespaces: Sequence[Namespace]) -> None:
    """Kills all processes inside these namespaces and waits until they are gone (their parents may still reap them).

    Raises LabError when one of them does not go within DEATH_TIMEOUT.
    """
    wanted = _identities(namespaces)
    for pid in processes(namespaces):
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(pid)
            try:
                # Looked at again through the handle: the number may have passed to another process meanwhile.
                if _identity(_net_of(pid)) in wanted:
                    signal.pidfd_send_signal(handle, signal.SIGKILL)
                    if not select.select([handle], [], [], DEATH_TIMEOUT)[0]:
                        raise LabError(f"process {pid} does not die")
            finally:
                os.close(handle)


def _process_ids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]


def _net_of(pid: int) -> Path:
    return Path(f"/proc/{pid}/ns/net")


def _identities(namespaces: Iterable[Namespace]) -> set[tuple[int, int]]:
    found = (_identity(namespace.path) for namespace in namespaces)
    return {identity for identity in found if identity is not None}


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells one namespace from another; None for one that is gone or that belongs to somebody else."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
