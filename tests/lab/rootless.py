"""Whether a lab can be built on this machine, and how.

Network namespaces and NAT rules take the rights of root, or those of root inside a user namespace, which many systems
give to everyone: `unshare -Urnm`. In there `ip netns` needs a /run of its own to keep its names in, a tmpfs, and
nothing of what happens touches the machine outside. What may be in the way is tried, not guessed: kernels without user
namespaces, AppArmor restrictions (Ubuntu 24.04), containers with a read-only /proc/sys, missing programs.

A program that needs a lab calls `enter` first: it returns when a lab can be built, if need be after the program was
started once more inside a user namespace. Tests need not: see `marks`.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tests.lab.netns import LabError, tool

PROGRAMS = ("ip", "nft", "sh")
INSIDE = "PUNCHWIRE_LAB_INSIDE"  # environment variable: set in the user namespace, so that nobody enters a second one
TRIAL_TIMEOUT = 20.0  # s; a trial takes 50 ms

# $0 is the name of the namespace, $1 and $2 are ip and nft: one of everything a lab is made of.
_TRIAL = """
set -e
"$1" netns add "$0"
trap '"$1" netns del "$0"' EXIT
"$1" -netns "$0" link add lan type bridge
"$1" -netns "$0" link add wan type veth peer name other
"$1" netns exec "$0" sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
"$1" netns exec "$0" "$2" 'table ip trial { chain out { type nat hook postrouting priority srcnat; masquerade; }; }'
"""

# $@ is the command to run inside the new user namespace.
_INSIDE = """
mount -t tmpfs tmpfs /run && ip link set lo up && exec "$@"
"""


@dataclass(frozen=True, slots=True)
class Availability:
    """How a lab can be built: "root" here and now, "userns" inside a user namespace, "none" not at all.

    `reason` is one line for people: what was found, or what is in the way.
    """

    mode: Literal["root", "userns", "none"]
    reason: str


@cache
def availability() -> Availability:
    """Finds out by trying; takes some 50 ms the first time."""
    if sys.platform != "linux":
        return Availability("none", "network namespaces are a part of Linux")
    try:
        for program in PROGRAMS:
            tool(program)
    except LabError as error:
        return Availability("none", str(error))
    complaint = _try([]) if os.geteuid() == 0 else "not root"
    if not complaint:
        inside = INSIDE in os.environ
        return Availability("root", "inside a user namespace" if inside else "root may make network namespaces")
    if INSIDE in os.environ:
        return Availability("none", f"inside a user namespace, yet {complaint}")
    if refusal := user_namespace_refusal():
        return Availability("none", f"{complaint}, and a user namespace does not help: {refusal}")
    return Availability("userns", f"{complaint}, but a user namespace may make network namespaces")


def user_namespace_refusal() -> str:
    """Why no lab can be built in a user namespace; empty when it can, whether it is needed or not."""
    try:
        return _try(_unshare())
    except LabError as error:
        return str(error)


def require() -> None:
    """Raises LabError unless this very process can build a lab."""
    found = availability()
    if found.mode == "userns":
        raise LabError(f"a lab can be built inside a user namespace only ({found.reason}); call rootless.enter() first")
    if found.mode == "none":
        raise LabError(f"no lab can be built here: {found.reason}")


def command(argv: Sequence[str]) -> list[str]:
    """The argument vector that runs `argv` where a lab can be built; the process id is that of `argv` itself.

    Inside a user namespace the command is root over its namespaces only: files belong to the user as before. Raises
    LabError where no lab can be built at all.
    """
    found = availability()
    if found.mode == "none":
        raise LabError(f"no lab can be built here: {found.reason}")
    return [*_unshare(), *argv] if found.mode == "userns" else list(argv)


def enter() -> None:
    """Returns when this process can build a lab; starts the program once more in a user namespace if that is needed.

    Call it early, before threads, open files and output. Raises LabError where no lab can be built at all.
    """
    inside = command([sys.executable, *sys.orig_argv[1:]])
    if availability().mode == "userns":
        sys.stdout.flush()
        sys.stderr.flush()
        os.execv(inside[0], inside)


def _unshare() -> list[str]:
    """What to put before a command to run it inside a new user, network and mount namespace."""
    return [tool("unshare"), "-Urnm", tool("env"), f"{INSIDE}=1", tool("sh"), "-c", _INSIDE, "sh"]


def _try(prefix: list[str]) -> str:
    """What goes wrong when a piece of lab is built by a command behind `prefix`; empty when nothing does."""
    trial = [tool("sh"), "-c", _TRIAL, f"pw{os.getpid()}-0-trial", tool("ip"), tool("nft")]
    try:
        done = subprocess.run(
            [*prefix, *trial],
            capture_output=True,
            text=True,
            timeout=TRIAL_TIMEOUT,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return ""
    complaints = done.stderr.strip().splitlines()
    return complaints[0] if complaints else f"the trial ended with status {done.returncode}"
