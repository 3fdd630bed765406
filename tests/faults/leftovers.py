"""What a run leaves behind: processes, sockets, mapped ports, temporary files, and entries in mediators and Redis.

All of it is looked for while mediators and routers still run, and given the time that they take to forget.
"""

import ctypes
import http.client
import os
import re
import socket
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Final, TypeVar

import redis

from tests.faults.disk import FILLER
from tests.faults.world import METRICS, Server, World

__all__ = ["Watch", "adopt_orphans", "descendants"]

_T = TypeVar("_T")

PR_SET_CHILD_SUBREAPER: Final = 36  # <linux/prctl.h>
FORGOTTEN_WITHIN: Final = 180.0  # s: a heartbeat of 45, idle connections of 60, and a busy machine
LOOK_EVERY: Final = 0.25  # s
PATIENCE: Final = 20.0  # s
# What a mediator counts that is there for a peer.
GAUGES: Final = (
    *("punchwire_peers", "punchwire_peers_waiting", "punchwire_unauthenticated_streams", "punchwire_relays"),
    "punchwire_stun_connections",
)
KEPT: Final = re.compile(r"trust\.json|history\.jsonl|receipts(/.*)?|sending|known.*|.*\.lock")  # in a state folder
JOURNAL: Final = re.compile(r"sending/.*\.journal")
OF_NO_PROCESS: Final = {"04", "05", "06", "08", "09", "0B"}  # TCP states of sockets that the kernel is yet to end


def adopt_orphans() -> None:
    """Let every process whose parent ends become a child of this one, so that none gets away."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> dict[int, str]:
    """The processes below this one that run, and what they are."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            status = Path("/proc", entry, "stat").read_text()
            state, parent = status.rpartition(")")[2].split()[:2]
            if state not in "ZX":
                names[int(entry)] = Path("/proc", entry, "cmdline").read_text().replace("\0", " ")[:120]
                parents[int(entry)] = int(parent)
        except OSError:  # it has just ended
            continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found - {os.getpid()}}


class Watch:
    """Looks at a world before its first peer, and after its last one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known = set(descendants())

    def expect(self, pid: int) -> None:
        """This process is one of ours: a mediator that was started again."""
        self._known.add(pid)

    def left(self, well: Collection[str], *, killed: Collection[str] = ()) -> list[str]:
        """Sentences on what there is, after all peers have ended: the sides in `well` with all done.

        A sender that was ended before it knew keeps its journal for another try (docs/protocol/transfer.md). What was
        mapped for a side of which a process was `killed` ends by itself, after two hours (punching.md).
        """
        return [
            *self._processes(),
            *self._sockets(),
            *(() if "a" in killed else self._mapped()),
            *self._files(well),
            *(sentence for server in self._world.servers.values() for sentence in self._entries(server)),
            *self._keys(),
        ]

    def _processes(self) -> Iterator[str]:
        servers = {server.process.pid for server in self._world.servers.values()}

        def found() -> list[str]:
            return [f"{pid} {name}" for pid, name in descendants().items() if pid not in self._known | servers]

        for process in _lasting(lambda: [one for one in found() if "redis-server" not in one]):
            yield f"the process {process}"

    def _sockets(self) -> Iterator[str]:
        if self._world.lab is None:
            return
        for side in "ab":
            for found in _lasting(lambda side=side: _sockets_in(self._world, side)):
                yield f"on {side} the socket {found}"

    def _mapped(self) -> Iterator[str]:
        router = self._world.router
        if router is None:
            return
        for lease in _lasting(router.leases):
            yield f"the port mapping {lease}"
        if rules := router.rules():
            yield f"{rules} rules of the router for mapped ports"

    def _files(self, well: Collection[str]) -> Iterator[str]:
        for side in "ab":
            state = self._world.state(side)
            for path in sorted(state.rglob("*")):
                name = str(path.relative_to(state))
                is_for_later = side not in well and JOURNAL.fullmatch(name)
                if path.name != FILLER and not KEPT.fullmatch(name) and not is_for_later:
                    yield f"in the state folder of {side}: {name}"

    def _entries(self, server: Server) -> Iterator[str]:
        if server.process.poll() is not None:
            yield f"mediator {server.name} is not there any more"
            return

        def found() -> list[str]:
            figures = _figures(self._world, server.name)
            return [f"{name} is {figures[name]:g}" for name in GAUGES if figures[name]]

        for figure in _lasting(found, FORGOTTEN_WITHIN):
            yield f"at mediator {server.name} {figure}"

    def _keys(self) -> Iterator[str]:
        if self._world.redis is None:
            return
        with redis.Redis.from_url(self._world.redis.url) as asked:

            def of_peers() -> list[str]:
                return [_printed(key) for key in asked.scan_iter() if b"peer" in key]

            for name in _lasting(of_peers, FORGOTTEN_WITHIN):
                yield f"in Redis the entry {name}"
            for left in asked.scan_iter():
                if asked.pttl(left) == -1:
                    yield f"in Redis for ever {_printed(left)}"


def _lasting(look: Callable[[], list[_T]], patience: float = PATIENCE) -> list[_T]:
    """Return what `look` finds, once that is nothing or time is over."""
    deadline = time.monotonic() + patience
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    return found


def _printed(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def _sockets_in(world: World, side: str) -> list[str]:
    assert world.lab is not None
    found = []
    with world.lab.namespace(side).entered():
        tables = {name: Path("/proc/thread-self/net", name) for name in ("tcp", "udp", "tcp6", "udp6")}
        lines = {name: table.read_text().splitlines()[1:] for name, table in tables.items() if table.exists()}
    for name, rows in lines.items():
        for row in rows:
            local, state = row.split()[1], row.split()[3]
            if name.startswith("udp") or state not in OF_NO_PROCESS:
                found.append(f"{name} {local} in state {state}")
    return found


def _figures(world: World, name: str) -> dict[str, float]:
    """What a mediator says of itself."""
    asking = http.client.HTTPConnection("127.0.0.1", METRICS[name], timeout=PATIENCE)
    if world.lab is not None:
        asking.sock = world.lab.namespace("med").socket(socket.SOCK_STREAM)
        asking.sock.settimeout(PATIENCE)
        asking.sock.connect(("127.0.0.1", METRICS[name]))
    try:
        asking.request("GET", "/metrics")
        text = asking.getresponse().read().decode()
    finally:
        asking.close()
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    return {metric: float(value) for metric, value in lines}
