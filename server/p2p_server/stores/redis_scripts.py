"""The operations of the Redis store: Lua scripts, each of which Redis runs as one step that nothing comes between."""

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Self

__all__ = ["PREFIX", "Script", "Scripts"]

PREFIX = b"{punchwire}:"  # of all keys; the braces put them all in one slot (Redis Cluster specification, "Hash tags")

_FOLDER = resources.files("p2p_server.stores") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the name Redis keeps it by."""

    name: str
    source: bytes
    sha1: str

    @classmethod
    def load(cls, name: str, shared: str) -> Self:
        """Read one of this package."""
        source = (shared + (_FOLDER / f"{name}.lua").read_text()).encode()
        return cls(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


class Scripts:
    """All of them, made for one set of times."""

    def __init__(self, dead_after: float, fresh: float, kept: float) -> None:
        """Times in seconds: see `Times`."""
        constants = {"DEAD_AFTER": dead_after, "FRESH": fresh, "KEPT": kept}
        shared = "".join(f"local {name} = {round(value * 1000)}\n" for name, value in constants.items())
        shared += (_FOLDER / "shared.lua").read_text()
        self.begin = Script.load("begin", shared)
        self.beat = Script.load("beat", shared)
        self.sweep = Script.load("sweep", shared)
        self.claim = Script.load("claim", shared)
        self.measured = Script.load("measured", shared)
        self.advertise = Script.load("advertise", shared)
        self.acknowledge = Script.load("acknowledge", shared)
        self.reject = Script.load("reject", shared)
        self.withdraw = Script.load("withdraw", shared)
        self.signal = Script.load("signal", shared)
        self.leave = Script.load("leave", shared)
        self.forget = Script.load("forget", shared)

    def all(self) -> tuple[Script, ...]:
        """Return every script."""
        return tuple(vars(self).values())
