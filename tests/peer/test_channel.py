import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from p2p_core import limits
from p2p_core.agreement import Agreement
from p2p_core.errors import (
    ConnectionLost,
    Malformed,
    ProofFailed,
    PunchwireError,
    RemoteProtocolError,
    WeakKeyExchange,
)
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.proof import PathKind, Role, Transcript, prove
from p2p_core.wire.candidate import Address
from p2p_core.wire.frames import KeyProof, Ping, TextMessage, encode
from p2p_peer.channel import channel as channel_module
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.channel import Channel, establish
from p2p_peer.channel.stream import StreamEnded, Wait
from p2p_peer.channel.tls import TlsSocket
from p2p_peer.paths.base import Path

from tests.peer.pair import (
    INITIATOR_KEY,
    PATIENCE,
    RESPONDER_KEY,
    STRANGER_KEY,
    agreement,
    changed,
    channels,
    own_key,
    socket_paths,
    soon,
    until,
)
from tests.peer.wiretap import Wire

INITIATOR, RESPONDER = Role.INITIATOR, Role.RESPONDER
BOTH = pytest.mark.parametrize("role", [INITIATOR, RESPONDER])


@pytest.fixture
def paths() -> Iterator[dict[Role, Path]]:
    ours, theirs = socket_paths()
    yield {INITIATOR: ours, RESPONDER: theirs}
    for path in (ours, theirs):
        path.socket.close()


def start(
    path: Path,
    role: Role,
    *,
    holding: Agreement | None = None,
    key: RSAPrivateKey | None = None,
    other_key: RSAPublicKey | None = None,
) -> "asyncio.Task[Channel]":
    """Establish one end as it should be, but for what is given."""
    holding = holding or agreement(role)
    other_key = other_key or own_key(role.other).public_key()
    return asyncio.create_task(establish(path, holding, key or own_key(role), other_key))


async def results(*ends: "asyncio.Task[Channel]") -> list[Channel | BaseException]:
    """How both ends come out; channels are closed."""
    done = await soon(asyncio.gather(*ends, return_exceptions=True))
    for end in done:
        if isinstance(end, Channel):
            end.stream.close()
    return done


async def test_the_key_exchange_is_hybrid() -> None:
    ours, theirs = await channels()
    assert ours.key_exchange == theirs.key_exchange == "X25519MLKEM768"
    assert ours.stream.binding() == theirs.stream.binding()
    ours.stream.close()
    theirs.stream.close()


async def test_no_two_channels_share_a_binding() -> None:
    made = [*await channels(), *await channels()]
    assert len({end.stream.binding().value for end in made}) == 2
    for end in made:
        end.stream.close()


async def test_through_the_relay() -> None:
    """One end of a socket pair on either side: TLS does not care what is behind it."""
    made = [Path(PathKind.RELAY, sock, Address.of("192.0.2.1", 443)) for sock in map(non_blocking, socket.socketpair())]
    ours, theirs = await channels((made[0], made[1]))
    assert ours.key_exchange == theirs.key_exchange == "X25519MLKEM768"
    assert ours.stream.binding() == theirs.stream.binding()
    for stream, other in ((ours.stream, theirs.stream), (theirs.stream, ours.stream)):
        stream.end()
        await soon(stream.delivered(PATIENCE))
        with pytest.raises(StreamEnded):
            await soon(read(other))
    ours.stream.close()
    theirs.stream.close()


