"""Sockets to serve on, and a sentence for people where that cannot be."""

import asyncio
import contextlib
import errno
import os
import socket

from p2p_core.errors import UsageError
from p2p_core.wire.candidate import Transport

__all__ = ["listen"]

_BACKLOG = 128
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
_CHOOSE = "Choose what to listen on with --host, --stun-host, --port and --stun-port."
_ADDRESSES = "Give --host and --stun-host addresses of this computer, or leave them out: --host for all addresses."


async def listen(
    host: str, port: int, transport: Transport = Transport.TCP, *, advice: str = ""
) -> list[socket.socket]:
    """Listen on `host`, all addresses if it is empty, with one port number on all of them; 0 lets the system choose.

    Over UDP a socket is bound, which is all there is to it. Raises `UsageError`, saying why, when that cannot be, and
    with `advice`, unless it is the ports for peers and STUN.
    """
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for family, address in await _addresses(host, advice or _ADDRESSES):
            dual = family is socket.AF_INET6 and not host and socket.has_dualstack_ipv6()
            try:
                if transport is Transport.UDP:
                    listening = _bound((address, port), family, dual)
                else:
                    listening = socket.create_server(
                        (address, port), family=family, backlog=_BACKLOG, dualstack_ipv6=dual
                    )
            except OSError as error:
                if not host and family is socket.AF_INET6 and error.errno in _NO_IPV6:
                    continue
                raise UsageError(
                    f"cannot listen on {_why(error, host or 'any address', _named(transport, port))}",
                    advice=(_look(transport, port) if error.errno == errno.EADDRINUSE else "") + (advice or _CHOOSE),
                ) from None
            stack.callback(listening.close)
            sockets.append(listening)
            port = listening.getsockname()[1]
            if dual:
                break
        stack.pop_all()
    return sockets


def _bound(address: tuple[str, int], family: socket.AddressFamily, dual: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _look(transport: Transport, port: int) -> str:
    """Say how to find out who has a port.

    It need not be a program that listens: Linux gives ports from 32768 on to connections that this computer makes, and
    lets nobody listen there, SO_REUSEADDR or not, until a minute after their end (TIME-WAIT). A few seconds of trying
    again would rarely see that end, and a service manager starts us again anyway; docs/running.md reserves the ports.
    """
    if transport is Transport.UDP:
        return f"ss -uanp 'sport = :{port}' shows who has it. "
    return (
        f"ss -tanp 'sport = :{port}' shows who has it: perhaps a connection that this computer made, "
        "for a minute after its end as well. "
    )


def _named(transport: Transport, port: int) -> str:
    return f"port {port}" if transport is Transport.TCP else f"UDP port {port}"


async def _addresses(host: str, advice: str) -> list[tuple[socket.AddressFamily, str]]:
    if not host:
        return [(socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")]  # noqa: S104 – asked for
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "that is no name of a computer"
        raise UsageError(f"cannot find the address of {host}: {why}", advice=advice) from None
    return list(dict.fromkeys((family, str(address[0])) for family, _, _, _, address in found))


def _why(error: OSError, host: str, port: str) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host}: that is not an address of this computer"
    return f"{host}, {port}: {'it is in use' if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)}"
