"""A cable with delay, loss and disorder between two namespaces: a small process forwards between two TAP devices.

The forwarder is delaylink.c, compiled once per process into a temporary folder, or delaylink.py where nothing compiles
it. Either is good for tens of thousands of packets a second.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path

from tests.lab.netns import LabError, Namespace

TUN = Path("/dev/net/tun")
SOURCES = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a cable does to each direction: milliseconds, and per cent of the frames.

    `jitter` is added to the delay, at random up to that much for each frame, so that frames overtake each other.
    """

    delay: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if min(self.delay, self.jitter) < 0 or not all(0 <= part <= 100 for part in (self.loss, self.duplicate)):
            raise ValueError(f"no cable has {self}")

    def __bool__(self) -> bool:
        return any(astuple(self))


@dataclass(frozen=True, slots=True)
class End:
    """One end of a cable: the interface that appears in a namespace."""

    namespace: Namespace
    interface: str


def unavailable() -> str:
    """Why there can be no delay or loss here; empty where there can.

    In a user namespace this is usually a matter of the device's mode: it is 0666 under udev, 0600 in some containers.
    """
    try:
        os.close(os.open(TUN, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"delay and loss need TAP devices, and {TUN} cannot be opened: {error.strerror}"
    return ""


def start(near: End, far: End, impairment: Impairment, compiled: bool = True) -> subprocess.Popen[str]:
    """Makes both interfaces (down, without addresses) and starts forwarding between them.

    `compiled=False` takes the Python forwarder even where there is a compiler. Raises LabError. `stop` ends it.
    """
    reason = unavailable()
    if reason:
        raise LabError(reason)
    program = _compiled() if compiled else None
    process = subprocess.Popen(
        [
            *([str(program)] if program else [sys.executable, str(SOURCES / "delaylink.py")]),
            *(str(near.namespace.path), near.interface, str(far.namespace.path), far.interface),
            *map(str, astuple(impairment)),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdout.readline().strip() != "ready":
        complaint = process.stderr.read().strip()
        stop(process)
        raise LabError(f"the link between {near.namespace.name} and {far.namespace.name} failed: {complaint}")
    return process


def stop(process: subprocess.Popen[str]) -> None:
    """Ends a forwarder; both interfaces vanish with it."""
    try:
        process.communicate(timeout=5)  # closes its standard input, at which it ends
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@cache
def _compiled() -> Path | None:
    """The compiled forwarder; None where it cannot be compiled."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    folder = tempfile.mkdtemp(prefix="punchwire-lab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    program = Path(folder, "delaylink")
    with suppress(OSError, subprocess.CalledProcessError):
        subprocess.run(
            [compiler, "-O2", "-o", str(program), str(SOURCES / "delaylink.c")], check=True, capture_output=True
        )
        return program
    return None
