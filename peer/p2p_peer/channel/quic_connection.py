"""QUIC as Punchwire speaks it, by qh3; and in one place, the things it needs that qh3 has no public name for.

- the hybrid key exchange only: qh3 offers classical groups as well, takes any as a server, and does not tell which;
- events taken only when they are wanted: qh3 gives the other side fresh credit (RFC 9000 §4.1) for what is taken;
- how it ended, at once: qh3 tells of a close only when the draining period is over (RFC 9000 §10.2);
- datagrams to send without a look at each for a log: a fifth of the sender's time;
- how much of what came is the other side's: what anybody may send is not held against it;
- whether everything sent has been acknowledged, and where the other side is now (RFC 9000 §9).

docs/decisions/qh3-internals.md has the reasons and what happens should a name go away.
"""

import logging
import ssl
from typing import Any, Self

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection
from qh3.quic.events import ConnectionTerminated
from qh3.quic.packet import QuicErrorCode
from qh3.tls import AlertDescription, CipherSuite, Group

from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.stream import KEY_EXCHANGE
from p2p_peer.channel.unread import Unread

__all__ = ["Connection", "configuration", "prepare", "reason"]

ALPN = "punchwire/1"
WINDOW = 4 * 1024 * 1024  # bytes of credit: the largest that never overran a socket buffer of 4 MiB
IDLE_TIME = 60.0  # s; liveness notices a dead channel long before (`p2p_core.machines.liveness`)
INITIAL_ROUND_TRIP = 0.1  # s until one is measured: a lost first packet is sent again after twice that
_VERSION_1 = bytes.fromhex("00000001")  # RFC 9000 §15
DATAGRAM_SIZE = 1200  # bytes that every path carries (RFC 9000 §14); the client looks for more (RFC 8899)

# What a TLS context of qh3 holds of each group it has made a key for.
_GROUPS = {
    "_x25519_kyber_768_private_key": KEY_EXCHANGE,
    "_x25519_private_key": "x25519",
    "_ec_p256_private_key": "secp256r1",
    "_ec_p384_private_key": "secp384r1",
    "_ec_p521_private_key": "secp521r1",
}

logging.getLogger("quic").addHandler(logging.NullHandler())  # what qh3 warns of is told by our own errors


def configuration(certificate: ThrowawayCertificate | None, *, finds_mtu: bool) -> QuicConfiguration:
    """Configure a server with `certificate`, or a client; `finds_mtu`: packets may be dropped for being too large."""
    made = QuicConfiguration(
        is_client=certificate is None,
        alpn_protocols=[ALPN],
        cipher_suites=[
            CipherSuite.AES_256_GCM_SHA384,
            CipherSuite.AES_128_GCM_SHA256,
            CipherSuite.CHACHA20_POLY1305_SHA256,
        ],
        verify_mode=ssl.CERT_NONE,  # the key proof binds the certificate
        idle_timeout=IDLE_TIME,
        initial_rtt=INITIAL_ROUND_TRIP,
        max_data=WINDOW,
        max_stream_data=WINDOW,
        max_datagram_size=DATAGRAM_SIZE,
        probe_datagram_size=finds_mtu,
    )
    if certificate is not None:
        made.load_cert_chain(
            certificate.certificate.public_bytes(Encoding.PEM),
            certificate.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
    return made


def prepare() -> None:
    """Take the time of a process's first key exchange beforehand, in any thread: 30 ms, to seed its random numbers."""
    Connection.to(("192.0.2.1", 9), configuration(None, finds_mtu=False), Unread(), 0.0)  # where nothing is sent


class Connection(QuicConnection):
    """A QUIC connection that takes only the hybrid key exchange, and hands on only what there is room for."""

    def __init__(self, unread: Unread, **arguments: Any) -> None:
        """Events are wanted while `unread` is not full; `arguments` are qh3's."""
        super().__init__(**arguments)
        self._unread = unread

    @classmethod
    def to(cls, address: tuple[str, int], settings: QuicConfiguration, unread: Unread, now: float) -> Self:
        """Be a client of `address`."""
        connection = cls(unread, configuration=settings)
        connection.connect(address, now)
        return connection

    @classmethod
    def of(
        cls, datagram: bytes, address: tuple[str, int], settings: QuicConfiguration, unread: Unread, now: float
    ) -> Self | None:
        """Be the server of whoever sent `datagram`, or None if it is not a client's first (RFC 9000 §14.1, §17.2.2)."""
        if len(datagram) < DATAGRAM_SIZE or not datagram[0] & 0x80 or datagram[1:5] != _VERSION_1:
            return None
        chosen_by_client = datagram[6 : 6 + datagram[5]]  # the destination, RFC 8999 §5.1
        connection = cls(unread, configuration=settings, original_destination_connection_id=chosen_by_client)
        connection.receive_datagram(datagram, address, now)
        core = connection._core
        return connection if core is not None and core.received_authenticated_packet else None

    @property
    def key_exchange(self) -> str:
        """The key exchange that was agreed; "none" before."""
        if self._tls is None or self._tls.tls.key_schedule is None:
            return "none"
        return next((group for name, group in _GROUPS.items() if getattr(self._tls.tls, name) is not None), "none")

    @property
    def ending(self) -> ConnectionTerminated | None:
        """How the connection ended, if it has."""
        return self._close_event

    @property
    def is_delivered(self) -> bool:
        """Whether everything that was sent has been acknowledged."""
        return self._core is None or (self._core.bytes_in_flight == 0 and self.get_send_buffer_size() == 0)

    @property
    def address(self) -> tuple[str, int]:
        """Where the other side is, as far as it has proved it."""
        assert self._core is not None
        host, port, *_ = self._core.active_path[2]
        return host, port

    def receive(self, buffer: bytes, size: int, source: tuple[str, int], now: float) -> int:
        """Take datagrams of `size` bytes each; return how many bytes of them, about, are the other side's, and new."""
        if self._core is None or not self._handshake_complete:
            self.receive_gro_buffer(buffer, size, source, now)
            return 0
        _, _, packets, *_ = self._core.receive_gro_buffer(buffer, size, source, now)
        self._drain_core()
        return min(packets * size, len(buffer))

    def take_events(self) -> None:
        """Take what was left because there was no room."""
        if self._core is not None:
            self._drain_core()

    def datagrams_to_send(self, now: float) -> list[tuple[bytes, tuple[str, int]]]:
        """Return what is to be sent, and where. qh3 looks at each datagram again, for a log that nobody keeps."""
        made: list[tuple[bytes, tuple[str, int]]] = []
        if self._core is not None:
            poll = self._core.poll_transmit
            while (transmit := poll(now)) is not None:
                made.append((transmit[0], transmit[1]))
        return made

    def _create_tls(self, remote_source_cid: bytes | None) -> Any:
        bridge = super()._create_tls(remote_source_cid)
        bridge.tls._supported_groups = [Group.X25519ML768]  # what a client offers; a server is asked `key_exchange`
        return bridge

    def _drain_core(self) -> None:
        if not self._unread.is_full:
            super()._drain_core()


def reason(ending: ConnectionTerminated) -> str:
    """Say how a connection ended; not in the words of the other side."""
    if ending.error_code == QuicErrorCode.NO_ERROR:
        return "it ended without a farewell"
    alert = ending.error_code - QuicErrorCode.CRYPTO_ERROR  # RFC 9001 §4.8
    if alert in set(AlertDescription):
        return f"TLS: {AlertDescription(alert).name.replace('_', ' ')}"
    return f"QUIC error {ending.error_code:#x}"
