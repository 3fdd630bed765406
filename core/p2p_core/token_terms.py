"""What two peers punch by who have traded tokens, or of whom one has read the other's. docs/protocol/token.md.

The keys of a punch come from one token: whoever sends to me has read mine. So each side sends under the secret of the
other's token once it has read that, and under its own until then; and takes what comes under either.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from p2p_core.punching import PunchSecret, PunchTerms
from p2p_core.unmediated import role_of
from p2p_core.wire.candidate import Candidate
from p2p_core.wire.offer import Offer
from p2p_core.wire.token import Token

__all__ = ["HeldToken", "terms_alone", "terms_of_both"]

_NOTHING_KNOWN = Offer(0, 0, b"", b"", ())


@dataclass(frozen=True, slots=True)
class HeldToken:
    """A token that was made here, or opened."""

    token: Token
    digest: bytes  # its hash, 32 bytes

    @property
    def secret(self) -> PunchSecret:
        """What the punch keys of those are made of who have read it."""
        return PunchSecret(self.token.share, self.digest)


def terms_alone(own: HeldToken, found: Sequence[Candidate], other: bytes) -> PunchTerms:
    """Return what to listen by while only the other side may have read a token: ours.

    `found` are all our candidates, `other` is the beginning of the peer id that the other side has to have.
    """
    role = role_of(own.token.fingerprint, other[: len(own.token.fingerprint)])
    return PunchTerms(role, _offer(own.token, found), _NOTHING_KNOWN, (own.secret,), by_token=True)


def terms_of_both(own: HeldToken, found: Sequence[Candidate], other: HeldToken) -> PunchTerms:
    """Return what to punch by once the other side's token is read. Raises `SameKey`."""
    role = role_of(own.token.fingerprint, other.token.fingerprint)
    theirs = _offer(other.token, other.token.candidates)
    return PunchTerms(role, _offer(own.token, found), theirs, (other.secret, own.secret), by_token=True)


def _offer(token: Token, candidates: Sequence[Candidate]) -> Offer:
    return Offer(
        issued=token.issued,
        expires=token.expires,
        nonce=b"",
        punch_share=token.share,
        candidates=tuple(candidates),
        udp_mapping=token.udp_mapping,
        tcp_mapping=token.tcp_mapping,
        udp_port_step=token.udp_port_step,
    )
