"""A host and a port as people write them, and the one spelling under which a peer's are remembered."""

import ipaddress
import re
import socket

__all__ = ["at", "canonical", "split"]

_BOTH = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*):([0-9]{1,9})")  # an IPv6 address without brackets has no port


def at(host: str, port: int) -> str:
    """Return "host:port" as people write it, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str) -> tuple[str, int] | None:
    """Return host, in brackets if it was, and port of "host:port"; None for anything else."""
    both = _BOTH.fullmatch(text)
    return None if both is None else (both[1], int(both[2]))


def canonical(text: str) -> str:
    """Return "host:port" as it is remembered: names know no case, and 127.1 is 127.0.0.1. Else return the text."""
    both = split(text)
    return text if both is None else at(_canonical_host(both[0].strip("[]")), both[1])


def _canonical_host(host: str) -> str:
    host = host.casefold().rstrip(".")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return _canonical_ipv4(host)
    return str((ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip)


def _canonical_ipv4(host: str) -> str:
    """Return an IPv4 address in one of its older forms as it is written now; anything else as it is."""
    try:
        return str(ipaddress.IPv4Address(socket.inet_aton(host)))
    except (OSError, ValueError):
        return host
