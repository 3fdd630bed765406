"""The gateways of the networks this machine is in: the only machines that are asked to map ports."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import ifaddr

__all__ = ["MAX_GATEWAYS", "Gateway", "find_gateways"]

MAX_GATEWAYS = 4  # a cable, a radio, and a virtual network or two
ROUTES = Path("/proc/net/route")  # man 5 proc_pid_net; addresses in hexadecimal, in the machine's own byte order
_UP, _BY_GATEWAY = 1, 2  # RTF_UP and RTF_GATEWAY of <linux/route.h>

# Who has an address of these gets out through a NAT or not at all: RFC 1918, RFC 3927, and RFC 6598 for carriers.
_INSIDE = tuple(
    IPv4Network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10")
)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A router that may be asked, and the address of this machine in the network that both are in."""

    ip: IPv4Address
    ours: IPv4Address

    def __str__(self) -> str:
        return str(self.ip)


def find_gateways(local: Iterable[IPv4Address]) -> list[Gateway]:
    """Return the default gateways of the networks that the `local` addresses are in, at most `MAX_GATEWAYS`.

    Where the system keeps no file of its routes, as macOS, the first address of each network is taken for a gateway:
    a wrong guess costs a few datagrams that nobody answers.
    """
    wanted = frozenset(local)
    networks = {ours: network for ours, network in _networks() if ours in wanted and _is_inside(ours)}
    routers = _default_routers() if sys.platform == "linux" else [network[1] for network in networks.values()]
    found = (
        Gateway(router, ours)
        for router in routers
        for ours, network in networks.items()
        if router in network and router != ours and _is_inside(router)
    )
    return list(dict.fromkeys(found))[:MAX_GATEWAYS]


def _is_inside(ip: IPv4Address) -> bool:
    return any(ip in network for network in _INSIDE)


def _networks() -> list[tuple[IPv4Address, IPv4Network]]:
    """Return the IPv4 addresses of this machine, each with its network, if others are in it."""
    try:
        adapters = ifaddr.get_adapters()
    except OSError:  # then there are no host candidates either, and they say so
        return []
    return [
        (IPv4Address(address.ip), IPv4Network(f"{address.ip}/{address.network_prefix}", strict=False))
        for adapter in adapters
        for address in adapter.ips
        if isinstance(address.ip, str) and address.network_prefix <= 30
    ]


def _default_routers() -> list[IPv4Address]:
    """Return the routers of the default routes, the preferred one first."""
    try:
        rows = [line.split() for line in ROUTES.read_text("ascii").splitlines()[1:]]
        routes = [(int(row[6]), int(row[3], 16), row[1], row[7], bytes.fromhex(row[2])) for row in rows]
    except (OSError, ValueError, IndexError):  # no such file, as in a sandbox, or another format
        return []
    return [
        IPv4Address(router[::-1] if sys.byteorder == "little" else router)
        for _, flags, destination, mask, router in sorted(routes)
        if flags & _UP and flags & _BY_GATEWAY and destination == mask == "00000000" and len(router) == 4
    ]
