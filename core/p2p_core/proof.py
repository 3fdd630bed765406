"""The one key proof, used twice: a peer to the mediator, and two peers to each other. docs/protocol/key-proof.md.

RSA challenge-response on nonces: the prover signs a transcript that says everything the proof is for. A proof
made for one purpose, role, channel, session or pair of peers is worthless for another.
"""

import hashlib
from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from p2p_core import limits
from p2p_core.errors import LocalProtocolError, ProofFailed
from p2p_core.fields import encode, u16, u32
from p2p_core.identity import RSAPrivateKey, RSAPublicKey

__all__ = [
    "BindingType",
    "ChannelBinding",
    "PathKind",
    "Purpose",
    "Role",
    "Transcript",
    "prove",
    "sign",
    "verify",
    "verify_signature",
]

_LABEL = "punchwire key proof"
# RFC 8017 §8.1; the salt is as long as the hash, as §9.1 recommends.
_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)


class Role(Enum):
    """Who advertised first is the initiator: TLS client, controlling side, and the one who nominates."""

    INITIATOR = "initiator"
    RESPONDER = "responder"

    @property
    def other(self) -> "Role":
        """The role of the other side."""
        return Role.RESPONDER if self is Role.INITIATOR else Role.INITIATOR


class Purpose(Enum):
    """What a proof is for."""

    PEER_TO_MEDIATOR = "peer-to-mediator"
    PEER_TO_PEER = "peer-to-peer"


class PathKind(Enum):
    """What a channel runs on. It fixes the type of the channel binding, so that nobody can talk it down."""

    MEDIATOR = "mediator"
    TCP = "tcp"
    QUIC = "quic"
    RELAY = "relay"


class BindingType(Enum):
    """What a channel binding is made of."""

    NONE = "none"  # TLS ends somewhere else: only ever to the mediator, and only when asked for
    CERTIFICATE = "certificate"  # SHA-256 of the TLS server's certificate, DER
    EXPORTER_AND_CERTIFICATE = "exporter+certificate"  # RFC 9266 value, then SHA-256 of the certificate


_BINDINGS = {
    PathKind.MEDIATOR: (BindingType.CERTIFICATE, BindingType.NONE),
    PathKind.TCP: (BindingType.EXPORTER_AND_CERTIFICATE,),
    PathKind.QUIC: (BindingType.CERTIFICATE,),
    PathKind.RELAY: (BindingType.EXPORTER_AND_CERTIFICATE,),
}
_BINDING_BYTES = {
    BindingType.NONE: 0,
    BindingType.CERTIFICATE: 32,
    BindingType.EXPORTER_AND_CERTIFICATE: 64,
}


@dataclass(frozen=True, slots=True)
class ChannelBinding:
    """A value that only the two ends of one channel share."""

    type: BindingType
    value: bytes

    @classmethod
    def none(cls) -> Self:
        """No binding: the mediator's TLS ends somewhere else."""
        return cls(BindingType.NONE, b"")

    @classmethod
    def of_certificate(cls, certificate_der: bytes) -> Self:
        """Bind to the certificate the TLS server showed."""
        return cls(BindingType.CERTIFICATE, hashlib.sha256(certificate_der).digest())

    @classmethod
    def of_channel(cls, exporter: bytes, certificate_der: bytes) -> Self:
        """Bind to a TLS 1.3 connection: its 32-byte exporter value (RFC 9266) and its server's certificate."""
        return cls(BindingType.EXPORTER_AND_CERTIFICATE, exporter + hashlib.sha256(certificate_der).digest())


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything a proof is for. Both sides build it from what they know; only the prover's role differs.

    To the mediator the peer is the initiator, the mediator's id stands for the responder's (empty when it shows no
    certificate), and session and offers are empty. `counter` numbers the channels of a session, from 0.
    """

    purpose: Purpose
    prover: Role
    path: PathKind
    binding: ChannelBinding
    initiator: bytes
    responder: bytes
    initiator_nonce: bytes
    responder_nonce: bytes
    session_id: bytes = b""
    initiator_offer_hash: bytes = b""
    responder_offer_hash: bytes = b""
    counter: int = 0

    def __post_init__(self) -> None:
        """Refuse a transcript that no proof may be made over: each is a bug of the caller."""
        to_peer = self.purpose is Purpose.PEER_TO_PEER
        if to_peer is (self.path is PathKind.MEDIATOR) or self.binding.type not in _BINDINGS[self.path]:
            raise LocalProtocolError(f"{self.purpose}, {self.path} and {self.binding.type} do not go together")
        unbound = self.binding.type is BindingType.NONE
        expected = {
            "binding": (self.binding.value, (_BINDING_BYTES[self.binding.type],)),
            "initiator": (self.initiator, (limits.PEER_ID_BYTES,)),
            "responder": (self.responder, (0,) if unbound else (limits.PEER_ID_BYTES,)),
            "initiator nonce": (self.initiator_nonce, (limits.NONCE_BYTES,)),
            "responder nonce": (self.responder_nonce, (limits.NONCE_BYTES,)),
            "session id": (self.session_id, (limits.HASH_BYTES if to_peer else 0,)),
            # Tokens and direct connections have no sealed offers, or only one side has.
            "initiator's offer": (self.initiator_offer_hash, (0, limits.HASH_BYTES) if to_peer else (0,)),
            "responder's offer": (self.responder_offer_hash, (0, limits.HASH_BYTES) if to_peer else (0,)),
        }
        for name, (value, sizes) in expected.items():
            if len(value) not in sizes:
                raise LocalProtocolError(f"{name} has {len(value)} bytes in a transcript")

    def encode(self) -> bytes:
        """Return the bytes that are signed."""
        return encode(
            _LABEL,
            u16(limits.PROTOCOL_VERSION),
            self.purpose.value.encode(),
            self.prover.value.encode(),
            self.path.value.encode(),
            self.binding.type.value.encode(),
            self.binding.value,
            self.initiator,
            self.responder,
            self.initiator_nonce,
            self.responder_nonce,
            self.session_id,
            self.initiator_offer_hash,
            self.responder_offer_hash,
            u32(self.counter),
        )

    def by(self, prover: Role) -> "Transcript":
        """Return the same transcript with `prover` as the one who proves."""
        return replace(self, prover=prover)


def prove(key: RSAPrivateKey, transcript: Transcript) -> bytes:
    """Return the proof: an RSA-PSS/SHA-256 signature (RFC 8017 §8.1), as long as the key."""
    return sign(key, transcript.encode())


def verify(key: RSAPublicKey, transcript: Transcript, proof: bytes) -> None:
    """Raise `ProofFailed` unless `proof` was made over `transcript` by the owner of `key`."""
    verify_signature(key, transcript.encode(), proof)


def sign(key: RSAPrivateKey, encoded: bytes) -> bytes:
    """Sign what `fields.encode` made; its label says what for."""
    return key.sign(encoded, _PSS, hashes.SHA256())


def verify_signature(key: RSAPublicKey, encoded: bytes, signature: bytes) -> None:
    """Raise `ProofFailed` unless `signature` was made over `encoded` by the owner of `key`."""
    try:
        key.verify(signature, encoded, _PSS, hashes.SHA256())
    except InvalidSignature:
        raise ProofFailed("the signature does not verify") from None
