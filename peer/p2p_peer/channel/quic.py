"""QUIC (RFC 9000) on the punched UDP socket: a `Stream`.

The responder is the server. Each side opens one stream that goes one way: so both key proofs ride behind a Finished,
the server's as 0.5-RTT data (RFC 8446 §2), and nobody waits for the other to open anything. No 0-RTT, no tickets; the
certificate is bound by the key proof, not checked. The socket is read all the time, or nothing would be acknowledged:
what nobody takes stops the credit that the other side has, and so its sending.
"""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from p2p_core.errors import ConnectionLost, ProofFailed, WeakKeyExchange
from p2p_core.proof import ChannelBinding, Role
from p2p_core.wire.candidate import Address
from qh3.quic.events import HandshakeCompleted, ProtocolNegotiated, StopSendingReceived, StreamDataReceived, StreamReset

from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.quic_connection import WINDOW, Connection, configuration, reason
from p2p_peer.channel.quic_socket import QuicSocket
from p2p_peer.channel.stream import KEY_EXCHANGE, StreamEnded, Wait
from p2p_peer.channel.unread import Unread
from p2p_peer.paths.base import Path

__all__ = ["QuicStream"]

# Bytes that wait to be sent for the first time, at most; then none are taken until half of them are.
MAX_UNSENT = 256 * 1024
TURN_READS = 16  # calls to the system before others get their turn in the event loop: up to 1 MiB
# Bytes that the other side may send beside what is handed on. qh3 keeps an answer to each PATH_CHALLENGE (RFC 9000
# §19.17), which takes twenty times the bytes, until it can be sent: for ever, if nothing is acknowledged. Of an honest
# side come acknowledgements, and a window of data that has to wait for a lost packet.
MAX_BESIDE = WINDOW + 1024 * 1024  # at once
BESIDE_RATE = 4096  # more each second: pings, and looks for the MTU
_CLIENTS_STREAM, _SERVERS_STREAM = 2, 3  # the first of each that go one way (RFC 9000 §2.1)

_log = logging.getLogger(__name__)


