"""Host candidates: the addresses of this machine's interfaces."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import ifaddr

__all__ = ["local_addresses"]


def local_addresses() -> list[IPv4Address | IPv6Address]:
    """Return this machine's addresses that other machines may reach: no loopback, no link-local ones."""
    found: list[IPv4Address | IPv6Address] = []
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            # An IPv6 address comes with its flow and scope, an IPv4 address alone.
            ip = ipaddress.ip_address(address.ip if isinstance(address.ip, str) else address.ip[0])
            if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast):
                found.append(ip)
    return list(dict.fromkeys(found))
