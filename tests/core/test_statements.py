from dataclasses import FrozenInstanceError

import pytest
from p2p_core.agreement import Agreement
from p2p_core.errors import ProofFailed
from p2p_core.proof import Role, sign, verify_signature
from p2p_core.statements import Speaker

from tests.core.two_peers import INITIATOR_KEY, agreement, side

INITIATOR = Speaker.of(agreement(Role.INITIATOR), Role.INITIATOR)
RESPONDER = Speaker.of(agreement(Role.INITIATOR), Role.RESPONDER)
ELSEWHERE = Speaker.of(
    Agreement.between(Role.INITIATOR, side(Role.INITIATOR), side(Role.RESPONDER, b"another session")), Role.INITIATOR
)


def test_both_sides_hold_the_same_speakers() -> None:
    for role in Role:
        assert Speaker.of(agreement(Role.INITIATOR), role) == Speaker.of(agreement(Role.RESPONDER), role)
    initiator, responder = side(Role.INITIATOR).peer, side(Role.RESPONDER).peer
    assert (INITIATOR.sender, INITIATOR.recipient) == (initiator, responder)
    assert (RESPONDER.sender, RESPONDER.recipient) == (responder, initiator)


def test_no_two_statements_are_alike() -> None:
    statements = [
        INITIATOR.message(1, 2, "text"),
        INITIATOR.message(2, 2, "text"),
        INITIATOR.message(1, 3, "text"),
        INITIATOR.message(1, 2, "texT"),
        RESPONDER.message(1, 2, "text"),
        ELSEWHERE.message(1, 2, "text"),
        INITIATOR.transfer_root(1, b"r" * 32),
        INITIATOR.transfer_root(3, b"r" * 32),
        INITIATOR.transfer_root(1, b"R" * 32),
        RESPONDER.transfer_root(1, b"r" * 32),
        ELSEWHERE.transfer_root(1, b"r" * 32),
        INITIATOR.transfer_receipt(1, b"r" * 32, (), 7),
        INITIATOR.transfer_receipt(3, b"r" * 32, (), 7),
        INITIATOR.transfer_receipt(1, b"R" * 32, (), 7),
        INITIATOR.transfer_receipt(1, b"r" * 32, ((0, 1),), 7),
        INITIATOR.transfer_receipt(1, b"r" * 32, ((1, 1),), 7),
        INITIATOR.transfer_receipt(1, b"r" * 32, ((0, 2),), 7),
        INITIATOR.transfer_receipt(1, b"r" * 32, ((0, 1), (2, 1)), 7),
        INITIATOR.transfer_receipt(1, b"r" * 32, (), 8),
        RESPONDER.transfer_receipt(1, b"r" * 32, (), 7),
        ELSEWHERE.transfer_receipt(1, b"r" * 32, (), 7),
    ]
    assert len(set(statements)) == len(statements)


def parts(encoded: bytes) -> list[bytes]:
    """Return the label and the fields behind it."""
    found = []
    while encoded:
        length = int.from_bytes(encoded[:4], "big")
        found.append(encoded[4 : 4 + length])
        encoded = encoded[4 + length :]
    return found


@pytest.mark.parametrize(("speaker", "role"), [(INITIATOR, b"initiator"), (RESPONDER, b"responder")])
def test_what_is_signed(speaker: Speaker, role: bytes) -> None:
    """Field by field, as docs/protocol has it."""
    head = [b"\x00\x01", speaker.session_id, speaker.sender, speaker.recipient, role]
    said = speaker.message(258, 2**40 + 3, "grüße")
    sent_at = b"\x00\x00\x01\x00\x00\x00\x00\x03"
    assert parts(said) == [b"punchwire message", *head, b"\0\0\0\0\0\0\1\2", sent_at, "grüße".encode()]
    root = speaker.transfer_root(258, b"r" * 32)
    assert parts(root) == [b"punchwire transfer root", *head, b"\0\0\1\2", b"r" * 32]
    receipt = speaker.transfer_receipt(258, b"r" * 32, ((1, 2), (7, 1)), 2**40 + 3)
    missing = b"\0\0\0\1\0\0\0\2\0\0\0\7\0\0\0\1"
    assert parts(receipt) == [b"punchwire transfer receipt", *head, b"\0\0\1\2", b"r" * 32, missing, sent_at]


def test_a_speaker_cannot_be_altered() -> None:
    with pytest.raises(FrozenInstanceError):
        INITIATOR.role = Role.RESPONDER  # type: ignore[misc]
    assert not hasattr(INITIATOR, "__dict__")


@pytest.mark.parametrize("listener", [RESPONDER, ELSEWHERE], ids=["turned around", "another session"])
def test_a_signed_statement_holds_nowhere_else(listener: Speaker) -> None:
    signature = sign(INITIATOR_KEY, INITIATOR.message(1, 2, "text"))
    verify_signature(INITIATOR_KEY.public_key(), INITIATOR.message(1, 2, "text"), signature)
    with pytest.raises(ProofFailed):
        verify_signature(INITIATOR_KEY.public_key(), listener.message(1, 2, "text"), signature)
