import itertools

import pytest
from p2p_core.errors import Malformed, SameKey
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose, PunchTerms
from p2p_core.token_terms import HeldToken, terms_alone, terms_of_both
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.probe import Probe, ProbeKind
from p2p_core.wire.token import Token

HOST = Candidate(CandidateKind.HOST, Transport.UDP, Address.of("192.0.2.1", 1000))
LOW = HeldToken(Token(1000, 1600, b"l" * 12, b"a" * 16, (HOST,)), b"L" * 32)
HIGH = HeldToken(Token(1000, 1600, b"h" * 12, b"b" * 16, ()), b"H" * 32)
UDP = PunchPurpose.UDP_PROBE

LISTENING = terms_alone(LOW, (HOST,), HIGH.token.fingerprint + b"the rest of an id")
BOTH = terms_of_both(LOW, (HOST,), HIGH), terms_of_both(HIGH, (), LOW)


def hears(receiver: PunchTerms, sender: PunchTerms) -> bool:
    """Whether what `sender` sends is authentic to `receiver`."""
    data = Probe(ProbeKind.PROBE, sender.role, b"n" * 16).encode(sender.send_key(UDP))
    try:
        return Probe.decode(data, *receiver.receive_keys(UDP)).role is sender.role
    except Malformed:
        return False


def test_the_lower_fingerprint_is_the_initiator() -> None:
    assert [LISTENING.role, *(terms.role for terms in BOTH)] == [Role.INITIATOR, Role.INITIATOR, Role.RESPONDER]
    with pytest.raises(SameKey):
        terms_of_both(LOW, (), LOW)


def test_each_side_knows_where_the_other_one_is() -> None:
    assert LISTENING.other.candidates == ()
    assert BOTH[1].other.candidates == BOTH[0].own.candidates == (HOST,)
    assert all(terms.by_token for terms in (LISTENING, *BOTH))


@pytest.mark.parametrize("low_has_read", [True, False])
def test_two_sides_hear_each_other_if_either_has_read_a_token(low_has_read: bool) -> None:
    low = BOTH[0] if low_has_read else LISTENING
    assert hears(low, BOTH[1])
    assert hears(BOTH[1], low)


def test_who_has_read_no_token_is_not_heard() -> None:
    """Neither one that waits as we do, nor one who has read the token of a third."""
    third = HeldToken(Token(1000, 1600, b"t" * 12, b"A" * 16, ()), b"T" * 32)
    waiting, mistaken = terms_alone(HIGH, (), LOW.token.fingerprint), terms_of_both(HIGH, (), third)
    assert waiting.role is mistaken.role is Role.RESPONDER
    assert not hears(LISTENING, waiting)
    assert not any(hears(held, mistaken) for held in (LISTENING, BOTH[0]))


def test_every_part_of_a_token_makes_other_keys() -> None:
    keys = {
        HeldToken(Token(1000, 1600, share, b"a" * 16, ()), digest).secret.key(role, purpose)
        for share, digest, role, purpose in itertools.product(
            (b"1" * 12, b"2" * 12), (b"1" * 32, b"2" * 32), Role, PunchPurpose
        )
    }
    assert len(keys) == 2 * 2 * len(Role) * len(PunchPurpose)
