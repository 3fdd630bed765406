"""IPv6 addresses that lead to an IPv4 address which is written in them: one host, spelled in many ways."""

from ipaddress import IPv4Address, IPv6Address, IPv6Network

__all__ = ["embedded_ipv4"]

_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052 §2.1
_ISATAP = 0x00005EFE, 0x02005EFE  # the first half of an interface identifier, RFC 5214 §6.1


def embedded_ipv4(ip: IPv6Address) -> IPv4Address | None:
    """Return where packets to `ip` end that go by NAT64, 6to4 (RFC 3056 §2), Teredo (RFC 4380 §4) or ISATAP."""
    if ip.sixtofour is not None:
        return ip.sixtofour
    if ip.teredo is not None:
        _server, client = ip.teredo
        return client
    if ip in _NAT64 or int.from_bytes(ip.packed[8:12]) in _ISATAP:
        return IPv4Address(ip.packed[12:])
    return None
