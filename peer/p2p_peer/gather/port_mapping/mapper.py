"""What the three ways to map a port have in common."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from p2p_core.targets import may_dial
from p2p_core.wire.candidate import Address, Transport

from p2p_peer.gather.port_mapping.gateways import Gateway

__all__ = ["LIFETIME", "Mapped", "Mapper", "MappingFailed", "believable"]

LIFETIME = 7200  # s asked for; what RFC 6886 §3.3 recommends. It ends what a killed program leaves behind


class MappingFailed(Exception):
    """The gateway does not map ports in this way, or not this one; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """A port on the outside that leads to one of ours."""

    transport: Transport
    port: int  # ours
    external: Address
    lifetime: float  # s; infinite where the gateway knows of no other


class Mapper(Protocol):
    """One gateway that has answered in one protocol, and can be asked to map ports. Whoever finds it closes it."""

    @property
    def external(self) -> IPv4Address | None:
        """What the gateway is called on the outside, where that is known before anything is mapped."""

    async def map(self, transport: Transport, port: int, known: Mapped | None) -> Mapped:
        """Map `port`, or renew the mapping `known` of it. Raises `MappingFailed`."""

    async def unmap(self, mapped: Mapped) -> None:
        """Give a mapping back. Raises `MappingFailed`."""

    def close(self) -> None:
        """Close what the mapper holds open here."""


def believable(ip: IPv4Address | IPv6Address, gateway: Gateway) -> bool:
    """Say whether `gateway` can have this address on the outside: any that a machine can have, but those inside.

    A private one is believed: between a home's router and its provider's, the other peer may be just there.
    """
    return may_dial(Address(ip, 1), loopback=False) and not ip.is_reserved and ip not in (gateway.ip, gateway.ours)
