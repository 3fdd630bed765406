"""A peer for swarms: the mediator's protocol over HTTP/2 frames of its own, on a TLS connection of its own.

A gRPC client for each peer would cost more than the mediator that is measured. This one speaks just enough of RFC 9113
and of gRPC over it for one stream: fields are sent literally (RFC 7541 §6.2.2), SETTINGS and PING are answered, and
what was read is given back to the windows.
"""

import asyncio
import hashlib
import itertools
import os
import socket
import ssl
import struct
from collections import deque
from typing import TYPE_CHECKING

from p2p_core.identity import spki_hash
from p2p_core.proof import ChannelBinding, PathKind, Purpose, Role, Transcript, prove
from p2p_proto import mediator_pb2 as pb

from benchmarks.swarm_keys import SwarmKey

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OPENING", "PREFACE", "Connection", "Ended", "Mediator", "SwarmPeer"]

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK = END_STREAM = 1
END_HEADERS = 4
CANCEL = 8  # RFC 9113 §7
STREAM = 1  # the only one
WINDOW = 32 * 1024  # bytes that were read, until they are given back
READ = 64 * 1024  # bytes at once
ADDRESSES = 250 * 250  # of peers, in 127.1.0.0/16: each has its own, as peers do


class Ended(Exception):
    """The mediator ended the stream or the connection, or could not be reached; the message says how."""


class Mediator:
    """Where a mediator is, and what its certificate says of it."""

    def __init__(self, host: str, port: int, *, tls: bool = True) -> None:
        """Without `tls` nothing is known of it."""
        self.address = (host, port)
        self.context = _any_certificate() if tls else None
        self._binding = ChannelBinding.none()
        self._id = b""
        self._leaf_hash = b""

    def transcript(self, leaf: bytes, key: SwarmKey, nonce: bytes, challenge: bytes) -> Transcript:
        """Return what is proved to the mediator that showed the certificate `leaf` (DER, empty without TLS)."""
        if leaf and (leaf_hash := hashlib.sha256(leaf).digest()) != self._leaf_hash:
            self._leaf_hash = leaf_hash
            self._binding = ChannelBinding.of_certificate(leaf)
            self._id = spki_hash(leaf)
        return Transcript(
            purpose=Purpose.PEER_TO_MEDIATOR,
            prover=Role.INITIATOR,
            path=PathKind.MEDIATOR,
            binding=self._binding,
            initiator=key.id,
            responder=self._id,
            initiator_nonce=nonce,
            responder_nonce=challenge,
        )


