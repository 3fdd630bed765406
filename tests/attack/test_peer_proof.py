"""A peer that was asked for, with a valid key, before and during the key proof: what it says to a real `p2p-peer`.

The table is the answer to "what if": what the other side does, the sentence, the exit code.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives._asymmetric import AsymmetricPadding
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from p2p_core.errors import ConnectionLost
from p2p_core.proof import ChannelBinding, PathKind, Purpose, Role, Transcript, prove
from p2p_core.wire.frames import (
    HEADER_BYTES,
    Chosen,
    Close,
    Frame,
    Introduction,
    KeyProof,
    Kind,
    Ping,
    TextMessage,
    encode,
    parse_header,
)
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.stream import StreamEnded
from p2p_peer.channel.tls import TlsSocket

from tests.attack import bad_peers
from tests.attack.bad_peers import Act, Row, broken, check
from tests.e2e.hostile import Hostile
from tests.keys import key
from tests.peer.other_side import block
from tests.programs import Keys, Mediator, Programs

HANDSHAKE = {
    "p2p_peer.channel.channel.HANDSHAKE_TIME": 1.5,
    "p2p_peer.attempt.DEPARTURE_GRACE": 60.0,  # or it is that which ends the handshake: the hostile one has left
}

mediator = bad_peers.mediator


# In place of TLS.


async def silent(hostile: Hostile) -> None:
    """The path is there, and nothing comes."""


async def hang_up(hostile: Hostile) -> None:
    hostile.path.socket.close()


def in_the_clear(make: Callable[[Hostile], bytes]) -> Act:
    """Say this where TLS is due."""

    async def act(hostile: Hostile) -> None:
        hostile.path.socket.send(make(hostile))

    return act


async def only_a_hello(hostile: Hostile) -> TlsSocket:
    """What a TLS client says first, whichever of the two it is."""
    tls = TlsSocket(hostile.path.socket, Role.INITIATOR)
    with contextlib.suppress(ConnectionLost):  # the victim may have said the same already, which is answered, too
        assert tls.handshake_to_binding() is not None
    return tls


def a_proof_in_the_clear(hostile: Hostile) -> bytes:
    return encode(KeyProof(prove(hostile.key, right_but_for(hostile, ChannelBinding.of_channel(bytes(32), b"")))))


def other_tls(limit: Callable[[ssl.SSLContext], None]) -> Act:
    """Shake hands with TLS that is not as it must be."""

    async def act(hostile: Hostile) -> None:
        is_client = hostile.role is Role.INITIATOR
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT if is_client else ssl.PROTOCOL_TLS_SERVER)
        if is_client:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            made = ThrowawayCertificate.make()
            key_pem = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            pem = hostile.folder / "hostile" / "server.pem"
            pem.write_bytes(made.certificate.public_bytes(Encoding.PEM) + key_pem)
            context.load_cert_chain(pem)
        limit(context)
        sock = hostile.path.socket.dup()
        sock.setblocking(True)
        with contextlib.suppress(OSError):
            shaken = await asyncio.to_thread(context.wrap_socket, sock, server_side=not is_client)
            shaken.close()
        sock.close()

    return act


def tls_1_2(context: ssl.SSLContext) -> None:
    context.maximum_version = ssl.TLSVersion.TLSv1_2


def classical(context: ssl.SSLContext) -> None:
    context.set_ecdh_curve("prime256v1")


# In place of a proof.


async def no_proof(hostile: Hostile) -> TlsSocket:
    return await hostile.shake_hands()


def saying(make: Callable[[Hostile, TlsSocket], bytes]) -> Act:
    """Shake hands, and say this first."""

    async def act(hostile: Hostile) -> TlsSocket:
        tls = await hostile.shake_hands()
        data = memoryview(make(hostile, tls))
        while tls.write(data) is None:
            await asyncio.sleep(0.001)
        return tls

    return act


def frames(*said: Frame) -> Act:
    return saying(lambda hostile, tls: b"".join(map(encode, said)))


async def reflect(hostile: Hostile) -> TlsSocket:
    """Say what the victim says first."""
    tls = await hostile.shake_hands()
    heard = bytearray(4096)
    count = 0
    with contextlib.suppress(StreamEnded):
        while count < HEADER_BYTES or count < HEADER_BYTES + parse_header(heard)[1]:
            came = tls.read_into(memoryview(heard)[count:])
            if came is None:
                await asyncio.sleep(0.001)
            else:
                count += came
    assert parse_header(heard)[0] == Kind.KEY_PROOF
    tls.write(memoryview(heard)[:count])
    return tls


def proof_over(transcript: Callable[[Hostile, TlsSocket], Transcript]) -> Act:
    return saying(lambda hostile, tls: encode(KeyProof(prove(hostile.key, transcript(hostile, tls)))))


def right(hostile: Hostile, tls: TlsSocket) -> Transcript:
    return right_but_for(hostile, tls.binding())


def right_but_for(hostile: Hostile, binding: ChannelBinding) -> Transcript:
    return hostile.holding.transcript(hostile.path.kind, binding)


def replayed(hostile: Hostile, tls: TlsSocket) -> Transcript:
    """As it was right on another channel of the same session."""
    return right_but_for(hostile, ChannelBinding.of_channel(bytes(32), b"another certificate"))


def with_other(**fields: object) -> Act:
    """A proof by the right key, on this very channel, over a transcript that differs in this."""
    return proof_over(lambda hostile, tls: replace(right(hostile, tls), **fields))


def of_our_role(hostile: Hostile, tls: TlsSocket) -> Transcript:
    return right(hostile, tls).by(hostile.role.other)


def for_the_mediator(hostile: Hostile, tls: TlsSocket) -> Transcript:
    whole = right(hostile, tls)
    return Transcript(
        purpose=Purpose.PEER_TO_MEDIATOR,
        prover=whole.prover,
        path=PathKind.MEDIATOR,
        binding=ChannelBinding.of_certificate(b"the mediator's"),
        initiator=whole.initiator,
        responder=whole.responder,
        initiator_nonce=whole.initiator_nonce,
        responder_nonce=whole.responder_nonce,
    )


def signed_as(scheme: AsymmetricPadding, algorithm: hashes.HashAlgorithm) -> Act:
    """The right transcript, signed by the right key in another way."""
    return saying(lambda h, tls: encode(KeyProof(h.key.sign(right(h, tls).encode(), scheme, algorithm))))


def altered_proof(alter: Callable[[bytes, int], bytes]) -> Act:
    """The right proof, altered; with the key's modulus."""

    def make(hostile: Hostile, tls: TlsSocket) -> bytes:
        modulus = hostile.key.public_key().public_numbers().n
        proof = prove(hostile.key, right(hostile, tls))
        return encode(KeyProof(alter(proof, modulus)))

    return saying(make)


