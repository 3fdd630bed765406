"""Datagrams in bulk: Linux takes and gives many of one size in one call (GSO and GRO, udp(7)); others, one by one.

What does not get out is lost, as on any way of a datagram: QUIC sends it again.
"""

import contextlib
import errno
import socket
import sys
from collections import deque
from collections.abc import Iterable
from itertools import islice

__all__ = ["Datagrams", "QuicSocket"]

Datagrams = Iterable[tuple[bytes, tuple[str, int]]]

_LINUX = sys.platform == "linux"
_UDP, _SEGMENT, _GRO = 17, 103, 104  # SOL_UDP, UDP_SEGMENT, UDP_GRO: linux/udp.h
_MTU_DISCOVER, _MTU_DISCOVER_6, _PROBE = 10, 23, 3  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE: linux/in.h
_MAX_BYTES = 65507 - 40  # of one call: what an IP packet holds, less the largest headers
_MAX_DATAGRAMS = 64  # of one call: UDP_MAX_SEGMENTS of older kernels
_NO_GSO = (errno.EIO, errno.EINVAL, errno.EOPNOTSUPP)  # an interface without checksum offload; a kernel without GSO
_BUFFER = 65536


class QuicSocket:
    """An unconnected, non-blocking UDP socket, ours to close."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.has_gso = _LINUX
        self._outbox: deque[tuple[bytes, tuple[str, int]]] = deque()
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        if _LINUX:
            with contextlib.suppress(OSError):
                sock.setsockopt(_UDP, _GRO, 1)
        self.finds_mtu = _LINUX and _never_fragment(sock)  # whether packets that are too large are dropped

    @property
    def is_full(self) -> bool:
        """Whether the system takes no more at the moment."""
        return bool(self._outbox)

    def receive(self) -> tuple[bytes, int, tuple[str, int]] | None:
        """Return what has come, or None: datagrams of one size (the last may be shorter), that size, their source.

        Raises `OSError` for what a stranger's ICMP message says, on some systems.
        """
        try:
            if not _LINUX:
                data, source = self.socket.recvfrom(_BUFFER)
                return data, max(len(data), 1), _plain(source)
            count, told, _, source = self.socket.recvmsg_into([self._buffer], 64)
        except BlockingIOError:
            return None
        size = count
        for level, kind, value in told:
            if level == _UDP and kind == _GRO:
                size = int.from_bytes(value[:4], sys.byteorder)
        return bytes(self._view[:count]), max(size, 1), _plain(source)

    def send(self, datagrams: Datagrams = ()) -> None:
        """Send what could not go before, and `datagrams`."""
        outbox = self._outbox
        outbox.extend(datagrams)
        while outbox:
            count = self._alike() if self.has_gso else 1
            try:
                if count == 1:
                    self.socket.sendto(*outbox[0])
                else:
                    control = [(_UDP, _SEGMENT, len(outbox[0][0]).to_bytes(2, sys.byteorder))]
                    self.socket.sendmsg([data for data, _ in islice(outbox, count)], control, 0, outbox[0][1])
            except BlockingIOError:
                return
            except OSError as error:  # no route, a firewall, too large, or ICMP said so
                if count > 1 and error.errno in _NO_GSO:
                    self.has_gso = False
                    continue
            for _ in range(count):
                outbox.popleft()

    def close(self) -> None:
        """Close the socket."""
        self._outbox.clear()
        self.socket.close()

    def _alike(self) -> int:
        """How many of those that wait go in one call: one address, one size, but for a shorter last."""
        first, address = self._outbox[0]
        size = len(first)
        most = min(_MAX_DATAGRAMS, _MAX_BYTES // size)
        count = 0
        for data, to in islice(self._outbox, most):
            if to != address or len(data) > size:
                break
            count += 1
            if len(data) < size:
                break
        return max(count, 1)


def _plain(source: tuple[str, int]) -> tuple[str, int]:
    """Return the address without the scope that IPv6 may add."""
    return source[0].partition("%")[0], source[1]


def _never_fragment(sock: socket.socket) -> bool:
    """Have packets that are too large dropped, as RFC 9000 §14 demands; return whether that is so."""
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _MTU_DISCOVER_6, _PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _PROBE)
    except OSError:
        return False
    return True
