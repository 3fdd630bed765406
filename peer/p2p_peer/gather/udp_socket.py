"""One UDP socket for STUN, probes and QUIC, so that the NAT maps them all alike. docs/protocol/punching.md.

What comes is sorted by its first byte (RFC 7983, RFC 9443): 0-3 STUN, 64-127 and 192-255 QUIC, 128-191 our probes.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

from p2p_core.errors import Malformed
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import BindingRequest, BindingResponse

from p2p_peer.gather.stun import ANSWER_TIME, StunFailed, believable

__all__ = ["Take", "UdpSocket"]

Take = Callable[[bytes, Address], None]
_Answer = asyncio.Future[Address | StunFailed]

# s between the requests to one server, each wait half as long again as the last, so that five go out at most. RFC 8489
# §6.2.1 says 0.5 where nothing is known; but there is one second in all, and without a second server's answer nobody
# knows how the NAT maps: with 3 % loss on each link that made every eighth gathering a blind one.
RETRANSMIT = 0.1
_BUFFER = 4 * 1024 * 1024  # bytes asked of the system for each direction, which gives what it allows
_MAX_DATAGRAM = 65536
_DATAGRAMS_PER_TURN = 64  # of the event loop; then others have theirs


class UdpSocket:
    """A non-blocking socket that the event loop reads. What nobody takes is dropped."""

    def __init__(self, sock: socket.socket) -> None:
        """Read `sock`, which is bound and non-blocking, from here on."""
        self.socket = sock
        self._host: str = sock.getsockname()[0]
        self.family = socket.AddressFamily(sock.family)
        self.number: int = sock.getsockname()[1]
        self._asked: dict[bytes, tuple[Address, _Answer]] = {}  # by transaction id
        self._take_probe: Take | None = None
        self._take_quic: Take | None = None
        self._reading = True
        self._owned = True
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._readable)

    @classmethod
    def open(cls, family: socket.AddressFamily, number: int = 0, host: str | None = None) -> "UdpSocket":
        """Bind a socket to port `number` (0: any) of `host` (None: all addresses of `family`). Raises `OSError`."""
        everywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - to be reached
        return cls(_bound(family, number, host or everywhere))

    def reopen(self) -> None:
        """Take the same port again, after it was closed or detached. Raises `OSError`."""
        if self._reading:
            return
        self.socket = _bound(self.family, self.number, self._host)
        self._reading = self._owned = True
        self._loop.add_reader(self.socket, self._readable)

    def send(self, data: bytes, address: Address) -> bool:
        """Send a datagram; return False when it could not go: it is as good as lost on the way."""
        try:
            self.socket.sendto(data, (address.host, address.port))
        except OSError:  # no route, no room, another family, a firewall, closed
            return False
        return True

    def on_probe(self, take: Take | None) -> None:
        """Hand probes (first byte 128-191) with their source to `take`."""
        self._take_probe = take

    def on_quic(self, take: Take | None) -> None:
        """Hand QUIC packets (first byte 64-127, 192-255) with their source to `take`."""
        self._take_quic = take

    async def ask(self, server: Address) -> Address:
        """Ask a STUN server where it sees this socket (RFC 8489 §6.2.1). Raises `StunFailed`."""
        if not self._reading:
            raise StunFailed(f"{server}: our socket is closed")
        request = BindingRequest.fresh()
        answer: _Answer = self._loop.create_future()
        self._asked[request.transaction] = server, answer
        try:
            async with asyncio.timeout(ANSWER_TIME):
                await self._retransmit(request.encode(), server, answer)
        except TimeoutError:
            raise StunFailed(f"{server}: no answer within {ANSWER_TIME:g} s") from None
        finally:
            del self._asked[request.transaction]
        if isinstance(mapped := answer.result(), StunFailed):
            raise mapped
        return mapped

    async def _retransmit(self, request: bytes, server: Address, answer: _Answer) -> None:
        """Send the request, again and again until there is an answer."""
        wait = RETRANSMIT
        while not answer.done():
            self.send(request, server)
            await asyncio.wait([answer], timeout=wait)
            wait *= 1.5

    def detach(self) -> socket.socket:
        """Stop reading; the socket is the caller's from here on."""
        self._stop()
        self._owned = False
        return self.socket

    def close(self) -> None:
        """Close the socket, unless it was detached; twice does no harm."""
        self._stop()
        if self._owned:
            self.socket.close()

    def _stop(self) -> None:
        if not self._reading:
            return
        self._reading = False
        self._loop.remove_reader(self.socket)
        self._take_probe = self._take_quic = None
        for server, answer in self._asked.values():
            if not answer.done():
                answer.set_result(StunFailed(f"{server}: our socket was closed"))

    def _readable(self) -> None:
        for data, source in self._received():
            self._sort(data, source)

    def _received(self) -> Iterator[tuple[bytes, Address]]:
        for _ in range(_DATAGRAMS_PER_TURN):
            if not self._reading:  # whoever took the last datagram has had enough
                return
            try:
                data, name = self.socket.recvfrom(_MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:  # somebody we sent to is not there (ICMP), as some systems tell it
                continue
            with contextlib.suppress(Malformed):  # port 0
                yield data, Address.of(name[0].partition("%")[0], name[1])

    def _sort(self, data: bytes, source: Address) -> None:
        kind = data[0] if data else -1
        if 0 <= kind <= 3:
            self._answered(data, source)
        elif 128 <= kind <= 191:
            if self._take_probe is not None:
                self._take_probe(data, source)
        elif kind >= 64 and self._take_quic is not None:
            self._take_quic(data, source)

    def _answered(self, data: bytes, source: Address) -> None:
        """Take a STUN answer: only from where it was asked, and to what was asked."""
        try:
            response = stun.decode(data)
        except Malformed:
            return
        server, answer = self._asked.get(response.transaction, (None, None))
        if server != source or answer is None or answer.done() or not isinstance(response, BindingResponse):
            return
        if believable(response.mapped, server):
            answer.set_result(response.mapped)
        else:
            answer.set_result(StunFailed(f"{server}: it says that we are at {response.mapped}"))


def _bound(family: socket.AddressFamily, number: int, host: str) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        sock.bind((host, number))
    except BaseException:
        sock.close()
        raise
    return sock