def negative(proof: bytes, modulus: int) -> bytes:
    """The other number that is the same but for its sign (as with ECDSA's s)."""
    return (modulus - int.from_bytes(proof)).to_bytes(len(proof))


def larger(proof: bytes, modulus: int) -> bytes:
    """The same modulo the modulus, in as many bytes if there is room."""
    number = int.from_bytes(proof) + modulus
    return number.to_bytes((number.bit_length() + 7) // 8)


UNPROVED = "the other side did not prove that it has the expected key"
NO_PROOF = "the other side did not prove its key within 1.5 s"
NO_TLS = "the TLS handshake with the other side failed: ..."
NO_TLS_OR_PROOF = "...other side ..."  # of the two above, whichever the role makes it
WEAK = "the other side agreed on the key exchange ..., and not on X25519MLKEM768"
BEFORE_THE_PROOF = [
    Row("silent", silent, NO_PROOF, 6, limits=HANDSHAKE),
    Row("hangs up", hang_up, NO_TLS, 6),
    Row("HTTP", in_the_clear(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(100)), NO_TLS, 6),
    Row("a record cut off", in_the_clear(lambda _: b"\x16\x03\x01\x02\x00\x01"), NO_PROOF, 6, limits=HANDSHAKE),
    Row("an alert", in_the_clear(lambda _: b"\x15\x03\x03\x00\x02\x02\x28"), NO_TLS, 6, limits=HANDSHAKE),
    Row("a hello and no more", only_a_hello, NO_TLS_OR_PROOF, 6, limits=HANDSHAKE),
    Row("a proof in the clear", in_the_clear(a_proof_in_the_clear), NO_TLS, 6, limits=HANDSHAKE),
    Row("TLS 1.2", other_tls(tls_1_2), NO_TLS, 6),
    Row("no post-quantum key exchange", other_tls(classical), WEAK, 4),
    Row("TLS and no proof", no_proof, NO_PROOF, 6, limits=HANDSHAKE),
    Row("half a proof", saying(lambda h, tls: encode(KeyProof(bytes(384)))[:100]), NO_PROOF, 6, limits=HANDSHAKE),
    broken(
        "a frame of 2 GiB",
        saying(lambda h, tls: b"\x7f\xff\xff\xff\x01"),
        "a frame of kind 0x01 with 2147483647 bytes",
    ),
    broken(
        "a proof that is too long",
        saying(lambda h, tls: b"\0\1\0\0\1" + bytes(1000)),
        "a frame of kind 0x01 with 65536 bytes",
    ),
    broken("a message", frames(TextMessage(1, 0, "", b"")), "a frame of kind 0x02 before the key proof"),
    broken("the end", frames(Close("x")), "a frame of kind 0x0a before the key proof"),
    broken("a block", saying(lambda h, tls: bytes(block(b"x"))), "a frame of kind 0x40 before the key proof"),
    broken(
        "a kind that may be ignored",
        saying(lambda h, tls: b"\0\0\0\0\x80"),
        "a frame of kind 0x80 before the key proof",
    ),
    broken(
        "a frame in front of the right proof",
        saying(lambda h, tls: encode(Ping(1)) + encode(KeyProof(prove(h.key, right(h, tls))))),
        "a frame of kind 0x0b before the key proof",
    ),
    broken("an introduction", frames(Introduction(b"", bytes(32))), "..."),
    broken("that it is chosen", frames(Chosen()), "..."),
]

SHA256, SHA512 = hashes.SHA256(), hashes.SHA512()
PROOFS = [
    Row("a stranger's key", saying(lambda h, tls: encode(KeyProof(prove(key(5), right(h, tls))))), UNPROVED, 4),
    Row("the victim's own proof", reflect, UNPROVED, 4),
    Row("of an earlier channel", proof_over(replayed), UNPROVED, 4),
    Row("of the other role", proof_over(of_our_role), UNPROVED, 4),
    Row("of other nonces", with_other(initiator_nonce=bytes(32), responder_nonce=bytes(32)), UNPROVED, 4),
    Row("of another session", with_other(session_id=bytes(32)), UNPROVED, 4),
    Row("of another channel's number", with_other(counter=1), UNPROVED, 4),
    Row("of another path", with_other(path=PathKind.RELAY), UNPROVED, 4),
    Row("of another peer", with_other(initiator=bytes(32)), UNPROVED, 4),
    Row("of other offers", with_other(responder_offer_hash=bytes(32)), UNPROVED, 4),
    Row("for the mediator", proof_over(for_the_mediator), UNPROVED, 4),
    Row("empty", frames(KeyProof(b"")), UNPROVED, 4),
    Row("zeros", frames(KeyProof(bytes(384))), UNPROVED, 4),
    Row("a byte short", altered_proof(lambda proof, n: proof[1:]), UNPROVED, 4),
    Row("a byte longer", altered_proof(lambda proof, n: b"\0" + proof), UNPROVED, 4),
    Row("with another sign", altered_proof(negative), UNPROVED, 4),
    Row("a modulus larger", altered_proof(larger), UNPROVED, 4),
    Row("by PKCS #1 v1.5", signed_as(padding.PKCS1v15(), SHA256), UNPROVED, 4),
    Row("with another hash", signed_as(padding.PSS(padding.MGF1(SHA512), 32), SHA512), UNPROVED, 4),
    Row("without a salt", signed_as(padding.PSS(padding.MGF1(SHA256), 0), SHA256), UNPROVED, 4),
]


@pytest.mark.parametrize("row", BEFORE_THE_PROOF, ids=lambda row: row.name)
async def test_no_proof(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to say something else where TLS 1.3 with the hybrid key exchange, or the key proof, is due.

    OUTCOME: the channel ends with a sentence within the handshake's time; nothing that came is acted on.
    """
    await check(row, mediator, keys, programs, tmp_path)


@pytest.mark.parametrize("row", PROOFS, ids=lambda row: row.name)
async def test_a_false_proof(
    row: Row, mediator: Mediator, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    """TRIES: to pass with a proof that is another key's, another channel's, another role's, or not in the one form.

    OUTCOME: not authenticated (exit code 4), each time.
    """
    await check(row, mediator, keys, programs, tmp_path)
