"""What two peers hold once each has the other's offer: roles, nonces, session id, punch keys.

docs/protocol/offer.md: everything here is derived from the two sealed offers, so a mediator that alters or swaps
one of them leaves the two sides with different sessions, and their proofs fail. Without a mediator: `unmediated`.
"""

import hashlib
from dataclasses import dataclass

from p2p_core import limits
from p2p_core.clocks import check_times
from p2p_core.errors import LocalProtocolError, OfferRejected, SameKey
from p2p_core.fields import digest, u16
from p2p_core.identity import PeerId
from p2p_core.proof import ChannelBinding, PathKind, Purpose, Role, Transcript
from p2p_core.punching import PunchPurpose, PunchSecret, PunchTerms
from p2p_core.wire.offer import Offer

__all__ = ["Agreement", "OtherSession", "Side", "session_id"]

_SESSION_LABEL = "punchwire session id"


class OtherSession(Exception):
    """The other side's offer is not for the session that ours is for: one of the two has begun anew."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side's part of an agreement: who it is, what it offered, and the SHA-256 of that offer as sealed.

    Without a mediator the hash is that of its token, or empty: `unmediated`.
    """

    peer: PeerId
    offer: Offer
    offer_hash: bytes

    @classmethod
    def of(cls, peer: PeerId, offer: Offer, sealed: bytes) -> "Side":
        """Make the side of `peer`, which sent `offer` in the bytes `sealed`."""
        return cls(peer, offer, hashlib.sha256(sealed).digest())


@dataclass(frozen=True, slots=True)
class Agreement:
    """The two sides and which of them is ours."""

    role: Role
    initiator: Side
    responder: Side

    @classmethod
    def between(cls, role: Role, own: Side, other: Side) -> "Agreement":
        """Agree as `role` on a new session.

        Raises `SameKey` for one peer on both sides, `ClocksDiffer` for their times, `OtherSession` for an offer that is
        one of another session.
        """
        if own.peer == other.peer:
            raise SameKey("both sides have the same key")
        return cls._of(role, own, other, b"")

    def further(self, own: Side, other: Side) -> "Agreement":
        """Agree on a further channel of this session, whose roles stay.

        Raises as `between`, and `OfferRejected` for a channel that is too far ahead of ours.
        """
        if (own.peer, other.peer) != (self.own.peer, self.other.peer):
            raise LocalProtocolError("a session stays with its two peers")
        return self._of(self.role, own, other, self.session_id)

    @classmethod
    def _of(cls, role: Role, own: Side, other: Side, session: bytes) -> "Agreement":
        if own.offer.session_id != session:
            raise LocalProtocolError("our own offer is one for another session")
        if other.offer.session_id != session:
            raise OtherSession
        if other.offer.channel > own.offer.channel + limits.MAX_CHANNELS_AHEAD:
            raise OfferRejected(
                f"the other side offered channel {other.offer.channel}, and we are at {own.offer.channel}"
            )
        check_times(own.offer, other.offer)
        return cls(role, own, other) if role is Role.INITIATOR else cls(role, other, own)

    @property
    def own(self) -> Side:
        """Our side."""
        return self.initiator if self.role is Role.INITIATOR else self.responder

    @property
    def other(self) -> Side:
        """The other side."""
        return self.responder if self.role is Role.INITIATOR else self.initiator

    @property
    def session_id(self) -> bytes:
        """32 bytes: the session this is a channel of."""
        return self.own.offer.session_id or session_id(
            self.initiator.peer, self.responder.peer, self.initiator.offer_hash, self.responder.offer_hash
        )

    @property
    def counter(self) -> int:
        """Which channel of the session this is, from 0. The two sides may have lost count; the higher one counts."""
        return max(self.initiator.offer.channel, self.responder.offer.channel)

    def punch_key(self, sender: Role, purpose: PunchPurpose) -> bytes:
        """Return the 32-byte key under which `sender` authenticates its packets for `purpose`."""
        return self._secret.key(sender, purpose)

    def mirrored(self) -> "Agreement":
        """Return what we would hold in the other role.

        A mediator that gives both sides the same role leaves each with the mirror image of the other's agreement.
        """
        return Agreement(self.role.other, self.responder, self.initiator)

    @property
    def terms(self) -> PunchTerms:
        """What to punch by."""
        mirror = self.mirrored()._secret
        return PunchTerms(self.role, self.own.offer, self.other.offer, (self._secret,), mirror)

    @property
    def _secret(self) -> PunchSecret:
        shares = self.initiator.offer.punch_share + self.responder.offer.punch_share
        return PunchSecret(shares, self.session_id)

    def transcript(self, path: PathKind, binding: ChannelBinding) -> Transcript:
        """Return the transcript of this channel's key proof, with ourselves as the prover."""
        return Transcript(
            purpose=Purpose.PEER_TO_PEER,
            prover=self.role,
            path=path,
            binding=binding,
            initiator=self.initiator.peer,
            responder=self.responder.peer,
            initiator_nonce=self.initiator.offer.nonce,
            responder_nonce=self.responder.offer.nonce,
            session_id=self.session_id,
            initiator_offer_hash=self.initiator.offer_hash,
            responder_offer_hash=self.responder.offer_hash,
            counter=self.counter,
        )


def session_id(initiator: bytes, responder: bytes, initiator_offer_hash: bytes, responder_offer_hash: bytes) -> bytes:
    """SHA-256 over both peer ids and the hashes of both sealed offers, 32 bytes."""
    version = u16(limits.PROTOCOL_VERSION)
    return digest(_SESSION_LABEL, version, initiator, responder, initiator_offer_hash, responder_offer_hash)