def non_blocking(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


# Who does not hold the key.


@BOTH
@pytest.mark.parametrize("liar_key", [STRANGER_KEY, None])
async def test_a_wrong_key(paths: dict[Role, Path], role: Role, liar_key: RSAPrivateKey | None) -> None:
    """`role` has a stranger's key, or even the honest side's own."""
    liar_key = liar_key or own_key(role.other)
    ends = {role: start(paths[role], role, key=liar_key), role.other: start(paths[role.other], role.other)}
    liar, honest = await results(ends[role], ends[role.other])
    assert isinstance(honest, ProofFailed)
    assert str(honest) == "the other side did not prove that it has the expected key"
    # The liar believes the honest proof, and learns of its own only by the end of the connection.
    assert isinstance(liar, Channel | ConnectionLost)


@BOTH
async def test_another_peer_was_expected(paths: dict[Role, Path], role: Role) -> None:
    picky = start(paths[role], role, other_key=STRANGER_KEY.public_key())
    outcome = await results(picky, start(paths[role.other], role.other))
    assert isinstance(outcome[0], ProofFailed)


def other_offer(held: Agreement) -> Agreement:
    """The initiator's offer as the mediator might have altered it, and everything else as it was."""
    return changed(held, initiator=changed(held.initiator, offer_hash=bytes(32)))


def other_nonce(held: Agreement) -> Agreement:
    return changed(held, responder=changed(held.responder, offer=changed(held.responder.offer, nonce=bytes(32))))


@BOTH
@pytest.mark.parametrize("alter", [other_offer, other_nonce, lambda held: agreement(held.role, seed=7)])
async def test_a_proof_for_other_offers_or_another_session(paths: dict[Role, Path], role: Role, alter: Any) -> None:
    ends = [start(paths[role], role, holding=alter(agreement(role))), start(paths[role.other], role.other)]
    assert [type(outcome) for outcome in await results(*ends)] in (
        [ProofFailed, ProofFailed],
        [ProofFailed, ConnectionLost],  # the initiator was quicker to hang up than the responder to read
        [ConnectionLost, ProofFailed],
    )


@BOTH
async def test_nothing_that_follows_a_false_proof_is_acted_on(paths: dict[Role, Path], role: Role) -> None:
    liar = await in_tls(paths[role.other], role.other)
    honest = start(paths[role], role)
    await finish_handshake(liar, encode(KeyProof(bytes(256))) + encode(TextMessage(1, 0, "obey", b"")))
    assert isinstance((await results(honest))[0], ProofFailed)
    assert paths[role].socket.fileno() == -1


@BOTH
async def test_a_reflected_proof(paths: dict[Role, Path], role: Role) -> None:
    """The other side has no key of its own, and sends our own proof back."""
    liar = await in_tls(paths[role.other], role.other)
    honest = start(paths[role], role)
    await finish_handshake(liar, b"")
    await soon(write(liar, await soon(read(liar))))
    assert isinstance((await results(honest))[0], ProofFailed)


# TLS that is not as it must be.


def stdlib_client(paths: dict[Role, Path], context: ssl.SSLContext) -> "asyncio.Task[Any]":
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return asyncio.create_task(
        asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=paths[INITIATOR].socket, ssl=context, server_hostname=""
        )
    )


def stdlib_server(paths: dict[Role, Path], folder: FilePath, context: ssl.SSLContext) -> "asyncio.Task[Any]":
    made = ThrowawayCertificate.make()
    pem = folder / "server.pem"
    pem.write_bytes(
        made.certificate.public_bytes(Encoding.PEM)
        + made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context.load_cert_chain(pem)
    return asyncio.create_task(
        asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, sock=paths[RESPONDER].socket, ssl=context)
    )


async def over(task: "asyncio.Task[Any]") -> None:
    """Let the standard library's end go, whatever it thinks of us."""
    outcome = (await asyncio.gather(task, return_exceptions=True))[0]
    if isinstance(outcome, tuple):
        outcome[0].abort()
    await asyncio.sleep(0)


@BOTH
async def test_only_classical_groups(paths: dict[Role, Path], role: Role, tmp_path: FilePath) -> None:
    """`role` is ours."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role is INITIATOR else ssl.PROTOCOL_TLS_CLIENT)
    with contextlib.suppress(ssl.SSLError):  # an ssl module that refuses it is too old to know any other
        context.set_ecdh_curve("X25519")
    honest = start(paths[role], role)
    weak = stdlib_server(paths, tmp_path, context) if role is INITIATOR else stdlib_client(paths, context)
    outcome = (await results(honest))[0]
    assert isinstance(outcome, WeakKeyExchange)
    assert str(outcome) == "the other side agreed on the key exchange x25519, and not on X25519MLKEM768"
    await over(weak)


@BOTH
async def test_tls_1_2(paths: dict[Role, Path], role: Role, tmp_path: FilePath) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if role is INITIATOR else ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    honest = start(paths[role], role)
    old = stdlib_server(paths, tmp_path, context) if role is INITIATOR else stdlib_client(paths, context)
    outcome = (await results(honest))[0]
    assert isinstance(outcome, ConnectionLost)
    assert str(outcome).startswith("the TLS handshake with the other side failed: ")
    await over(old)


@dataclass(frozen=True)
class OddCertificate:
    """A certificate that OpenSSL takes, and nobody who looks closer."""

    der: bytes

    @classmethod
    def shown_by(cls, tls: TlsSocket) -> "OddCertificate":
        """Have `tls` show its own certificate as one of version 99."""
        assert tls._own_certificate is not None
        der = bytearray(tls._own_certificate.der)
        der[der.index(bytes.fromhex("a003020102")) + 4] = 98
        lib, null = SSL._lib, SSL._ffi.NULL  # type: ignore[attr-defined]
        parsed = lib.d2i_X509_bio(lib.BIO_new_mem_buf(bytes(der), len(der)), null)
        assert parsed != null
        assert lib.SSL_use_certificate(tls._connection._ssl, parsed) == 1  # type: ignore[attr-defined]
        return cls(bytes(der))


async def test_the_certificate_is_bound_and_never_read(
    paths: dict[Role, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def odd(sock: socket.socket, role: Role) -> TlsSocket:
        tls = TlsSocket(sock, role)
        if role is RESPONDER:
            tls._own_certificate = OddCertificate.shown_by(tls)  # type: ignore[assignment]
        return tls

    monkeypatch.setattr(channel_module, "TlsSocket", odd)
    outcome = await results(*(start(paths[role], role) for role in Role))
    assert [type(end) for end in outcome] == [Channel, Channel]


@BOTH
@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff" + bytes(1000)])
async def test_garbage(paths: dict[Role, Path], role: Role, garbage: bytes) -> None:
    honest = start(paths[role], role)
    paths[role.other].socket.send(garbage)
    outcome = (await results(honest))[0]
    assert isinstance(outcome, ConnectionLost)
    assert str(outcome).startswith("the TLS handshake with the other side failed: ")


@pytest.mark.parametrize("role", [INITIATOR, RESPONDER])
async def test_two_of_one_role(role: Role) -> None:
    """Two TLS clients, or two TLS servers that both wait."""
    ours, theirs = socket_paths()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel_module, "HANDSHAKE_TIME", 0.05)
        outcome = await results(start(ours, role), start(theirs, role))
    assert [type(end) for end in outcome] == [ConnectionLost, ConnectionLost]


# Somebody falls silent, or hangs up.


async def in_tls(path: Path, role: Role) -> TlsSocket:
    """The other side's TLS, by hand."""
    return TlsSocket(path.socket, role)


