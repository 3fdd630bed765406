import itertools
from dataclasses import replace

import pytest
from p2p_core import limits
from p2p_core.agreement import Agreement, OtherSession, Side, session_id
from p2p_core.errors import ClocksDiffer, LocalProtocolError, OfferRejected, ProofFailed, SameKey
from p2p_core.proof import BindingType, ChannelBinding, PathKind, Role, prove, verify
from p2p_core.punching import PunchPurpose, PunchSecret

from tests.core.two_peers import INITIATOR_KEY, NOW, RESPONDER_KEY, agreement, offer, side

INITIATOR, RESPONDER = agreement(Role.INITIATOR), agreement(Role.RESPONDER)
BINDING = ChannelBinding(BindingType.EXPORTER_AND_CERTIFICATE, bytes(64))


def test_each_side_is_the_others_other() -> None:
    assert INITIATOR.own == RESPONDER.other == side(Role.INITIATOR)
    assert RESPONDER.own == INITIATOR.other == side(Role.RESPONDER)


def test_both_sides_derive_the_same() -> None:
    assert INITIATOR.session_id == RESPONDER.session_id
    for role, purpose in itertools.product(Role, PunchPurpose):
        assert INITIATOR.punch_key(role, purpose) == RESPONDER.punch_key(role, purpose)


def test_every_direction_and_purpose_has_its_own_key() -> None:
    keys = {INITIATOR.punch_key(role, purpose) for role, purpose in itertools.product(Role, PunchPurpose)}
    keys |= {INITIATOR.mirrored().punch_key(role, purpose) for role, purpose in itertools.product(Role, PunchPurpose)}
    assert len(keys) == 12
    assert {len(key) for key in keys} == {32}


def test_the_mirror_image_is_what_the_other_side_holds_when_both_have_one_role() -> None:
    for role in Role:
        both = [
            Agreement.between(role, side(role), side(role.other)),
            Agreement.between(role, side(role.other), side(role)),
        ]
        assert both[0].session_id != both[1].session_id
        assert both[0].mirrored().session_id == both[1].session_id
        assert both[0].mirrored().mirrored() == both[0]
        for purpose in PunchPurpose:
            assert both[0].mirrored().punch_key(role, purpose) == both[1].punch_key(role, purpose)


def test_a_peer_does_not_meet_itself() -> None:
    with pytest.raises(SameKey):
        Agreement.between(Role.INITIATOR, side(Role.INITIATOR), side(Role.INITIATOR, b"another offer"))


def test_an_offer_that_differs_makes_another_session() -> None:
    own = side(Role.INITIATOR)
    sessions = {
        INITIATOR.session_id,
        Agreement.between(Role.INITIATOR, own, side(Role.RESPONDER, b"altered")).session_id,
        Agreement.between(Role.INITIATOR, side(Role.INITIATOR, b"altered"), side(Role.RESPONDER)).session_id,
    }
    assert len(sessions) == 3


def test_every_part_of_the_session_id_counts() -> None:
    parts = [bytes([n]) * 32 for n in range(1, 5)]
    ids = {session_id(*parts)}
    for place in range(4):
        ids.add(session_id(*[b"x" * 32 if n == place else part for n, part in enumerate(parts)]))
    ids.add(session_id(parts[1], parts[0], parts[3], parts[2]))
    assert len(ids) == 6


def test_every_part_of_a_punch_key_counts() -> None:
    plain = PunchSecret(b"a" * 64, b"s" * 32).key(Role.INITIATOR, PunchPurpose.TCP_PREAMBLE)
    others = {
        PunchSecret(b"b" * 64, b"s" * 32).key(Role.INITIATOR, PunchPurpose.TCP_PREAMBLE),
        PunchSecret(b"a" * 64, b"t" * 32).key(Role.INITIATOR, PunchPurpose.TCP_PREAMBLE),
        PunchSecret(b"a" * 64, b"s" * 32).key(Role.RESPONDER, PunchPurpose.TCP_PREAMBLE),
        PunchSecret(b"a" * 64, b"s" * 32).key(Role.INITIATOR, PunchPurpose.UDP_PROBE),
    }
    assert plain not in others
    assert len(others) == 4


def test_each_sides_proof_verifies_at_the_other() -> None:
    for prover, verifier, key in ((INITIATOR, RESPONDER, INITIATOR_KEY), (RESPONDER, INITIATOR, RESPONDER_KEY)):
        proof = prove(key, prover.transcript(PathKind.TCP, BINDING))
        expected = verifier.transcript(PathKind.TCP, BINDING).by(verifier.role.other)
        verify(key.public_key(), expected, proof)
        with pytest.raises(ProofFailed):  # nobody's own proof is an answer to it
            verify(key.public_key(), verifier.transcript(PathKind.TCP, BINDING), proof)