class QuicStream:
    """One side of a QUIC connection, on a path whose socket is ours to close. Implements `Stream`."""

    def __init__(self, path: Path, role: Role) -> None:
        """Speak with the other side of `path`, as its client if we are the initiator."""
        sock, address = path.socket, path.address
        self.socket = sock
        self._loop = asyncio.get_running_loop()
        self._fd = sock.fileno()
        self._socket = QuicSocket(sock)
        self._there = (socket.inet_ntop(sock.family, address.ip.packed), address.port)
        is_client = role is Role.INITIATOR
        self._own_certificate = None if is_client else ThrowawayCertificate.make()
        self._configuration = configuration(self._own_certificate, finds_mtu=self._socket.finds_mtu)
        streams = _CLIENTS_STREAM, _SERVERS_STREAM
        self._outward, self._inward = streams if is_client else streams[::-1]
        self._unread = Unread()
        self._connection: Connection | None = None
        self._may_send = is_client  # a server is silent until its proof can go along
        self._was_greeted = self._shook_hands = False  # there was a ClientHello; there were both Finished
        self._has_ended = self._is_closed = False
        self._lost: ConnectionLost | None = None
        self._beside, self._beside_at = 0.0, self._loop.time()
        self._reader: Callable[[], None] | None = None
        self._writer: Callable[[], None] | None = None
        self._has_news = False  # for the reader
        self._is_blocked = False  # nothing more is taken from the writer
        self._max_unsent = MAX_UNSENT
        self._socket_was_full = False
        self._turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._delivered: asyncio.Future[None] | None = None
        if is_client:
            self._connection = Connection.to(self._there, self._configuration, self._unread, self._loop.time())
        self._nomination = path.nomination
        for datagram in path.early:
            self._take(datagram, len(datagram), self._there)
        self._loop.add_reader(self._fd, self._on_readable)
        self._soon()

    # What a stream is.

    def handshake_to_binding(self) -> Wait | None:
        """Take the handshake to where our key proof can be made: the ClientHello, or the server's Finished."""
        self._check()
        return None if (self._was_greeted if self._own_certificate else self._shook_hands) else Wait.READ

    def binding(self) -> ChannelBinding:
        """Return the channel binding. Raises `WeakKeyExchange` unless the key exchange is the hybrid one."""
        if self.key_exchange != KEY_EXCHANGE:
            raise WeakKeyExchange(
                f"the other side agreed on the key exchange {self.key_exchange}, and not on {KEY_EXCHANGE}"
            )
        return ChannelBinding.of_certificate(self._certificate())

    def send_behind_finished(self, data: bytes) -> None:
        """Send `data` with the flight that carries our Finished."""
        self._check()
        assert self._connection is not None
        if data:
            self._connection.send_stream_data(self._outward, data)
        self._may_send = True
        self._go_on()

    def handshake_to_end(self) -> Wait | None:
        """Take the handshake to its end. None when it is there."""
        self._check()
        return None if self._shook_hands else Wait.READ

    @property
    def key_exchange(self) -> str:
        """The key exchange that was agreed."""
        return "none" if self._connection is None else self._connection.key_exchange

    @property
    def address(self) -> Address:
        """Where the other side is now: it moves when its NAT gives it another mapping (RFC 9000 §9)."""
        return Address.of(*(self._there if self._connection is None else self._connection.address))

    def read_into(self, space: memoryview) -> int | None:
        """Read into `space`; return how many bytes, or None when none are there yet.

        Raises `StreamEnded` at a proper end, `ConnectionLost` at any other.
        """
        if not self._unread.size:
            if self._has_ended:
                raise StreamEnded
            self._check()
            return None
        was_full = self._unread.is_full
        count = self._unread.read_into(space)
        if was_full and not self._unread.is_full:
            self._soon()  # for what has been left with qh3
        return count

    def write(self, data: memoryview) -> int | None:
        """Write `data`, or its beginning, and return how many bytes; None when nothing can go yet."""
        self._check()
        assert self._connection is not None
        if not self._takes_more():
            self._is_blocked = True
            return None
        self._is_blocked = False
        part = data[: self._max_unsent - self._connection.get_send_buffer_size(self._outward)]
        self._makes_up_for(len(part) / 2)  # acknowledgements take less
        with self._blaming_the_other_side():
            self._connection.send_stream_data(self._outward, part)
        self._check()
        self._soon()
        return len(part)

    def queue_at_most(self, size: int) -> None:
        """Let `size` bytes wait to be sent for the first time, or `MAX_UNSENT` if that is less."""
        self._max_unsent = min(size, MAX_UNSENT)

    def on_readable(self, call: Callable[[], None] | None) -> None:
        """Call it whenever bytes, or the end, have come."""
        self._reader = call
        if call is not None and self._has_news:
            self._soon()

    def on_writable(self, call: Callable[[], None] | None) -> None:
        """Call it whenever there is room to write."""
        self._writer = call
        if call is not None:
            self._soon()

    def end(self) -> None:
        """Say that nothing more comes. The other side may have gone before."""
        if self._connection is not None and self._lost is None:
            with self._blaming_the_other_side():
                self._connection.send_stream_data(self._outward, b"", end_stream=True)
            self._soon()

    async def delivered(self, patience: float) -> None:
        """Wait until the other side has acknowledged all that was written, `patience` seconds at most."""
        if not self._is_closed and self._is_outstanding():
            self._delivered = self._loop.create_future()
            self._soon()
            await asyncio.wait([self._delivered], timeout=patience)

    def close(self) -> None:
        """Tell the other side, once, that we are gone, and close the socket."""
        if self._is_closed:
            return
        self._is_closed = True
        for handle in (self._timer, self._turn):
            if handle is not None:
                handle.cancel()
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        if self._connection is not None:
            with self._blaming_the_other_side():
                self._connection.close()
                self._socket.send(self._connection.datagrams_to_send(self._loop.time()))
        self._socket.close()

    # What comes from the socket.

    def _on_readable(self) -> None:
        for _ in range(TURN_READS):
            try:
                received = self._socket.receive()
            except OSError:  # somebody we sent to is not there (ICMP); whether the other side is, liveness says
                continue
            if received is None:
                break
            self._take(*received)
        self._go_on()

    def _take(self, data: bytes, size: int, source: tuple[str, int]) -> None:
        """Take datagrams of `size` bytes each from `source`."""
        if not data or not data[0] & 0x40 or self._lost is not None:  # RFC 9443: STUN and probes are nothing for us
            return
        if not self._shook_hands and source != self._there:
            return  # a stranger; later on, qh3 asks whoever writes from elsewhere whether he is there (RFC 9000 §8.2)
        now = self._loop.time()
        with self._blaming_the_other_side():
            if self._connection is None:
                self._connection = Connection.of(data[:size], source, self._configuration, self._unread, now)
                data = data[size:]
            if self._connection is not None and data:
                self._came_beside(self._connection.receive(data, size, source, now), now)

    def _came_beside(self, count: int, now: float) -> None:
        """Count what came, until what it says is handed on."""
        self._makes_up_for(BESIDE_RATE * (now - self._beside_at))
        self._beside, self._beside_at = self._beside + count, now
        if self._beside > MAX_BESIDE:
            self._lose("it sent far more than it said")

    def _makes_up_for(self, count: float) -> None:
        self._beside = max(0.0, self._beside - count)

    # Moving things on.

    def _soon(self) -> None:
        """Go on in the next turn of the loop; once, however often it is asked for."""
        if self._turn is None and not self._is_closed:
            self._turn = self._loop.call_soon(self._go_on)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._loop.time()
        assert self._connection is not None
        with self._blaming_the_other_side():
            due = self._connection.get_timer()
            if due is not None and due <= now:
                self._connection.handle_timer(now)
        self._go_on()

    def _go_on(self) -> None:
        """Take what qh3 has for us, send what it has for the other side, arm its timer, and tell who waits."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        if self._is_closed:
            return
        if self._connection is not None:
            with self._blaming_the_other_side():
                self._take_events(self._connection)
                if self._may_send:
                    self._send(self._connection)
                    self._arm(self._connection)
        if self._delivered is not None and not self._delivered.done() and not self._is_outstanding():
            self._delivered.set_result(None)
        if self._has_news and self._reader is not None:
            self._has_news = False
            self._reader()
        if self._writer is not None and (self._lost is not None or self._takes_more()):
            self._writer()

    def _take_events(self, connection: Connection) -> None:
        connection.take_events()
        while (event := connection.next_event()) is not None:
            self._has_news = True
            if isinstance(event, StreamDataReceived) and event.stream_id == self._inward:
                self._unread.append(event.data)
                self._makes_up_for(2 * len(event.data))  # it was counted as well
                self._has_ended = self._has_ended or event.end_stream
            elif isinstance(event, StreamDataReceived | StreamReset | StopSendingReceived):
                self._lose("it broke the rules: each side has one stream, and neither gives it up")
            elif isinstance(event, ProtocolNegotiated):
                self._was_greeted = True
            elif isinstance(event, HandshakeCompleted):
                self._shook_hands = True
        if connection.ending is not None and self._lost is None:
            _log.debug("QUIC: %r", connection.ending)
            self._lose(reason(connection.ending))

    def _send(self, connection: Connection) -> None:
        if self._socket.is_full:
            self._socket.send()
        if not self._socket.is_full:
            datagrams = list(connection.datagrams_to_send(self._loop.time()))
            if datagrams and self._nomination and not self._was_greeted:
                datagrams.insert(0, (self._nomination, self._there))
            self._socket.send(datagrams)
        if self._socket.is_full is not self._socket_was_full:
            self._socket_was_full = self._socket.is_full
            if self._socket_was_full:
                self._loop.add_writer(self._fd, self._go_on)
            else:
                self._loop.remove_writer(self._fd)

    def _arm(self, connection: Connection) -> None:
        """Have the timer go off when qh3 wants it, or before: to make it anew for each packet costs too much."""
        due = None if self._socket_was_full else connection.get_timer()
        if self._timer is not None:
            if due is not None and self._timer.when() <= due:
                return
            self._timer.cancel()
        self._timer = None if due is None else self._loop.call_at(due, self._on_timer)

    def _takes_more(self) -> bool:
        """Not after each packet: those that ask a dead peer for an answer would pass for his taking something."""
        if self._connection is None:
            return False
        limit = self._max_unsent // 2 if self._is_blocked else self._max_unsent
        return self._connection.get_send_buffer_size(self._outward) < limit

    def _is_outstanding(self) -> bool:
        return self._connection is not None and self._lost is None and not self._connection.is_delivered

    @contextmanager
    def _blaming_the_other_side(self) -> Iterator[None]:
        """Of what qh3 stumbles over no list can be made; it is always something that has come."""
        try:
            yield
        except Exception as error:
            _log.debug("QUIC: %r", error)
            if self._connection is not None:  # garbage is no beginning
                self._lose("it broke the rules of QUIC")

    def _lose(self, why: str) -> None:
        if self._lost is None:
            self._has_news = True
            what = "connection to the other side broke" if self._shook_hands else "handshake with the other side failed"
            self._lost = ConnectionLost(f"the {'' if self._shook_hands else 'QUIC '}{what}: {why}")

    def _check(self) -> None:
        if self._lost is not None:
            raise self._lost

    def _certificate(self) -> bytes:
        if self._own_certificate is not None:
            return self._own_certificate.der
        certificate = None if self._connection is None else self._connection.get_peercert()
        if certificate is None:
            raise ProofFailed("the other side showed no TLS certificate")
        return certificate.public_bytes()