async def wait(tls: TlsSocket, what: Wait = Wait.READ) -> None:
    await channel_module.until(tls, what)


async def handshake(tls: TlsSocket) -> None:
    """Take a handshake to its end, without a proof."""
    while (what := tls.handshake_to_binding()) is not None:
        await wait(tls, what)
    while (what := tls.handshake_to_end()) is not None:
        await wait(tls, what)


async def finish_handshake(tls: TlsSocket, data: bytes) -> None:
    """Shake hands, and say `data` as the first thing inside."""
    await soon(handshake(tls))
    if data:
        await soon(write(tls, data))


async def write(tls: TlsSocket, data: bytes) -> None:
    while tls.write(memoryview(data)) is None:
        await wait(tls, Wait.WRITE)


async def read(tls: TlsSocket) -> bytes:
    buffer = bytearray(65536)
    while (count := tls.read_into(memoryview(buffer))) is None:
        await wait(tls)
    return bytes(buffer[:count])


def _proof_of(role: Role, tls: TlsSocket, path: Path) -> bytes:
    return encode(KeyProof(prove(own_key(role), agreement(role).transcript(path.kind, tls.binding()))))


STEPS = ["says nothing", "a piece of the handshake", "no proof", "half a proof"]


async def stop_after(step: str, path: Path, role: Role) -> TlsSocket | None:
    """Be a peer in `role` that goes as far as `step` says."""
    if step == "says nothing":
        return None
    if step == "a piece of the handshake":
        path.socket.send(b"\x16\x03\x01\x02\x00\x01")
        return None
    tls = TlsSocket(path.socket, role)
    await soon(handshake(tls))
    if step == "half a proof":
        await write(tls, _proof_of(role, tls, path)[:100])
    return tls


@BOTH
@pytest.mark.parametrize("step", STEPS)
async def test_the_other_side_falls_silent(
    paths: dict[Role, Path], role: Role, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "HANDSHAKE_TIME", 0.1)
    honest = start(paths[role], role)
    silent = asyncio.create_task(stop_after(step, paths[role.other], role.other))
    outcome = (await results(honest))[0]
    assert isinstance(outcome, ConnectionLost)
    assert str(outcome) == "the other side did not prove its key within 0.1 s"
    assert paths[role].socket.fileno() == -1
    await asyncio.gather(silent, return_exceptions=True)


@BOTH
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("how", ["close_notify", "end of stream", "reset"])
async def test_the_other_side_hangs_up(paths: dict[Role, Path], role: Role, step: str, how: str) -> None:
    honest = start(paths[role], role)
    tls = await stop_after(step, paths[role.other], role.other)
    sock = paths[role.other].socket
    if how == "close_notify" and tls is not None:
        tls.end()
    elif how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        sock.close()
    else:
        sock.shutdown(socket.SHUT_WR)
    assert isinstance((await results(honest))[0], ConnectionLost)


_RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"


