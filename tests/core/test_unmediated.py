import hashlib

import pytest
from p2p_core.errors import SameKey
from p2p_core.fields import encode
from p2p_core.identity import PeerId
from p2p_core.proof import ChannelBinding, PathKind, Role
from p2p_core.statements import Speaker
from p2p_core.unmediated import Newcomer, agree, role_of, session_id

LOW, HIGH = PeerId(b"a" * 32), PeerId(b"b" * 32)
ONE, OTHER = Newcomer(LOW, b"1" * 32), Newcomer(HIGH, b"2" * 32)
TOKEN = hashlib.sha256(b"token").digest()


def test_the_lower_id_is_the_initiator() -> None:
    assert role_of(LOW, HIGH) is Role.INITIATOR
    assert role_of(HIGH, LOW) is Role.RESPONDER
    assert role_of(LOW[:16], HIGH[:16]) is Role.INITIATOR
    with pytest.raises(SameKey):
        role_of(LOW, LOW)


def test_both_sides_agree() -> None:
    ours, theirs = agree(ONE, OTHER), agree(OTHER, ONE)
    assert (ours.role, theirs.role) == (Role.INITIATOR, Role.RESPONDER)
    assert ours.initiator == theirs.initiator
    assert ours.responder == theirs.responder
    assert ours.session_id == theirs.session_id == session_id(ONE, OTHER)
    assert ours.counter == 0
    assert ours.own.peer == theirs.other.peer == LOW
    binding = ChannelBinding.of_channel(b"e" * 32, b"certificate")
    assert ours.transcript(PathKind.TCP, binding).by(Role.RESPONDER) == theirs.transcript(PathKind.TCP, binding)
    assert Speaker.of(ours, Role.INITIATOR) == Speaker.of(theirs, Role.INITIATOR)


def test_the_session_id_is_what_the_page_says() -> None:
    fields = (b"\x00\x01", LOW, HIGH, ONE.nonce, OTHER.nonce, b"", TOKEN)
    expected = hashlib.sha256(encode("punchwire session id without a mediator", *fields)).digest()
    assert session_id(ONE, Newcomer(HIGH, OTHER.nonce, TOKEN)) == expected


def test_everything_counts_in_the_session_id() -> None:
    others = [
        agree(Newcomer(LOW, b"n" * 32), OTHER),
        agree(ONE, Newcomer(HIGH, b"n" * 32)),
        agree(Newcomer(PeerId(b"A" * 32), ONE.nonce), OTHER),
        agree(ONE, Newcomer(PeerId(b"B" * 31 + b"c"), OTHER.nonce)),
        agree(Newcomer(LOW, ONE.nonce, TOKEN), OTHER),
        agree(ONE, Newcomer(HIGH, OTHER.nonce, TOKEN)),
    ]
    assert len({agree(ONE, OTHER).session_id, *(other.session_id for other in others)}) == 7


def test_one_key_on_both_sides() -> None:
    with pytest.raises(SameKey):
        agree(ONE, Newcomer(LOW, OTHER.nonce))
