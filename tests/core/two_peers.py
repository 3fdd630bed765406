"""Two peers that hold each other's offers: what the tests of everything after the match begin with."""

from dataclasses import replace

from p2p_core.agreement import Agreement, Side
from p2p_core.identity import PeerId
from p2p_core.proof import Role
from p2p_core.wire.offer import Offer

from tests.keys import key

__all__ = ["INITIATOR_KEY", "NOW", "RESPONDER_KEY", "agreement", "offer", "side"]

NOW = 1_700_000_000
INITIATOR_KEY, RESPONDER_KEY = key(0), key(1)


def offer(seed: int = 0, **changes: object) -> Offer:
    """Return an offer without candidates whose secrets are made from `seed`."""
    plain = Offer(NOW, NOW + 600, bytes([seed, 1]) * 16, bytes([seed, 2]) * 16, ())
    return replace(plain, **changes)  # type: ignore[arg-type]


def side(role: Role, sealed: bytes = b"sealed") -> Side:
    """Return a side; `sealed` stands for the bytes of its sealed offer."""
    if role is Role.INITIATOR:
        return Side.of(PeerId.of(INITIATOR_KEY.public_key()), offer(1), b"initiator's " + sealed)
    return Side.of(PeerId.of(RESPONDER_KEY.public_key()), offer(2), b"responder's " + sealed)


def agreement(role: Role) -> Agreement:
    """Return what the peer in `role` holds."""
    return Agreement.between(role, side(role), side(role.other))
