"""Two real peers that meet in the lab, once or many times: over which path, and how soon.

    with Lab("symmetric", "port-restricted", delay=20) as lab, Programs() as programs:
        outcome = MeetingPlace(lab, programs, keys, folder).meet()

The mediator stays; the peers are new processes each time, send each other a message, and leave.
"""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from tests.lab.matrix import Pair
from tests.lab.nat import Lab
from tests.programs import DIRECT, Keys, Mediator, Peer, Programs, Start

__all__ = ["HTTPS", "MEETING_TIME", "STUN_PORT", "MeetingPlace", "Outcome", "on"]

MEETING_TIME: Final = 25.0  # s for two peers from their start to their end; a hopeless pair gives up before
MEDIATOR_PORT: Final = 54700
STUN_PORT: Final = 54701
HTTPS: Final = 443  # the one port that the strictest firewalls let through
MESSAGES: Final = {"a": "from a", "b": "from b"}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One meeting: its path and how long it took, or what went wrong."""

    path: str = ""  # as in the event `connected`
    seconds: float = 0.0  # from both advertised to the authenticated channel; of the two peers' figures the larger
    failure: str = ""  # a sentence; empty when they met

    @property
    def is_direct(self) -> bool:
        """Whether they met with nobody in between."""
        return self.path in DIRECT


def on(lab: Lab, host: str) -> Start:
    """What starts a program on a host of the lab."""
    return partial(lab.popen, host, text=True)


class MeetingPlace:
    """A mediator in the lab, and how its peers are started.

    `folder` is for the mediator's files and the peers' states; `keys` are those of the peers on "a" and "b". The
    mediator ends with `programs`; it is started with `flags`, on `host` (its public address) and `port`, and answers
    STUN at STUN_PORT. Peers dial the same host, or `dial`.
    """

    def __init__(
        self,
        lab: Lab,
        programs: Programs,
        keys: Sequence[Keys],
        folder: Path,
        *flags: str | Path,
        host: str | None = None,
        port: int = MEDIATOR_PORT,
        dial: str | None = None,
    ) -> None:
        self.lab = lab
        self._folder = folder
        self._keys = dict(zip(("a", "b"), keys, strict=True))
        where = {"start": on(lab, "med"), "host": host or lab.mediator_address}
        ports = ("--port", str(port), "--stun-port", str(STUN_PORT))
        self.mediator: Mediator = programs.mediator(folder / "mediator", keys, *ports, *flags, **where)
        self.mediator.host = dial or self.mediator.host

    @classmethod
    @contextmanager
    def of(cls, pair: Pair, keys: Sequence[Keys], folder: Path, **options: Any) -> Iterator[Self]:
        """A context manager for a pair of the matrix, in a lab of its own with these further `options`.

        Peers that may use port 443 only find the mediator there.
        """
        port = HTTPS if "udp-blocked" in (pair.a, pair.b) else MEDIATOR_PORT
        with Lab(**pair.lab, **options) as lab, Programs() as programs:
            yield cls(lab, programs, keys, folder, port=port)

    def peer(self, programs: Programs, host: str, *flags: str | Path, **options: Any) -> Peer:
        """Start the peer of a host, which wants the other one; `options` are those of `Peer.start`."""
        own, other = self._keys[host], self._keys["b" if host == "a" else "a"]
        state = ("--state-dir", self._folder / f"state-{host}")  # others may use the same keys in labs beside this one
        options.setdefault("start", on(self.lab, host))
        peer: Peer = programs.peer(host, self.mediator, own, other, *state, *flags, **options)
        return peer

    def meet(self, *flags: str | Path, stderr: int | None = subprocess.DEVNULL) -> Outcome:
        """Let two peers meet, exchange messages and leave."""
        with Programs() as programs:
            peers = [self.peer(programs, host, "--message", MESSAGES[host], *flags, stderr=stderr) for host in "ab"]
            try:
                for peer in peers:
                    peer.exit_code(MEETING_TIME)
            except subprocess.TimeoutExpired:
                return Outcome(failure=f"not done within {MEETING_TIME:g} s")
            return _outcome(*peers)


def _outcome(a: Peer, b: Peer) -> Outcome:
    for peer, other in ((a, "b"), (b, "a")):
        if error := peer.first("error"):
            return Outcome(failure=error["message"])
        if [message["text"] for message in peer.all("message")] != [MESSAGES[other]]:
            return Outcome(failure=f"{peer.name} did not get the other's message")
    one, two = (peer.wait_for("connected") for peer in (a, b))
    if one["path"] != two["path"]:
        return Outcome(failure=f"one says {one['path']}, the other {two['path']}")
    return Outcome(one["path"], max(one["seconds"], two["seconds"]))
