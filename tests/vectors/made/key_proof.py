"""Transcripts and the proof (key-proof.md)."""

from dataclasses import replace

from p2p_core.proof import BindingType, ChannelBinding, PathKind, Purpose, Role, Transcript, prove, verify

from tests.keys import key
from tests.vectors.made.inputs import INITIATOR, OFFER_HASHES, RESPONDER, SESSION, Blocks, of
from tests.vectors.made.randomised import Randomised


def _to_mediator(binding: ChannelBinding, mediator: bytes) -> Transcript:
    return Transcript(
        Purpose.PEER_TO_MEDIATOR,
        Role.INITIATOR,
        PathKind.MEDIATOR,
        binding,
        INITIATOR,
        mediator,
        of(0x03),
        of(0x04),
    )


_TO_PEER = Transcript(
    Purpose.PEER_TO_PEER,
    Role.INITIATOR,
    PathKind.TCP,
    ChannelBinding(BindingType.EXPORTER_AND_CERTIFICATE, of(0x08) + of(0x09)),
    INITIATOR,
    RESPONDER,
    of(0x03),
    of(0x04),
    SESSION,
    *OFFER_HASHES,
)

TRANSCRIPTS = {
    "transcript-mediator-certificate": _to_mediator(ChannelBinding(BindingType.CERTIFICATE, of(0x09)), RESPONDER),
    "transcript-mediator-none": _to_mediator(ChannelBinding(BindingType.NONE, b""), b""),
    "transcript-tcp-initiator": _TO_PEER,
    "transcript-tcp-responder": _TO_PEER.by(Role.RESPONDER),
    "transcript-quic-responder": replace(
        _TO_PEER,
        prover=Role.RESPONDER,
        path=PathKind.QUIC,
        binding=ChannelBinding(BindingType.CERTIFICATE, of(0x09)),
        counter=7,
    ),
}


def blocks() -> Blocks:
    return {name: transcript.encode() for name, transcript in TRANSCRIPTS.items()}


def _check_proof(proof: bytes) -> None:
    verify(key(0).public_key(), TRANSCRIPTS["transcript-tcp-initiator"], proof)


RANDOMISED = {
    "proof-tcp-initiator": Randomised(lambda: prove(key(0), TRANSCRIPTS["transcript-tcp-initiator"]), _check_proof),
}
