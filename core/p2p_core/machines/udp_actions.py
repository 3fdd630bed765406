"""What the UDP punch machine asks its driver to do: docs/protocol/punching.md, "UDP"."""

from dataclasses import dataclass

from p2p_core.errors import PunchwireError
from p2p_core.wire.candidate import Address

__all__ = ["Action", "Close", "Exhausted", "Fail", "Found", "Open", "Pair", "Send"]


@dataclass(frozen=True, slots=True)
class Pair:
    """One of our sockets, by its number, and an address of the other side."""

    socket: int
    address: Address


@dataclass(frozen=True, slots=True)
class Send:
    """Send a datagram."""

    pair: Pair
    data: bytes


@dataclass(frozen=True, slots=True)
class Open:
    """Open a socket of IP version 4 or 6 and give it this number. If that fails, what is sent on it is lost."""

    socket: int
    version: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close a socket that was asked for by `Open`."""

    socket: int


@dataclass(frozen=True, slots=True)
class Found:
    """A pair is valid; `best()` says which, and may say another one later."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """Nothing more will be tried; `why` is a clause that says what was. Probes are still answered."""

    why: str


@dataclass(frozen=True, slots=True)
class Fail:
    """Done: it makes no sense to go on."""

    error: PunchwireError


Action = Send | Open | Close | Found | Exhausted | Fail