class Connection:
    """A TCP connection with TLS to a mediator. What it hears goes to `on_bytes`; its end, once, to `on_end`."""

    _addresses = itertools.count(os.getpid())

    def __init__(self, mediator: Mediator) -> None:
        """Be ready to connect."""
        self._mediator = mediator
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unsent = bytearray()
        self._fd = -1  # while it is watched
        self.on_bytes: Callable[[bytes], None] = lambda _data: None
        self.on_end: Callable[[str], None] = lambda _why: None

    async def open(self, *, encrypt: bool = True) -> None:
        """Connect, and agree on keys with the mediator unless `encrypt` is false. Raises `Ended`."""
        try:
            if self._mediator.address[0].startswith("127."):
                number = next(self._addresses) % ADDRESSES
                self._socket.setsockopt(socket.SOL_IP, _BIND_ADDRESS_NO_PORT, 1)
                self._socket.bind((f"127.1.{1 + number // 250}.{1 + number % 250}", 0))
            await self._loop.sock_connect(self._socket, self._mediator.address)
            if encrypt and self._mediator.context is not None:
                await self._shake_hands(self._mediator.context)
        except OSError as error:
            self._socket.close()
            raise Ended(f"no connection: {error}") from None
        except BaseException:
            self._socket.close()
            raise

    @property
    def leaf(self) -> bytes:
        """The mediator's certificate, DER; empty without TLS."""
        return (self._socket.getpeercert(True) or b"") if isinstance(self._socket, ssl.SSLSocket) else b""

    def watch(self) -> None:
        """Read from now on."""
        self._fd = self._socket.fileno()
        self._loop.add_reader(self._fd, self._read)

    def write(self, data: bytes) -> None:
        """Send it, at once or when there is room."""
        self._unsent += data
        self._flush()

    def close(self, *, abruptly: bool = False) -> None:
        """Close it, with a reset (RST) if `abruptly`."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1
        if abruptly and self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def _shake_hands(self, context: ssl.SSLContext) -> None:
        self._socket = tls = context.wrap_socket(self._socket, do_handshake_on_connect=False)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._readable(tls.fileno())
            else:
                return

    async def _readable(self, fd: int) -> None:
        readable = self._loop.create_future()
        self._loop.add_reader(fd, _resolve, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(fd)

    def _read(self) -> None:
        try:
            while self._fd >= 0:
                data = self._socket.recv(READ)
                if not data:
                    self._end("the mediator closed the connection")
                    return
                self.on_bytes(data)
        except (ssl.SSLWantReadError, BlockingIOError):
            pass
        except OSError as error:
            self._end(f"the connection broke: {error}")

    def _flush(self) -> None:
        try:
            while self._unsent and self._fd >= 0:
                del self._unsent[: self._socket.send(self._unsent)]
        except (ssl.SSLWantWriteError, BlockingIOError):
            self._loop.add_writer(self._fd, self._on_room)
        except OSError as error:
            self._end(f"the connection broke: {error}")

    def _on_room(self) -> None:
        self._loop.remove_writer(self._fd)
        self._flush()

    def _end(self, why: str) -> None:
        self.close()
        self.on_end(why)


class SwarmPeer:
    """One peer with its stream `Meet`. Methods raise `Ended` once the mediator has ended it."""

    def __init__(self, mediator: Mediator, key: SwarmKey) -> None:
        """Be ready to connect."""
        self.key = key
        self.pings = 0  # that were answered
        self._mediator = mediator
        self._connection = Connection(mediator)
        self._heard = bytearray()  # frames
        self._message = bytearray()  # of gRPC, with their prefixes
        self._unread = 0  # bytes of the windows that were not given back
        self._messages: deque[pb.ToPeer] = deque()
        self._waiting: asyncio.Future[None] | None = None
        self.end = ""  # why it is over, if it is
        self._nonce = b""

    async def fetch_leaf(self) -> None:
        """Make the connection that a peer judges the mediator by, and close it."""
        connection = Connection(self._mediator)
        await connection.open()
        connection.close()

    async def connect(self) -> None:
        """Open the connection and the stream."""
        await self._connection.open()
        self._connection.on_bytes = self._on_bytes
        self._connection.on_end = self._on_end
        self._connection.watch()
        self._connection.write(OPENING)

    async def enter(self) -> pb.Welcome:
        """Prove the key: Hello, Challenge, Proof, Welcome."""
        self.hello()
        self.prove((await self.receive("challenge")).challenge)
        return (await self.receive("welcome")).welcome

    def hello(self) -> None:
        """Say hello."""
        self._nonce = os.urandom(32)
        self.send(pb.ToMediator(hello=pb.Hello(version=1, public_key=self.key.public, nonce=self._nonce)))

    def prove(self, challenge: pb.Challenge) -> None:
        """Answer the challenge."""
        transcript = self._mediator.transcript(self._connection.leaf, self.key, self._nonce, challenge.nonce)
        self.send(pb.ToMediator(proof=pb.Proof(signature=prove(self.key.private, transcript))))

    def advertise(self, wanted: bytes, offer: bytes) -> None:
        """Ask for a peer."""
        self.send(pb.ToMediator(advertise=pb.Advertise(wanted=wanted, offer=offer)))

    def leave(self, peer: bytes) -> None:
        """End a match."""
        self.send(pb.ToMediator(leave=pb.Leave(peer=peer)))

    def send(self, message: pb.ToMediator) -> None:
        """Send a message."""
        data = message.SerializeToString()
        self._connection.write(_frame(DATA, 0, STREAM, b"\0" + struct.pack(">I", len(data)) + data))

    async def receive(self, step: str) -> pb.ToPeer:
        """Take the next message, which has to be this step. Pings are answered, and no messages."""
        while not self._messages:
            if self.end:
                raise Ended(self.end)
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        message = self._messages.popleft()
        if message.WhichOneof("step") != step:
            raise Ended(f"{message.WhichOneof('step')} came where {step} was expected")
        return message

    async def ended(self) -> str:
        """Wait for the end, however it comes; return how."""
        while not self.end:
            self._messages.clear()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return self.end

    async def finish(self) -> None:
        """End the stream and the connection in order: half-close, wait for the mediator's end, close."""
        self.half_close()
        try:
            await self.ended()
        finally:
            self.close()

    def half_close(self) -> None:
        """Say that nothing more is coming."""
        self._connection.write(_frame(DATA, END_STREAM, STREAM, b""))

    def cancel(self) -> None:
        """Cancel the stream."""
        self._connection.write(_frame(RST_STREAM, 0, STREAM, struct.pack(">I", CANCEL)))

    def close(self, *, abruptly: bool = False) -> None:
        """Close the connection."""
        self._connection.close(abruptly=abruptly)
        self._on_end("closed")

    def _on_bytes(self, data: bytes) -> None:
        self._heard += data
        while len(self._heard) >= 9:
            size = int.from_bytes(self._heard[:3])
            if len(self._heard) < 9 + size:
                return
            kind, flags = self._heard[3], self._heard[4]
            payload = bytes(self._heard[9 : 9 + size])
            del self._heard[: 9 + size]
            self._on_frame(kind, flags, payload)

    def _on_frame(self, kind: int, flags: int, payload: bytes) -> None:
        if kind == DATA:
            self._on_data(payload)
        elif kind == HEADERS and flags & END_STREAM:
            self._on_end(_how(payload))
        elif kind == SETTINGS and not flags & ACK:
            self._connection.write(_frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self._connection.write(_frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            self._on_end(f"the stream was reset: {int.from_bytes(payload)}")
        elif kind == GOAWAY:
            self._on_end(
                f"the mediator goes away: {payload[8:].decode(errors='replace') or int.from_bytes(payload[4:8])}"
            )

    def _on_data(self, payload: bytes) -> None:
        self._unread += len(payload)
        if self._unread >= WINDOW:
            update = struct.pack(">I", self._unread)
            self._connection.write(_frame(WINDOW_UPDATE, 0, 0, update) + _frame(WINDOW_UPDATE, 0, STREAM, update))
            self._unread = 0
        self._message += payload
        while len(self._message) >= 5:
            size = int.from_bytes(self._message[1:5])
            if len(self._message) < 5 + size:
                return
            message = pb.ToPeer.FromString(bytes(self._message[5 : 5 + size]))
            del self._message[: 5 + size]
            if message.HasField("ping"):
                self.pings += 1
                self.send(pb.ToMediator(pong=pb.Pong(id=message.ping.id)))
            else:
                self._messages.append(message)
                self._wake()

    def _on_end(self, why: str) -> None:
        self.end = self.end or why
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None:
            _resolve(self._waiting)
            self._waiting = None


_BIND_ADDRESS_NO_PORT = 24  # Linux: the port is chosen when it is known who is dialled, so addresses share ports


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


def _any_certificate() -> ssl.SSLContext:
    """For a mediator that nobody vouches for. TLS still checks that the key is its own, and a peer binds to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _literal(name: str, value: str) -> bytes:
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def _how(block: bytes) -> str:
    """Read the reason in the fields that end a stream: gRPC's core sends new fields literally, without Huffman code."""
    for name in (b"punchwire-reason", b"grpc-status"):
        _, found, rest = block.partition(name)
        if found and rest:
            return rest[1 : 1 + (rest[0] & 0x7F)].decode(errors="replace")
    return "no status"


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, b"")
# In one write, as a gRPC client sends them.
OPENING = PREFACE + _frame(
    HEADERS,
    END_HEADERS,
    STREAM,
    b"".join(
        _literal(name, value)
        for name, value in (
            (":method", "POST"),
            (":scheme", "https"),
            (":path", "/punchwire.v1.Mediator/Meet"),
            (":authority", "punchwire-mediator"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        )
    ),
)
