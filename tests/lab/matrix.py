"""Every kind of network with every other one: the path that is expected of each pair, and how soon it should be there.

What physics allows, as measured with prototypes before there was an engine: a pair listed as direct here is never to
relay. What still relays is to be seen, so that improving it is.
"""

from dataclasses import dataclass
from typing import Any, Final

from tests.lab.kinds import KINDS, Mapping, Ports

__all__ = ["DELAY", "ORDER", "PAIRS", "Pair", "find"]

DELAY: Final = 20.0  # ms for each access link, one way: the peers are 80 ms there and back from each other

# Columns are in the order of the rows: a pair stands where the row of one meets the column of the other.
_PATHS: Final = """
none             tcp
full-cone        tcp   tcp
restricted       tcp   tcp   tcp
port-restricted  tcp   tcp   tcp   tcp
pr-nopreserve    tcp   tcp   tcp   tcp   tcp
pr-reject        tcp   tcp   tcp   tcp   tcp   tcp
pr-open          tcp   tcp   tcp   tcp   tcp   tcp   tcp
cgnat            tcp   tcp   tcp   tcp   tcp   tcp   tcp   tcp
symmetric        tcp   tcp   tcp   quic  quic  quic  quic  quic  relay
sym-reject       tcp   tcp   tcp   quic  quic  quic  quic  quic  relay relay
cgnat-sym        tcp   tcp   tcp   quic  quic  quic  quic  quic  relay relay relay
sym-seq          tcp   tcp   tcp   quic  quic  quic  quic  quic  relay relay relay quic
no-udp           tcp   tcp   tcp   tcp   tcp   tcp   tcp   tcp   relay relay relay relay tcp
udp-blocked      relay relay relay relay relay relay relay relay relay relay relay relay relay relay
"""

# Both peers behind one router: at home, or below one carrier. Only there does it matter whether it hairpins.
_SHARED: Final = """
port-restricted  same-lan    -        tcp
port-restricted  same-lan    hairpin  tcp
symmetric        same-lan    -        tcp
port-restricted  same-cgnat  -        relay
port-restricted  same-cgnat  hairpin  tcp
"""

# What is expected of the median time from both advertised to the authenticated channel, in seconds, at DELAY.
_DIRECT, _DIRECT_TO_SYMMETRIC, _BIRTHDAY_OR_RELAY = 0.35, 0.42, 2.5


@dataclass(frozen=True, slots=True)
class Pair:
    """Two kinds of network, how they are joined, and the path between them."""

    a: str
    b: str
    path: str
    topology: str = "two"
    hairpin: bool = False

    @property
    def name(self) -> str:
        """For people, and to choose it by."""
        if self.topology == "two":
            return f"{self.a}+{self.b}"
        return f"{self.a}+{self.topology}{'+hairpin' if self.hairpin else ''}"

    @property
    def lab(self) -> dict[str, Any]:
        """The arguments of `Lab` that make it."""
        return {"a": self.a, "b": self.b, "topology": self.topology, "hairpin": self.hairpin}

    @property
    def limit(self) -> float:
        """What the median may be, in seconds."""
        outermost = [KINDS[kind][-1] for kind in (self.a, self.b) if KINDS[kind] and self.topology == "two"]
        symmetric = [nat for nat in outermost if nat.mapping is not Mapping.ENDPOINT_INDEPENDENT]
        if self.path == "relay" or (self.path == "quic" and any(nat.ports is Ports.RANDOM for nat in symmetric)):
            return _BIRTHDAY_OR_RELAY
        return _DIRECT_TO_SYMMETRIC if symmetric else _DIRECT


_ROWS: Final = [line.split() for line in _PATHS.split("\n") if line]
ORDER: Final = [kind for kind, *_ in _ROWS]


def _of_two() -> list[Pair]:
    return [Pair(ORDER[column], kind, path) for kind, *paths in _ROWS for column, path in enumerate(paths)]


def _shared() -> list[Pair]:
    rows = (line.split() for line in _SHARED.split("\n") if line)
    return [Pair(kind, kind, path, topology, hairpin == "hairpin") for kind, topology, hairpin, path in rows]


PAIRS: Final = (*_of_two(), *_shared())


def find(name: str) -> list[Pair]:
    """The pair of that name, whichever side is named first, or all pairs of a kind or a topology. Raises ValueError."""
    found = [pair for pair in PAIRS if pair.name in (name, "+".join(reversed(name.split("+"))))]
    found = found or [pair for pair in PAIRS if name in pair.name.split("+")]
    if not found:
        raise ValueError(f"no pair {name!r}; pairs are two joined by + of {', '.join(ORDER)}")
    return found