@BOTH
async def test_cancelled(paths: dict[Role, Path], role: Role) -> None:
    end = start(paths[role], role)
    await asyncio.sleep(0)
    end.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(end)
    assert paths[role].socket.fileno() == -1


# What may come before the proof: nothing.


@BOTH
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (encode(Ping(1)), RemoteProtocolError),
        (encode(TextMessage(1, 0, "obey", b"")), RemoteProtocolError),
        (b"\x00\x00\x00\x00\x80", RemoteProtocolError),  # not even what may be ignored later
        (b"\x00\x00\x00\x00\x7f", RemoteProtocolError),
        (b"\x00\x00\x00\x40\x40" + bytes(64), RemoteProtocolError),
        ((limits.MAX_PROOF_FRAME + 1).to_bytes(4, "big") + b"\x01", Malformed),
        (b"\xff\xff\xff\xff\x01", Malformed),
        (encode(KeyProof(b"")), ProofFailed),
        (encode(KeyProof(bytes(limits.MAX_PROOF_FRAME))), ProofFailed),
    ],
)
async def test_a_frame_before_the_proof(
    paths: dict[Role, Path], role: Role, data: bytes, error: type[PunchwireError]
) -> None:
    other = await in_tls(paths[role.other], role.other)
    honest = start(paths[role], role)
    await finish_handshake(other, data)
    assert type((await results(honest))[0]) is error


# The proofs cost no round trip.


@pytest.fixture
def wire() -> Iterator[Wire]:
    wire = Wire()
    yield wire
    wire.close()


async def test_the_proofs_ride_with_the_finished_messages(wire: Wire) -> None:
    """ClientHello → ; ← ServerHello … Finished, proof ; Finished, proof → ; and that is all."""
    ends = [start(wire.initiator, INITIATOR), start(wire.responder, RESPONDER)]
    hello = await wire.from_initiator()
    assert len(hello) > 1184  # it carries a key share of ML-KEM-768, so no HelloRetryRequest follows
    wire.to_responder(hello)
    wire.to_initiator(await wire.from_responder())
    finished = await wire.from_initiator()
    # The initiator has the responder's proof already: no further flight has reached either side.
    assert isinstance(await soon(ends[0]), Channel)
    assert not ends[1].done()
    wire.to_responder(finished)
    assert isinstance(await soon(ends[1]), Channel)
    # OpenSSL adds two session tickets, which nothing stands behind: too short for anything else.
    assert len(await wire.from_responder()) < 200
    assert wire.is_quiet()
    await results(*ends)


async def test_no_proof_and_no_name_in_the_clear(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    signatures: list[bytes] = []

    def recorded(key: RSAPrivateKey, transcript: Transcript) -> bytes:
        signatures.append(prove(key, transcript))
        return signatures[-1]

    monkeypatch.setattr(channel_module, "prove", recorded)
    ends = [start(wire.initiator, INITIATOR), start(wire.responder, RESPONDER)]
    flights = [await wire.from_initiator()]
    wire.to_responder(flights[0])
    flights.append(await wire.from_responder())
    wire.to_initiator(flights[1])
    flights.append(await wire.from_initiator())
    wire.to_responder(flights[2])
    assert [type(end) for end in await results(*ends)] == [Channel, Channel]
    said = b"".join(flights)
    assert len(signatures) == 2
    for signature in signatures:
        assert signature not in said
    assert b"punchwire" not in said.lower()  # the certificate is encrypted in TLS 1.3
    assert agreement(INITIATOR).session_id not in said
    for key in (INITIATOR_KEY, RESPONDER_KEY):
        peer = PeerId.of(key.public_key())
        modulus = key.public_key().public_numbers().n
        for name in (peer, str(peer).encode(), peer.short.encode(), modulus.to_bytes(256, "big")):
            assert name not in said


@pytest.mark.parametrize("flight", [0, 1, 2])
async def test_a_bit_is_flipped_on_the_way(wire: Wire, flight: int) -> None:
    ends = [start(wire.initiator, INITIATOR), start(wire.responder, RESPONDER)]

    def passed(number: int, data: bytes) -> bytes:
        middle = len(data) // 2
        return data if number != flight else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    async def carry() -> None:
        wire.to_responder(passed(0, await wire.from_initiator()))
        wire.to_initiator(passed(1, await wire.from_responder()))
        wire.to_responder(passed(2, await wire.from_initiator()))

    carrying = asyncio.create_task(carry())
    await until(lambda: any(end.done() and end.exception() is not None for end in ends))
    carrying.cancel()
    broken = [end for end in ends if end.done() and end.exception() is not None]
    assert all(isinstance(end.exception(), ConnectionLost) for end in broken)
    for end in ends:
        end.cancel()
    await results(*ends)
