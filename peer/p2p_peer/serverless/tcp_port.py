"""Where `direct` listens, and how it dials: plain TCP on ports that people name."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from p2p_core.errors import NoPath, UsageError
from p2p_core.targets import MAX_TARGETS
from p2p_core.wire.candidate import Address

from p2p_peer.gather.interfaces import local_addresses
from p2p_peer.host_port import at

__all__ = ["LOOK_UP_TIME", "Place", "addresses_of", "dial", "listen", "look_up", "why_not"]

LOOK_UP_TIME = 5.0  # s for the addresses of a name; resolvers ask twice, 5 s apart, and few answer the second time
_BACKLOG = 128  # connections that wait to be accepted; a burst of strangers must not fill it
_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENODEV})


@dataclass(frozen=True, slots=True)
class Place:
    """An address as the socket API has it: a link-local one carries its interface."""

    family: int
    name: tuple[Any, ...]

    @property
    def address(self) -> Address:
        """Where that is."""
        return Address.of(self.name[0], self.name[1])


async def look_up(host: str | None, port: int, ip_version: int | None) -> list[Place]:
    """Return the addresses of a name, or of an address; of all of this computer for None.

    Raises `OSError`, also for a name that is none.
    """
    flags = socket.AI_PASSIVE if host is None else 0
    try:
        async with asyncio.timeout(LOOK_UP_TIME):
            found = await asyncio.get_running_loop().getaddrinfo(
                host, port, family=_FAMILIES[ip_version], type=socket.SOCK_STREAM, flags=flags
            )
    except ValueError as error:  # a name like "a..b" does not even get as far as a look-up
        raise socket.gaierror(socket.EAI_NONAME, "that is no name of a computer") from error
    except TimeoutError as error:
        raise socket.gaierror(socket.EAI_AGAIN, f"no name server has answered within {LOOK_UP_TIME:g} s") from error
    return list(dict.fromkeys(Place(family, name) for family, _, _, _, name in found))[:MAX_TARGETS]


async def listen(host: str | None, port: int, ip_version: int | None) -> list[socket.socket]:
    """Listen at all addresses of `host`; at any for None. Port 0 stands for a free one.

    Raises `UsageError` when that port or that address cannot be had.
    """
    try:
        places = await look_up(host, port, ip_version)
    except OSError as error:
        if host is None:
            raise _without(ip_version) from error
        raise UsageError(
            f"cannot listen at {host}: {error.strerror}", advice="Give -i an address of this computer, or leave it out."
        ) from error
    listeners: list[socket.socket] = []
    absent: OSError | None = None
    for place in sorted(places, key=lambda place: place.family != socket.AF_INET):
        number = listeners[0].getsockname()[1] if listeners else port
        try:
            listeners.append(_listening(place, number))
        except OSError as error:
            if error.errno in _NOT_HERE:  # a machine without IPv6, or one that has some of a name's addresses
                absent = error
                continue
            for listener in listeners:
                listener.close()
            raise _unusable(place, number, error) from error
    if not listeners and host is None:
        raise _without(ip_version) from absent
    if not listeners:
        raise UsageError(
            f"{host} is no address of this computer",
            advice="Give -i one of its addresses, or leave it out to listen at all of them.",
        ) from absent
    return listeners


def _listening(place: Place, port: int) -> socket.socket:
    listener = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # though connections of an earlier run linger
        if place.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((place.name[0], port, *place.name[2:]))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _without(ip_version: int | None) -> UsageError:
    if ip_version is None:
        return UsageError("this computer has neither IPv4 nor IPv6", advice="Connect it to a network.")
    return UsageError(f"this computer has no IPv{ip_version}", advice=f"Leave out --ipv{ip_version}.")


def _unusable(place: Place, port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"port {port} is taken: another program listens at {at(place.name[0], port)}",
            advice="End that program, or choose another port with -p.",
        )
    if error.errno == errno.EACCES:
        return UsageError(
            f"this user may not listen at port {port}", advice="Choose a port from 1024 up with -p; 8000 is usual."
        )
    return UsageError(
        f"cannot listen at {at(place.name[0], port)}: {error.strerror}", advice="Try another port with -p."
    )


def addresses_of(listeners: Sequence[socket.socket]) -> tuple[Address, ...]:
    """Return where others may dial what listens; where it is at any address, those of this computer.

    Loopback is none of them, unless there is nothing else.
    """
    bound = [Address.of(*listener.getsockname()[:2]) for listener in listeners]
    found = dict.fromkeys(address for own in bound for address in _others_reach(own))
    return tuple(found) or tuple(Address.of(_LOOPBACK[own.ip.version], own.port) for own in bound)


def _others_reach(own: Address) -> list[Address]:
    if not own.ip.is_unspecified:
        return [own]
    with contextlib.suppress(NoPath):  # they cannot be listed
        return [Address(ip, own.port) for ip in local_addresses() if ip.version == own.ip.version]
    return []


async def dial(place: Place) -> socket.socket:
    """Return a connection, non-blocking. Raises `OSError`."""
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, place.name)
    except BaseException:
        sock.close()
        raise
    return sock


def why_not(error: OSError) -> str:
    """Return a clause on why no connection came up."""
    match error:
        case socket.gaierror():
            return error.strerror or "that name has no address"
        case ConnectionRefusedError():
            return "nobody listens there"
        case TimeoutError():
            return "no answer"
        case _ if error.errno is not None:  # asyncio's own sentence repeats the address
            return os.strerror(error.errno)
    return str(error)
