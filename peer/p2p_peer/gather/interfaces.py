"""Host candidates: the addresses of this machine's interfaces."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

import ifaddr
from p2p_core.errors import NoPath

__all__ = ["local_addresses"]

_ADVICE = "End programs that hold many files or connections, or allow this one more of them (ulimit -n); start again."


def local_addresses() -> list[IPv4Address | IPv6Address]:
    """Return this machine's addresses that other machines may reach: no loopback, no link-local ones.

    Raises `NoPath` when the system does not tell them.
    """
    try:
        adapters = ifaddr.get_adapters()
    except OSError as error:  # it is asked over a socket, which may be one too many
        raise NoPath(f"this computer's addresses cannot be listed: {error.strerror}", advice=_ADVICE) from error
    found: list[IPv4Address | IPv6Address] = []
    for adapter in adapters:
        for address in adapter.ips:
            # An IPv6 address comes with its flow and scope, an IPv4 address alone.
            ip = ipaddress.ip_address(address.ip if isinstance(address.ip, str) else address.ip[0])
            if not (ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip.is_multicast):
                found.append(ip)
    return list(dict.fromkeys(found))
