"""One address a peer may be reached at."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from p2p_core.errors import Malformed

__all__ = ["Address", "Candidate", "CandidateKind", "Transport", "listed"]

_ZONE = re.compile(r"[!-.0-~]{1,15}")  # the name of an interface, as Linux and macOS have them, or its number


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """An IP address and a port."""

    ip: IPv4Address | IPv6Address
    port: int  # 1..65535

    @classmethod
    def of(cls, host: str, port: int) -> "Address":
        """Read a numeric address; an IPv4-mapped IPv6 address is the IPv4 address. Raises `Malformed`.

        A zone (RFC 4007 §11) is kept where it says something: of a link-local address.
        """
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            raise Malformed(f"not an IP address: {host!r}") from None
        if isinstance(ip, IPv6Address) and ip.scope_id is not None:
            if not _ZONE.fullmatch(ip.scope_id):
                raise Malformed(f"not an IP address: {host!r}")
            if not ip.is_link_local:
                ip = IPv6Address(ip.packed)
        return cls._checked(ip, port)

    @classmethod
    def from_packed(cls, packed: bytes, port: int) -> "Address":
        """Read 4 or 16 bytes in network order; IPv4-mapped IPv6 is IPv4. Raises `Malformed`."""
        try:
            ip = ipaddress.ip_address(packed)
        except ValueError:
            raise Malformed(f"an IP address of {len(packed)} bytes") from None
        return cls._checked(ip, port)

    @classmethod
    def _checked(cls, ip: IPv4Address | IPv6Address, port: int) -> "Address":
        if not 1 <= port <= 65535:
            raise Malformed(f"port {port} does not exist")
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped  # one spelling for each address, or ::ffff:127.0.0.1 would pass for a distant one
        return cls(ip, port)

    @property
    def host(self) -> str:
        """The IP address as text, as the socket API takes it."""
        return str(self.ip)

    def __str__(self) -> str:
        return f"[{self.ip}]:{self.port}" if self.ip.version == 6 else f"{self.ip}:{self.port}"


class CandidateKind(Enum):
    """How a candidate was learned (RFC 8445 §5.1.1 has the terms)."""

    HOST = "host"
    SERVER_REFLEXIVE = "srflx"
    MAPPED = "mapped"
    RELAY = "relay"


class Transport(Enum):
    """What a candidate speaks."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address a peer may be reached at, how it was learned, and what it speaks."""

    kind: CandidateKind
    transport: Transport
    address: Address

    def __str__(self) -> str:
        return f"{self.kind.value}/{self.transport.value} {self.address}"


def listed(candidates: Iterable[Candidate]) -> str:
    """Return the candidates for people."""
    return ", ".join(map(str, candidates)) or "none"
