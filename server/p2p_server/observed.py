"""A peer's address as the mediator sees it, from what gRPC or a socket says."""

from urllib.parse import unquote

from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address

__all__ = ["from_grpc", "from_socket"]


def from_grpc(peer: str) -> Address | None:
    """Read what `ServicerContext.peer()` says; None for anything that is not an IP address and a port.

    `ipv4:192.0.2.1:5000`, `ipv6:[2001:db8::1]:5000`, and the same URL-encoded, once or twice and with a scope id
    (`ipv6:%5Bfe80::1%25eth0%5D:5000`). An IPv4-mapped IPv6 address is the IPv4 address.
    """
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return None
    host, _, port = unquote(rest).rpartition(":")
    if not (port.isascii() and port.isdigit()):
        return None
    return from_socket(host.removeprefix("[").removesuffix("]"), int(port))


def from_socket(host: str, port: int) -> Address | None:
    """Read the first two parts of a socket address; None if they are none. A scope id is left out."""
    try:
        return Address.of(host.partition("%")[0], port)
    except Malformed:
        return None
