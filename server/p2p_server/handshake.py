"""How a peer proves its key to the mediator: Hello, Challenge, Proof. docs/protocol/mediator.md and key-proof.md.

Without I/O. A key that is not admitted is challenged like any other, and whoever cannot prove a key is refused
before anybody asks whether it is admitted: nobody learns which keys are, but by owning them.
"""

import os
from collections.abc import Sequence

from p2p_core import limits
from p2p_core.errors import KeyUnfit, Malformed, ProofFailed
from p2p_core.identity import PeerId, public_from_der
from p2p_core.proof import PathKind, Purpose, Role, Transcript, verify
from p2p_proto import mediator_pb2 as pb

from p2p_server.authorized import Admits, KeysUnreadable
from p2p_server.endings import Ending, StreamEnded
from p2p_server.tls import Identity

__all__ = ["Handshake"]


class Handshake:
    """One peer's proof, from its Hello on. Methods raise `StreamEnded`."""

    def __init__(self, hello: pb.Hello, identities: Sequence[Identity]) -> None:
        """Take the peer's Hello. Its proof may be for any of `identities`: it saw one of them when it connected."""
        if hello.version != limits.PROTOCOL_VERSION:
            raise StreamEnded(
                Ending.UNSUPPORTED_VERSION, f"this mediator speaks version {limits.PROTOCOL_VERSION} of the protocol"
            )
        if len(hello.nonce) != limits.NONCE_BYTES:
            raise StreamEnded(Ending.MALFORMED, f"a nonce has {limits.NONCE_BYTES} bytes")
        try:
            self._key = public_from_der(hello.public_key)
        except (Malformed, KeyUnfit) as error:
            raise StreamEnded(Ending.BAD_KEY, str(error)) from None
        self._peer = PeerId.of(self._key)
        self._peer_nonce = hello.nonce
        self._nonce = os.urandom(limits.NONCE_BYTES)
        self._identities = identities

    def challenge(self) -> pb.Challenge:
        """Return what the peer has to answer."""
        return pb.Challenge(version=limits.PROTOCOL_VERSION, nonce=self._nonce)

    def prove(self, proof: pb.Proof, admits: Admits) -> PeerId:
        """Return who the peer is, if its proof verifies and it is admitted."""
        if not any(self._is_proved(proof.signature, identity) for identity in self._identities):
            raise StreamEnded(Ending.NOT_ADMITTED)
        try:
            is_admitted = admits(self._peer)
        except KeysUnreadable:
            raise StreamEnded(Ending.KEYS_UNREADABLE) from None
        if not is_admitted:
            raise StreamEnded(Ending.NOT_ADMITTED)
        return self._peer

    def _is_proved(self, signature: bytes, identity: Identity) -> bool:
        transcript = Transcript(
            purpose=Purpose.PEER_TO_MEDIATOR,
            prover=Role.INITIATOR,
            path=PathKind.MEDIATOR,
            binding=identity.binding,
            initiator=self._peer,
            responder=identity.id,
            initiator_nonce=self._peer_nonce,
            responder_nonce=self._nonce,
        )
        try:
            verify(self._key, transcript, signature)
        except ProofFailed:
            return False
        return True
