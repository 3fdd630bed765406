"""TLS 1.3 on a connected, non-blocking socket itself (RFC 8446), by pyOpenSSL: a `Stream`.

No resumption, no 0-RTT data from the client; the certificate is bound by the key proof, not checked. OpenSSL sends two
session tickets all the same, as cryptography binds nothing that stops it; no session is kept behind them.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable

from OpenSSL import SSL, crypto
from p2p_core.errors import ConnectionLost, ProofFailed, WeakKeyExchange
from p2p_core.proof import ChannelBinding, Role
from p2p_core.wire.candidate import Address

from p2p_peer.channel import openssl
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.stream import KEY_EXCHANGE, StreamEnded, Wait

__all__ = ["TlsSocket"]

_CIPHERS = b"TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256"
_EXPORTER_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266 §2
_EXPORTER_BYTES = 32
_MAX_RECORD = 16 * 1024  # RFC 8446 §5.1


class TlsSocket:
    """One side of a TLS connection. `socket` is connected, non-blocking, and ours to close. Implements `Stream`."""

    address: Address | None = None  # a connection stays where it is

    def __init__(self, sock: socket.socket, role: Role) -> None:
        self.socket = sock
        self._fd = sock.fileno()  # to be watched no more, when the socket has been closed already
        self._responder = role is Role.RESPONDER
        self._own_certificate = ThrowawayCertificate.make() if self._responder else None
        self._connection = SSL.Connection(_context(self._own_certificate), sock)
        openssl.one_record_a_read(self._connection)
        if self._responder:
            self._connection.set_accept_state()
        else:
            self._connection.set_connect_state()

    def handshake_to_binding(self) -> Wait | None:
        """Take the handshake to where the channel binding is known: our Finished. None when it is there."""
        try:
            if not self._responder:
                self._connection.do_handshake()
            elif not openssl.accept_until_finished(self._connection):
                raise ProofFailed("the other side sent data before the TLS handshake was over")
        except SSL.WantReadError:
            return Wait.READ
        except SSL.WantWriteError:
            return Wait.WRITE
        except SSL.Error as error:
            raise _lost("the TLS handshake with the other side failed", error) from error
        return None

    def send_behind_finished(self, data: bytes) -> None:
        """Send `data`, small enough for a socket's buffer, with the flight that carries our Finished."""
        try:
            if self._responder and data:
                openssl.write_behind_finished(self._connection, data)
            else:
                self._connection.sendall(data)
        except SSL.Error as error:
            raise _lost("the TLS handshake with the other side failed", error) from error

    def handshake_to_end(self) -> Wait | None:
        """Take the handshake to its end. None when it is there."""
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return Wait.READ
        except SSL.WantWriteError:
            return Wait.WRITE
        except SSL.Error as error:
            raise _lost("the TLS handshake with the other side failed", error) from error
        return None

    def binding(self) -> ChannelBinding:
        """Return the channel binding. Raises `WeakKeyExchange` unless the key exchange is the hybrid one."""
        if self.key_exchange != KEY_EXCHANGE:
            raise WeakKeyExchange(
                f"the other side agreed on the key exchange {self.key_exchange}, and not on {KEY_EXCHANGE}"
            )
        exporter = self._connection.export_keying_material(_EXPORTER_LABEL, _EXPORTER_BYTES)
        return ChannelBinding.of_channel(exporter, self._certificate())

    @property
    def key_exchange(self) -> str:
        """The key exchange that was agreed."""
        return self._connection.get_group_name() or "none"

    def read_into(self, space: memoryview) -> int | None:
        """Read into `space`; return how many bytes, or None when none are there yet.

        Raises `StreamEnded` at a proper end, `ConnectionLost` at any other.
        """
        try:
            return openssl.read_into(self._connection, space)
        except (SSL.WantReadError, SSL.WantWriteError):
            return None
        except SSL.ZeroReturnError:
            raise StreamEnded from None
        except SSL.Error as error:
            raise _lost("the connection to the other side broke", error) from error

    def write(self, data: memoryview) -> int | None:
        """Write `data` whole; None when it cannot go yet: then the same bytes must be written next."""
        try:
            return self._connection.send(data)
        except (SSL.WantReadError, SSL.WantWriteError):
            return None
        except SSL.Error as error:
            raise _lost("the connection to the other side broke", error) from error

    def queue_at_most(self, size: int) -> None:
        """Let `size` bytes wait in a TCP socket beside those that are on their way; a relay's sees to that itself."""
        if self.socket.family != socket.AF_UNIX and hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with contextlib.suppress(OSError):  # macOS: it is gone already, as writing will show
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, size)

    def on_readable(self, call: Callable[[], None] | None) -> None:
        """Call it whenever the socket is readable. TLS may hold bytes that the socket no longer shows."""
        loop = asyncio.get_running_loop()
        if call is None:
            loop.remove_reader(self._fd)
        else:
            loop.add_reader(self._fd, call)

    def on_writable(self, call: Callable[[], None] | None) -> None:
        """Call it whenever the socket is writable."""
        loop = asyncio.get_running_loop()
        if call is None:
            loop.remove_writer(self._fd)
        else:
            loop.add_writer(self._fd, call)

    def end(self) -> None:
        """Say that nothing more comes (close_notify, then FIN). The other side may have gone before."""
        try:
            self._connection.shutdown()
            self.socket.shutdown(socket.SHUT_WR)
        except (SSL.Error, OSError):  # there is nobody to say it to
            return

    async def delivered(self, patience: float) -> None:
        """Return at once: what is written is the system's, which goes on when the socket is closed."""

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def _certificate(self) -> bytes:
        if self._own_certificate is not None:
            return self._own_certificate.der
        certificate = self._connection.get_peer_certificate()
        if certificate is None:
            raise ProofFailed("the other side showed no TLS certificate")
        return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)  # never read: only its hash counts


def _context(certificate: ThrowawayCertificate | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD if certificate is None else SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_tls13_ciphersuites(_CIPHERS)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(SSL.VERIFY_NONE)
    openssl.whole_writes(context)
    if certificate is not None:
        context.use_certificate(certificate.certificate)
        context.use_privatekey(certificate.key)
    return context


def _lost(what: str, error: SSL.Error) -> ConnectionLost:
    if isinstance(error, SSL.SysCallError):
        number = error.args[0]  # an errno; -1 for the end of the stream without close_notify
        return ConnectionLost(f"{what}: {os.strerror(number) if number > 0 else 'it ended without a farewell'}")
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return ConnectionLost(f"{what}: {reasons[-1][-1] if reasons else 'the other side broke it off'}")
