"""What two peers agree on where no mediator has introduced them: docs/protocol/introduction.md.

Both have said whose key they prove, and have given a nonce, on a channel that is encrypted already. The peer with the
lower id is the initiator of the session, whoever dialled.
"""

from dataclasses import dataclass

from p2p_core import limits
from p2p_core.agreement import Agreement, Side
from p2p_core.errors import SameKey
from p2p_core.fields import digest, u16
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.wire.offer import Offer

__all__ = ["Newcomer", "agree", "role_of", "session_id"]

_LABEL = "punchwire session id without a mediator"


@dataclass(frozen=True, slots=True)
class Newcomer:
    """One of the two, as it has introduced itself."""

    peer: PeerId
    nonce: bytes  # 32 bytes, fresh
    token_hash: bytes = b""  # of its token, if the other side has read that


def role_of(own: bytes, other: bytes) -> Role:
    """Return the role of the peer `own` beside `other`, two ids or the beginnings of both. Raises `SameKey`."""
    if own == other:
        raise SameKey("both sides have the same key")
    return Role.INITIATOR if own < other else Role.RESPONDER


def agree(own: Newcomer, other: Newcomer) -> Agreement:
    """Return what the two agree on: a session of a single channel. Raises `SameKey`."""
    role = role_of(own.peer, other.peer)
    initiator, responder = (own, other) if role is Role.INITIATOR else (other, own)
    session = session_id(initiator, responder)
    return Agreement(role, _side(initiator, session), _side(responder, session))


def session_id(initiator: Newcomer, responder: Newcomer) -> bytes:
    """SHA-256 over both peer ids, both nonces and the hashes of the tokens that were read, 32 bytes."""
    version = u16(limits.PROTOCOL_VERSION)
    nonces = initiator.nonce, responder.nonce
    return digest(_LABEL, version, initiator.peer, responder.peer, *nonces, initiator.token_hash, responder.token_hash)


def _side(newcomer: Newcomer, session: bytes) -> Side:
    offer = Offer(0, 0, newcomer.nonce, b"", (), session_id=session)
    return Side(newcomer.peer, offer, newcomer.token_hash)