def test_the_transcript_takes_everything_from_the_offers() -> None:
    transcript = INITIATOR.transcript(PathKind.TCP, BINDING)
    assert transcript.prover is Role.INITIATOR
    assert (transcript.initiator, transcript.responder) == (side(Role.INITIATOR).peer, side(Role.RESPONDER).peer)
    assert (transcript.initiator_nonce, transcript.responder_nonce) == (offer(1).nonce, offer(2).nonce)
    assert transcript.initiator_offer_hash == side(Role.INITIATOR).offer_hash
    assert transcript.responder_offer_hash == side(Role.RESPONDER).offer_hash
    assert (transcript.session_id, transcript.counter) == (INITIATOR.session_id, 0)


def test_other_nonces_make_another_transcript() -> None:
    other = side(Role.RESPONDER)
    changed: Side = replace(other, offer=replace(other.offer, nonce=b"x" * 32))
    lied_to = Agreement.between(Role.INITIATOR, side(Role.INITIATOR), changed)
    assert lied_to.transcript(PathKind.TCP, BINDING) != INITIATOR.transcript(PathKind.TCP, BINDING)


# Further channels of a session.


def further_side(role: Role, channel: int, session: bytes = INITIATOR.session_id, **changes: object) -> Side:
    plain = side(role)
    again = offer(channel + 10 * plain.offer.nonce[0], session_id=session, channel=channel, **changes)
    return replace(plain, offer=again, offer_hash=bytes([channel]) * 32)


def test_a_further_channel_keeps_session_and_roles_and_has_keys_of_its_own() -> None:
    ours, theirs = further_side(Role.INITIATOR, 1), further_side(Role.RESPONDER, 1)
    initiator, responder = INITIATOR.further(ours, theirs), RESPONDER.further(theirs, ours)
    for held, first in ((initiator, INITIATOR), (responder, RESPONDER)):
        assert (held.role, held.session_id, held.counter) == (first.role, INITIATOR.session_id, 1)
        for role, purpose in itertools.product(Role, PunchPurpose):
            assert held.punch_key(role, purpose) == initiator.punch_key(role, purpose)
            assert held.punch_key(role, purpose) != INITIATOR.punch_key(role, purpose)
    transcript = initiator.transcript(PathKind.TCP, BINDING)
    assert transcript == responder.transcript(PathKind.TCP, BINDING).by(Role.INITIATOR)
    assert transcript.counter == 1
    assert transcript != INITIATOR.transcript(PathKind.TCP, BINDING)


def test_sides_that_have_lost_count_agree_on_the_higher_number() -> None:
    ours, theirs = further_side(Role.INITIATOR, 3), further_side(Role.RESPONDER, 5)
    assert INITIATOR.further(ours, theirs).counter == RESPONDER.further(theirs, ours).counter == 5


def test_nobody_counts_far_more_channels_than_the_other() -> None:
    """There would be no number for the next one."""
    ours = further_side(Role.INITIATOR, 3)
    near, far = (further_side(Role.RESPONDER, 3 + limits.MAX_CHANNELS_AHEAD + more) for more in (0, 1))
    assert INITIATOR.further(ours, near).counter == near.offer.channel
    assert RESPONDER.further(far, ours).counter == far.offer.channel  # whose own it is, has no reason to doubt it
    with pytest.raises(OfferRejected):
        INITIATOR.further(ours, far)


def test_an_offer_for_another_session_is_told_apart() -> None:
    ours = further_side(Role.INITIATOR, 1)
    for session in (b"", b"x" * 32):
        with pytest.raises(OtherSession):
            INITIATOR.further(ours, further_side(Role.RESPONDER, 1, session))
    with pytest.raises(OtherSession):
        Agreement.between(Role.INITIATOR, side(Role.INITIATOR), further_side(Role.RESPONDER, 1))
    with pytest.raises(LocalProtocolError):
        Agreement.between(Role.INITIATOR, ours, further_side(Role.RESPONDER, 1))


def test_a_session_stays_with_its_peers_and_its_times_have_to_fit() -> None:
    ours, theirs = further_side(Role.INITIATOR, 1), further_side(Role.RESPONDER, 1)
    with pytest.raises(LocalProtocolError):
        INITIATOR.further(theirs, ours)
    late = further_side(Role.RESPONDER, 1, issued=NOW + 10_000, expires=NOW + 10_600)
    with pytest.raises(ClocksDiffer):
        INITIATOR.further(ours, late)
