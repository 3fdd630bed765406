"""The flags that say how this computer is to be reached, and what the configuration says of it."""

import argparse
import errno
import ipaddress
import socket
from ipaddress import IPv4Address, IPv6Address

from p2p_core.errors import UsageError

from p2p_peer.config import address_service_url, default_config, read_config, stun_server
from p2p_peer.mediator import StunServer
from p2p_peer.options import ConnectOptions, Paths

__all__ = ["address_service", "bound_address", "chosen_paths", "connect_options", "ip_version", "stun_servers"]


def connect_options(options: argparse.Namespace) -> ConnectOptions:
    """Return what flags say that several commands share. Raises `UsageError`."""
    gathers = "stun" in options  # candidates
    return ConnectOptions(
        state_dir=options.state_dir,
        ip_version=ip_version(options),
        bind=bound_address(options) if gathers else None,
        port_mapping=gathers and not options.no_port_mapping,
        stun=stun_servers(options) if gathers else (),
        limit_rate=options.limit_rate,
    )


def chosen_paths(options: argparse.Namespace) -> Paths:
    """Return which paths may be taken. Raises `UsageError` for flags that a relayed connection cannot keep."""
    if options.direct_only:
        return Paths.DIRECT_ONLY
    if not options.relay_only:
        return Paths.ANY
    for flag, given in (("--bind", options.bind), ("--ipv4", options.ipv4), ("--ipv6", options.ipv6)):
        if given:
            raise UsageError(
                f"{flag} is about direct connections, and --relay-only makes none",
                advice=f"Leave out {flag} or --relay-only.",
            )
    return Paths.RELAY_ONLY


def ip_version(options: argparse.Namespace) -> int | None:
    """Return the one IP version that is wanted, or None for both."""
    return 4 if options.ipv4 else 6 if options.ipv6 else None


def bound_address(options: argparse.Namespace) -> IPv4Address | IPv6Address | None:
    """Return the address to meet from; None for all. Raises `UsageError` for one that this computer does not have."""
    if options.bind is None:
        return None
    try:
        ip = ipaddress.ip_address(options.bind)
    except ValueError:
        raise UsageError(
            f"--bind takes an IP address of this computer, and {options.bind!r} is none", advice=_LIST_THEM
        ) from None
    version = ip_version(options)
    if version not in (None, ip.version):
        raise UsageError(
            f"--bind {ip} is not an IPv{version} address", advice=f"Leave out --ipv{version}, or bind another address."
        )
    if ip.is_unspecified or ip.is_multicast:
        raise UsageError(f"--bind {ip} is not an address that one computer has", advice=_LIST_THEM)
    try:
        with socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind((str(ip), 0))
    except OSError as error:
        missing = error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
        why = "this computer does not have it" if missing else error.strerror
        raise UsageError(f"--bind {ip} cannot be done: {why}", advice=_LIST_THEM) from error
    return ip


def stun_servers(options: argparse.Namespace) -> tuple[StunServer, ...]:
    """Return the STUN servers of --stun, or else those of the configuration. Raises `UsageError`."""
    given = tuple(map(stun_server, options.stun))
    return given or read_config(default_config()).stun


def address_service(options: argparse.Namespace) -> str | None:
    """Return the URL of --address-service, or else that of the configuration, if any. Raises `UsageError`."""
    if options.address_service is not None:
        return address_service_url(options.address_service)
    return read_config(default_config()).address_service


_LIST_THEM = "p2p-peer netcheck lists the addresses of this computer that others may reach."
