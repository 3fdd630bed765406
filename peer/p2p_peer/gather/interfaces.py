"""Host candidates: the addresses of this machine's interfaces, and which of them may be used."""

import ipaddress
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

import ifaddr
from p2p_core.errors import NoPath

__all__ = ["EVERYWHERE", "Local", "local_addresses"]

IPAddress = IPv4Address | IPv6Address

_ADVICE = "End programs that hold many files or connections, or allow this one more of them (ulimit -n); start again."
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


@dataclass(frozen=True, slots=True)
class Local:
    """Which of this machine's addresses are used: of one IP version, or one address alone."""

    ip_version: int | None = None  # 4, 6, or None for both
    bind: IPAddress | None = None  # the one address

    def allows(self, ip: IPAddress) -> bool:
        """Whether sockets are bound where `ip`, one of this machine's addresses, reaches them."""
        return self.has_version(ip.version) and self.bind in (None, ip)

    def has_version(self, version: int) -> bool:
        """Whether addresses of that IP version can be reached and are wanted."""
        return self.ip_version in (None, version) and (self.bind is None or self.bind.version == version)

    @property
    def families(self) -> tuple[socket.AddressFamily, ...]:
        """Return the address families to bind sockets in, IPv4 first: every machine has it. Raises `NoPath`."""
        families = tuple(family for version, family in _FAMILIES.items() if self.has_version(version))
        if not families:
            raise NoPath(f"{self.bind} is not an IPv{self.ip_version} address")
        return families

    def host(self, family: socket.AddressFamily) -> str:
        """Return what to bind a socket of `family` to."""
        if self.bind is not None:
            return str(self.bind)
        return "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - reachable is the point


EVERYWHERE = Local()


def local_addresses() -> list[IPAddress]:
    """Return this machine's addresses that other machines may reach: no loopback, no link-local ones.

    Global IPv6 addresses come first: no NAT stands before them. Raises `NoPath` when the system does not tell them.
    """
    try:
        adapters = ifaddr.get_adapters()
    except OSError as error:  # it is asked over a socket, which may be one too many
        raise NoPath(f"this computer's addresses cannot be listed: {error.strerror}", advice=_ADVICE) from error
    found: list[IPAddress] = []
    for adapter in adapters:
        for address in adapter.ips:
            # An IPv6 address comes with its flow and scope, an IPv4 address alone.
            ip = ipaddress.ip_address(address.ip if isinstance(address.ip, str) else address.ip[0])
            if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast):
                found.append(ip)
    found.sort(key=lambda ip: not (ip.version == 6 and ip.is_global))
    return list(dict.fromkeys(found))
