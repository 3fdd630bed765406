"""An offer's body: where a peer may be reached, and its secrets for one session. docs/protocol/offer.md.

The body is what `sealing` signs and seals. Fields that this version does not know are ignored, candidates of an
unknown kind are left out: a later version may add both.
"""

from dataclasses import dataclass, field
from enum import Enum

from google.protobuf.message import DecodeError
from p2p_proto import offer_pb2 as pb

from p2p_core import limits
from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

__all__ = ["Mapping", "Offer", "decode", "encode"]


class Mapping(Enum):
    """How a NAT maps ports, RFC 4787 §4.1 (sequential and random are both address-and-port-dependent)."""

    UNKNOWN = pb.MAPPING_UNKNOWN
    INDEPENDENT = pb.ENDPOINT_INDEPENDENT
    SEQUENTIAL = pb.DEPENDENT_SEQUENTIAL
    RANDOM = pb.DEPENDENT_RANDOM


_KINDS = {
    CandidateKind.HOST: pb.HOST,
    CandidateKind.SERVER_REFLEXIVE: pb.SERVER_REFLEXIVE,
    CandidateKind.MAPPED: pb.MAPPED,
    CandidateKind.RELAY: pb.RELAY,
}
_TRANSPORTS = {Transport.UDP: pb.OVER_UDP, Transport.TCP: pb.OVER_TCP}
_KIND_OF = {value: kind for kind, value in _KINDS.items()}
_TRANSPORT_OF = {value: transport for transport, value in _TRANSPORTS.items()}
_MAPPING_VALUES = {mapping.value for mapping in Mapping}


@dataclass(frozen=True, slots=True)
class Offer:
    """One side's part of one channel. `session_id` is empty for a new session."""

    issued: int  # seconds since the epoch
    expires: int  # seconds since the epoch
    nonce: bytes = field(repr=False)  # 32 bytes, for the key proof
    punch_share: bytes = field(repr=False)  # 32 bytes, for the punch keys
    candidates: tuple[Candidate, ...]
    session_id: bytes = b""
    channel: int = 0
    udp_mapping: Mapping = Mapping.UNKNOWN
    tcp_mapping: Mapping = Mapping.UNKNOWN
    udp_port_step: int = 0  # ports from one UDP mapping to the next, where the NAT is sequential
    direct_only: bool = False  # this side does not come to the mediator's relay


def encode(offer: Offer) -> bytes:
    """Return the bytes of an offer's body."""
    body = pb.OfferBody(
        version=limits.PROTOCOL_VERSION,
        issued=offer.issued,
        expires=offer.expires,
        nonce=offer.nonce,
        punch_share=offer.punch_share,
        session_id=offer.session_id,
        channel=offer.channel,
        udp_mapping=offer.udp_mapping.value,
        tcp_mapping=offer.tcp_mapping.value,
        udp_port_step=offer.udp_port_step,
        direct_only=offer.direct_only,
        candidates=[
            pb.Candidate(
                kind=_KINDS[candidate.kind],
                transport=_TRANSPORTS[candidate.transport],
                ip=candidate.address.ip.packed,
                port=candidate.address.port,
            )
            for candidate in offer.candidates
        ],
    )
    return body.SerializeToString(deterministic=True)


def decode(data: bytes) -> Offer:
    """Read an offer's body. Raises `Malformed`."""
    try:
        body = pb.OfferBody.FromString(data)
    except DecodeError as error:
        raise Malformed("an offer that does not parse") from error
    if body.version != limits.PROTOCOL_VERSION:
        raise Malformed(f"an offer of version {body.version}; this program speaks {limits.PROTOCOL_VERSION}")
    if len(body.nonce) != limits.NONCE_BYTES or len(body.punch_share) != limits.SHARE_BYTES:
        raise Malformed("an offer with a nonce or a punch share of the wrong length")
    if len(body.session_id) not in (0, limits.HASH_BYTES):
        raise Malformed("an offer with a session id of the wrong length")
    if bool(body.session_id) is not bool(body.channel):
        raise Malformed("an offer for a further channel of no session, or for the first one of a session")
    if len(body.candidates) > limits.MAX_CANDIDATES:
        raise Malformed(f"an offer with {len(body.candidates)} candidates; at most {limits.MAX_CANDIDATES}")
    return Offer(
        issued=body.issued,
        expires=body.expires,
        nonce=body.nonce,
        punch_share=body.punch_share,
        candidates=tuple(
            Candidate(
                _KIND_OF[candidate.kind],
                _TRANSPORT_OF[candidate.transport],
                Address.from_packed(candidate.ip, candidate.port),
            )
            for candidate in body.candidates
            if candidate.kind in _KIND_OF and candidate.transport in _TRANSPORT_OF
        ),
        session_id=body.session_id,
        channel=body.channel,
        udp_mapping=_mapping(body.udp_mapping),
        tcp_mapping=_mapping(body.tcp_mapping),
        udp_port_step=body.udp_port_step,
        direct_only=body.direct_only,
    )


def _mapping(value: int) -> Mapping:
    return Mapping(value) if value in _MAPPING_VALUES else Mapping.UNKNOWN
