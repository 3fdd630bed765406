"""The one local TCP port that STUN, listening and dialling share, so that the NAT maps them alike (RFC 5382 §4.1)."""

import errno
import os
import socket
from dataclasses import dataclass

from p2p_core.errors import NoPath
from p2p_core.wire.candidate import Address

from p2p_peer.gather.interfaces import EVERYWHERE, Local

__all__ = ["PunchPort"]

_BACKLOG = 16
_ADVICE = "End programs that hold many connections, and start again."
_TRIES = 16  # ports tried until one is free in both address families


@dataclass(frozen=True, slots=True)
class PunchPort:
    """A port that is ours in every address family that is wanted and there, with a listener in each."""

    number: int
    listeners: tuple[socket.socket, ...]
    local: Local = EVERYWHERE

    @classmethod
    def open(cls, local: Local = EVERYWHERE) -> "PunchPort":
        """Take a free port. Raises `NoPath` when there is none."""
        first, *others = local.families
        for _ in range(_TRIES):
            try:
                listeners = [_listening(_bound(first, 0, local))]
            except OSError as error:
                raise NoPath(f"this computer cannot listen on a TCP port: {error.strerror}", advice=_ADVICE) from error
            number = listeners[0].getsockname()[1]
            try:
                listeners += [_listening(_bound(family, number, local)) for family in others]
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    listeners[0].close()
                    continue
            return cls(number, tuple(listeners), local)  # maybe without IPv6, where the machine has none
        raise NoPath("this computer has no TCP port that is free in IPv4 and IPv6", advice=_ADVICE)

    def socket_towards(self, address: Address) -> socket.socket:
        """Return a new non-blocking socket on this port, to dial `address` with. Raises `OSError`."""
        family = socket.AF_INET if address.ip.version == 4 else socket.AF_INET6
        if family not in self.local.families:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return _bound(family, self.number, self.local)

    def close(self) -> None:
        """Give the port back."""
        for listener in self.listeners:
            listener.close()


def _bound(family: socket.AddressFamily, number: int, local: Local) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((local.host(family), number))
    except OSError:
        sock.close()
        raise
    return sock


def _listening(sock: socket.socket) -> socket.socket:
    try:
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock
