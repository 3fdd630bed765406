"""Tokens: content, seal and text (token.md)."""

from p2p_core.token_sealing import seal_token, token_key
from p2p_core.wire import offer, token
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from tests.vectors.made.inputs import ISSUED, Blocks, of


def _at(kind: CandidateKind, ip: str, tcp: int | None, udp: int | None) -> tuple[Candidate, ...]:
    ports = ((Transport.TCP, tcp), (Transport.UDP, udp))
    return tuple(Candidate(kind, transport, Address.of(ip, port)) for transport, port in ports if port)


PHRASE = "blue cat"
TOKEN = token.Token(
    ISSUED,
    ISSUED + 600,
    of(0x11, 12),
    of(0x22, 16),
    (
        *_at(CandidateKind.SERVER_REFLEXIVE, "198.51.100.7", 61000, 62000),
        *_at(CandidateKind.HOST, "192.168.1.2", 50000, 50000),
        *_at(CandidateKind.HOST, "2001:db8::1", 50000, 50000),
    ),
    udp_mapping=offer.Mapping.SEQUENTIAL,
    tcp_mapping=offer.Mapping.INDEPENDENT,
    udp_port_step=2,
)
TOKEN_OF_PORTS = token.Token(
    ISSUED,
    ISSUED + 3600,
    of(0x33, 12),
    of(0x44, 16),
    (
        *_at(CandidateKind.MAPPED, "203.0.113.5", 7, 7),
        *_at(CandidateKind.HOST, "203.0.113.6", 7, None),
        *_at(CandidateKind.HOST, "203.0.113.7", None, 7),
        *_at(CandidateKind.SERVER_REFLEXIVE, "2001:db8::2", None, 8),
        *_at(CandidateKind.HOST, "::1", 9, 8),
    ),
)


def blocks() -> Blocks:
    key = token_key(PHRASE, ISSUED // token.SLOT)
    sealed = seal_token(TOKEN, key)
    return {
        "token-content": token.encode(TOKEN),
        "token-key": key,
        "token-text": sealed.text,
        "token-hash": sealed.digest,
        "token-content-ports": token.encode(TOKEN_OF_PORTS),
    }
