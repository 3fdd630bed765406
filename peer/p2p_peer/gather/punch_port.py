"""The one local TCP port that STUN, listening and dialling share, so that the NAT maps them alike (RFC 5382 §4.1)."""

import errno
import socket
from dataclasses import dataclass

from p2p_core.errors import NoPath
from p2p_core.wire.candidate import Address

__all__ = ["PunchPort"]

_BACKLOG = 16
_ADVICE = "End programs that hold many connections, and start again."
_TRIES = 16  # ports tried until one is free in both address families


@dataclass(frozen=True, slots=True)
class PunchPort:
    """A port that is ours in every address family this machine has, with a listener in each."""

    number: int
    listeners: tuple[socket.socket, ...]

    @classmethod
    def open(cls) -> "PunchPort":
        """Take a free port. Raises `NoPath` when there is none."""
        for _ in range(_TRIES):
            try:
                first = _listening(_bound(socket.AF_INET, 0))
            except OSError as error:
                raise NoPath(f"this computer cannot listen on a TCP port: {error.strerror}", advice=_ADVICE) from error
            number = first.getsockname()[1]
            try:
                second = _listening(_bound(socket.AF_INET6, number))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    first.close()
                    continue
                return cls(number, (first,))  # no IPv6 on this machine
            return cls(number, (first, second))
        raise NoPath("this computer has no TCP port that is free in IPv4 and IPv6", advice=_ADVICE)

    def socket_towards(self, address: Address) -> socket.socket:
        """Return a new non-blocking socket on this port, to dial `address` with. Raises `OSError`."""
        return _bound(socket.AF_INET if address.ip.version == 4 else socket.AF_INET6, self.number)

    def close(self) -> None:
        """Give the port back."""
        for listener in self.listeners:
            listener.close()


def _bound(family: socket.AddressFamily, number: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", number))  # noqa: S104 - reachable is the point
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
