"""STUN Binding over UDP (RFC 8489 §6.2.1), answered from the address that was asked: this machine may have several.

Anybody can send a request in another's name, so an answer is hardly longer than its request, and only so many go to
one place.
"""

import asyncio
import socket
import sys

from p2p_core.errors import Malformed
from p2p_core.wire import stun
from p2p_core.wire.candidate import Transport

from p2p_server import observed
from p2p_server.metrics import Metrics
from p2p_server.quota import source_of
from p2p_server.rate import Rate

__all__ = ["StunDatagrams"]

_DATAGRAMS_PER_TURN = 32  # of the event loop; then the streams have theirs, whoever floods us
_IP_PKTINFO = 26 if sys.platform == "darwin" else 8  # <netinet/in.h>, RFC 3542 §6.1 in IPv4; not in Python's socket
_ANCILLARY_BYTES = 64  # for one packet information, which has 20 bytes at most


class StunDatagrams:
    """Answers on one UDP socket."""

    def __init__(self, sock: socket.socket, rate: Rate, metrics: Metrics) -> None:
        """Answer on `sock`, which is bound, from here on, each source as often as `rate` allows."""
        self._socket = sock
        self._rate = rate
        self._metrics = metrics
        sock.setblocking(False)
        if sock.family == socket.AF_INET6:  # one that takes IPv4 as well tells IPv4-mapped addresses
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        asyncio.get_running_loop().add_reader(sock, self._readable)

    def close(self) -> None:
        """Close the socket; twice does no harm."""
        if self._socket.fileno() == -1:
            return
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(_DATAGRAMS_PER_TURN):
            try:
                data, ancillary, _, name = self._socket.recvmsg(stun.MAX_MESSAGE_BYTES + 1, _ANCILLARY_BYTES)
                answer = self._answer(data, name)
                if answer is not None:
                    self._socket.sendmsg([answer], [_from(*one) for one in ancillary], 0, name)
                    self._metrics.stun_answered(Transport.UDP)
            except BlockingIOError:
                return
            except OSError:  # nobody there any more, or no way back: whoever asked will ask again
                continue

    def _answer(self, data: bytes, name: tuple[str, int]) -> bytes | None:
        client = observed.from_socket(name[0], name[1])
        if client is None or not self._rate.allows(source_of(client)):
            return None
        try:
            request = stun.decode(data)
        except Malformed:
            return None
        if not isinstance(request, stun.BindingRequest):
            return None
        return stun.BindingResponse(request.transaction, client).encode()


def _from(level: int, kind: int, information: bytes) -> tuple[int, int, bytes]:
    """Turn what was told of a datagram's way in into its answer's way out: the same address, by any interface."""
    if level == socket.IPPROTO_IPV6:  # struct in6_pktinfo: address, interface
        return level, kind, information[:16] + bytes(4)
    return level, kind, bytes(4) + information[4:12]  # struct in_pktinfo: interface, local address, destination
