"""Which path connects two networks, as far as what STUN shows of them tells. docs/protocol/punching.md.

What a NAT lets in is not known of the own network: one that keeps a port for all destinations is taken for one that
only lets in whoever was sent to, as most do. IPv6 and ports that a router maps may do better.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from p2p_core.wire.offer import Mapping

__all__ = ["OTHERS", "Network", "Reach", "reach"]

_KNOWN = (Mapping.INDEPENDENT, Mapping.SEQUENTIAL, Mapping.RANDOM)


class Reach(Enum):
    """What connects two peers."""

    TCP = "tcp"
    QUIC = "quic"
    LUCK = "luck"  # QUIC, once two of many random ports have met: within seconds
    RELAY = "relay"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Network:
    """How a network treats the ports of those in it; None: nothing of that transport gets out."""

    udp: Mapping | None
    tcp: Mapping | None
    is_open: bool = False  # lets in everybody, or everybody from an address that was sent to


OTHERS: dict[str, Network] = {
    "open": Network(Mapping.INDEPENDENT, Mapping.INDEPENDENT, is_open=True),
    "home": Network(Mapping.INDEPENDENT, Mapping.INDEPENDENT),
    "sequential": Network(Mapping.SEQUENTIAL, Mapping.SEQUENTIAL),
    "random": Network(Mapping.RANDOM, Mapping.RANDOM),
    "no_udp": Network(None, Mapping.INDEPENDENT),
    "web_only": Network(None, None),
}
"""Kinds of networks that the other side may be in."""


def reach(own: Network, other: Network) -> Reach:
    """Return what connects peers in two networks; unknown if that hangs on a mapping that is not known."""
    found = {_reach(replace(own, udp=udp, tcp=tcp), other) for udp in _may_be(own.udp) for tcp in _may_be(own.tcp)}
    return found.pop() if len(found) == 1 else Reach.UNKNOWN


def _may_be(mapping: Mapping | None) -> Iterable[Mapping | None]:
    return _KNOWN if mapping is Mapping.UNKNOWN else (mapping,)


def _reach(own: Network, other: Network) -> Reach:
    either_open = own.is_open or other.is_open
    tcp, udp = (own.tcp, other.tcp), (own.udp, other.udp)
    if None not in tcp and (either_open or tcp == (Mapping.INDEPENDENT, Mapping.INDEPENDENT)):
        return Reach.TCP
    if None in udp:
        return Reach.RELAY
    if either_open or Mapping.RANDOM not in udp:
        return Reach.QUIC
    return Reach.LUCK if Mapping.INDEPENDENT in udp else Reach.RELAY
