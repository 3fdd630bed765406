"""Offers, the session id and the punch keys (offer.md)."""

from p2p_core import fields
from p2p_core.agreement import session_id
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.wire import offer
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from tests.keys import key
from tests.vectors.made.inputs import INITIATOR, ISSUED, OFFER_HASHES, RESPONDER, SESSION, Blocks, of
from tests.vectors.made.punch_keys import punch_key
from tests.vectors.made.randomised import Randomised

OFFER = offer.Offer(
    issued=ISSUED,
    expires=ISSUED + 600,
    nonce=of(0x03),
    punch_share=of(0x11),
    candidates=(
        Candidate(CandidateKind.HOST, Transport.TCP, Address.of("192.0.2.1", 50000)),
        Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, Address.of("198.51.100.7", 61000)),
        Candidate(CandidateKind.HOST, Transport.TCP, Address.of("2001:db8::1", 50000)),
    ),
    tcp_mapping=offer.Mapping.INDEPENDENT,
)

OFFER_OF_A_FURTHER_CHANNEL = offer.Offer(
    issued=ISSUED,
    expires=ISSUED + 600,
    nonce=of(0x04),
    punch_share=of(0x12),
    session_id=SESSION,
    channel=7,
    udp_mapping=offer.Mapping.SEQUENTIAL,
    tcp_mapping=offer.Mapping.RANDOM,
    udp_port_step=-2,
    direct_only=True,
    candidates=(Candidate(CandidateKind.MAPPED, Transport.UDP, Address.of("203.0.113.5", 40000)),),
)


def blocks() -> Blocks:
    body = offer.encode(OFFER)
    pair = PeerId.of(key(0).public_key()), PeerId.of(key(1).public_key())
    return {
        "offer-body": body,
        "offer-body-further": offer.encode(OFFER_OF_A_FURTHER_CHANNEL),
        "offer-signed": fields.encode("punchwire offer", fields.u16(1), *pair, body),
        "offer-context": fields.encode("punchwire sealed offer", fields.u16(1), *pair),
        "session-id": session_id(INITIATOR, RESPONDER, *OFFER_HASHES),
        **{f"punch-key-{role.value}-{use.value}": punch_key(role, use) for use in PunchPurpose for role in Role},
    }


def _check_sealed(sealed: bytes) -> None:
    assert open_offer(sealed, key(1), key(0).public_key()) == OFFER


RANDOMISED = {
    "offer-sealed": Randomised(lambda: seal_offer(OFFER, key(0), key(1).public_key()), _check_sealed),
}
