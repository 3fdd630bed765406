import itertools
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, replace
from dataclasses import fields as fields_of

import pytest
from p2p_core import fields
from p2p_core.errors import LocalProtocolError, ProofFailed
from p2p_core.proof import (
    BindingType,
    ChannelBinding,
    PathKind,
    Purpose,
    Role,
    Transcript,
    prove,
    sign,
    verify,
    verify_signature,
)

from tests.keys import key

KEY, OTHER_KEY = key(0), key(1)
BINDING = ChannelBinding(BindingType.EXPORTER_AND_CERTIFICATE, b"b" * 64)
CERTIFICATE = ChannelBinding(BindingType.CERTIFICATE, b"b" * 32)
UNBOUND = ChannelBinding(BindingType.NONE, b"")
TO_PEER = Transcript(
    purpose=Purpose.PEER_TO_PEER,
    prover=Role.INITIATOR,
    path=PathKind.TCP,
    binding=BINDING,
    initiator=b"i" * 32,
    responder=b"r" * 32,
    initiator_nonce=b"1" * 32,
    responder_nonce=b"2" * 32,
    session_id=b"s" * 32,
    initiator_offer_hash=b"3" * 32,
    responder_offer_hash=b"4" * 32,
    counter=0,
)
TO_MEDIATOR = Transcript(
    purpose=Purpose.PEER_TO_MEDIATOR,
    prover=Role.INITIATOR,
    path=PathKind.MEDIATOR,
    binding=CERTIFICATE,
    initiator=b"i" * 32,
    responder=b"r" * 32,
    initiator_nonce=b"1" * 32,
    responder_nonce=b"2" * 32,
)
PROOF = prove(KEY, TO_PEER)

# One change of each field, and the exchanges that an attacker would try.
SWAPPED = {
    "role": replace(TO_PEER, prover=Role.RESPONDER),
    "path": replace(TO_PEER, path=PathKind.RELAY),
    "path and binding": replace(TO_PEER, path=PathKind.QUIC, binding=CERTIFICATE),
    "exporter": replace(TO_PEER, binding=replace(BINDING, value=b"x" * 32 + b"b" * 32)),
    "certificate": replace(TO_PEER, binding=replace(BINDING, value=b"b" * 32 + b"x" * 32)),
    "initiator": replace(TO_PEER, initiator=b"x" * 32),
    "responder": replace(TO_PEER, responder=b"x" * 32),
    "ids exchanged": replace(TO_PEER, initiator=TO_PEER.responder, responder=TO_PEER.initiator),
    "initiator's nonce": replace(TO_PEER, initiator_nonce=b"x" * 32),
    "responder's nonce": replace(TO_PEER, responder_nonce=b"x" * 32),
    "nonces exchanged": replace(TO_PEER, initiator_nonce=b"2" * 32, responder_nonce=b"1" * 32),
    "session": replace(TO_PEER, session_id=b"x" * 32),
    "initiator's offer": replace(TO_PEER, initiator_offer_hash=b"x" * 32),
    "responder's offer": replace(TO_PEER, responder_offer_hash=b"x" * 32),
    "no offer of the initiator": replace(TO_PEER, initiator_offer_hash=b""),
    "no offer of the responder": replace(TO_PEER, responder_offer_hash=b""),
    "offers exchanged": replace(TO_PEER, initiator_offer_hash=b"4" * 32, responder_offer_hash=b"3" * 32),
    "counter": replace(TO_PEER, counter=1),
    "purpose": TO_MEDIATOR,
}
PAIRS = list(itertools.product(Purpose, PathKind, BindingType))


def encoded_fields(encoded: bytes) -> Iterator[tuple[int, int]]:
    """Yield where each field lies in `encoded`, the label first."""
    at = 0
    while at < len(encoded):
        length = int.from_bytes(encoded[at : at + 4], "big")
        yield at + 4, at + 4 + length
        at += 4 + length


@pytest.mark.parametrize("transcript", [TO_PEER, TO_MEDIATOR, replace(TO_MEDIATOR, binding=UNBOUND, responder=b"")])
def test_a_proof_verifies(transcript: Transcript) -> None:
    verify(KEY.public_key(), transcript, prove(KEY, transcript))


def test_flipping_any_bit_of_any_field_makes_a_proof_fail() -> None:
    encoded, flipped = TO_PEER.encode(), 0
    verify_signature(KEY.public_key(), encoded, PROOF)
    for start, end in encoded_fields(encoded):
        for place, bit in itertools.product(range(start, end), range(8)):
            changed = bytearray(encoded)
            changed[place] ^= 1 << bit
            with pytest.raises(ProofFailed):
                verify_signature(KEY.public_key(), bytes(changed), PROOF)
            flipped += 1
    assert flipped > 8 * 300


def test_flipping_any_bit_of_a_length_makes_a_proof_fail() -> None:
    encoded = TO_PEER.encode()
    for (start, _), place, bit in itertools.product(encoded_fields(encoded), range(-4, 0), range(8)):
        changed = bytearray(encoded)
        changed[start + place] ^= 1 << bit
        with pytest.raises(ProofFailed):
            verify_signature(KEY.public_key(), bytes(changed), PROOF)


@pytest.mark.parametrize("transcript", SWAPPED.values(), ids=SWAPPED)
def test_a_proof_is_worthless_for_anything_else(transcript: Transcript) -> None:
    with pytest.raises(ProofFailed):
        verify(KEY.public_key(), transcript, PROOF)


def test_every_field_is_swapped_above() -> None:
    assert len({TO_PEER.encode(), *(transcript.encode() for transcript in SWAPPED.values())}) == len(SWAPPED) + 1


def test_a_proof_to_the_mediator_is_worthless_where_tls_ends_elsewhere() -> None:
    proof = prove(KEY, TO_MEDIATOR)
    for binding, responder in ((UNBOUND, b""), (CERTIFICATE, b"x" * 32)):
        with pytest.raises(ProofFailed):
            verify(KEY.public_key(), replace(TO_MEDIATOR, binding=binding, responder=responder), proof)


def test_a_proof_by_another_key_fails() -> None:
    with pytest.raises(ProofFailed):
        verify(OTHER_KEY.public_key(), TO_PEER, PROOF)


@pytest.mark.parametrize(
    "proof",
    [b"", PROOF[:-1], PROOF + b"\0", bytes(256), b"\xff" * 256, PROOF[::-1]],
    ids=["none", "short", "long", "zeros", "ones", "reversed"],
)
def test_a_proof_that_is_none_fails(proof: bytes) -> None:
    with pytest.raises(ProofFailed):
        verify(KEY.public_key(), TO_PEER, proof)


def test_a_signature_made_for_something_else_is_no_proof() -> None:
    message = fields.encode("punchwire message", *(TO_PEER.encode(),))
    with pytest.raises(ProofFailed):
        verify(KEY.public_key(), TO_PEER, sign(KEY, message))


BOUND = ((PathKind.TCP, b"tcp"), (PathKind.RELAY, b"relay"), (PathKind.QUIC, b"quic"))


@pytest.mark.parametrize(("path", "name"), BOUND)
@pytest.mark.parametrize(("prover", "role"), [(Role.INITIATOR, b"initiator"), (Role.RESPONDER, b"responder")])
def test_what_is_signed_to_a_peer(path: PathKind, name: bytes, prover: Role, role: bytes) -> None:
    """Field by field, as docs/protocol/key-proof.md has it."""
    binding, kind = (CERTIFICATE, b"certificate") if path is PathKind.QUIC else (BINDING, b"exporter+certificate")
    encoded = replace(TO_PEER, path=path, binding=binding, prover=prover, counter=258).encode()
    assert [encoded[start:end] for start, end in encoded_fields(encoded)] == [
        b"punchwire key proof",
        b"\x00\x01",
        b"peer-to-peer",
        role,
        name,
        kind,
        b"b" * (32 if path is PathKind.QUIC else 64),
        b"i" * 32,
        b"r" * 32,
        b"1" * 32,
        b"2" * 32,
        b"s" * 32,
        b"3" * 32,
        b"4" * 32,
        b"\x00\x00\x01\x02",
    ]


@pytest.mark.parametrize(
    ("binding", "kind", "mediator"), [(CERTIFICATE, b"certificate", b"r" * 32), (UNBOUND, b"none", b"")]
)
def test_what_is_signed_to_the_mediator(binding: ChannelBinding, kind: bytes, mediator: bytes) -> None:
    encoded = replace(TO_MEDIATOR, binding=binding, responder=mediator).encode()
    assert [encoded[start:end] for start, end in encoded_fields(encoded)] == [
        b"punchwire key proof",
        b"\x00\x01",
        b"peer-to-mediator",
        b"initiator",
        b"mediator",
        kind,
        binding.value,
        b"i" * 32,
        mediator,
        b"1" * 32,
        b"2" * 32,
        b"",
        b"",
        b"",
        b"\x00\x00\x00\x00",
    ]


@pytest.mark.parametrize("value", [TO_PEER, BINDING], ids=["transcript", "binding"])
def test_what_a_proof_is_over_cannot_be_altered(value: object) -> None:
    with pytest.raises(FrozenInstanceError):
        value.__setattr__(fields_of(value)[0].name, None)  # type: ignore[arg-type]
    assert not hasattr(value, "__dict__")


def test_by_changes_only_the_prover() -> None:
    assert TO_PEER.by(Role.RESPONDER) == SWAPPED["role"]
    assert TO_PEER.by(Role.RESPONDER).by(Role.INITIATOR) == TO_PEER


def test_the_other_role_is_the_other() -> None:
    assert Role.INITIATOR.other is Role.RESPONDER
    assert Role.RESPONDER.other is Role.INITIATOR


# Bindings.


def test_a_channels_binding_is_exporter_and_certificate() -> None:
    binding = ChannelBinding.of_channel(b"e" * 32, b"certificate")
    assert binding.type is BindingType.EXPORTER_AND_CERTIFICATE
    assert binding.value[:32] == b"e" * 32
    assert binding.value[32:] == ChannelBinding.of_certificate(b"certificate").value


def test_no_binding_is_one_of_its_own() -> None:
    assert ChannelBinding.none() == UNBOUND


# Misuse.


@pytest.mark.parametrize(("purpose", "path", "binding"), PAIRS)
def test_purpose_path_and_binding_go_together_or_not_at_all(
    purpose: Purpose, path: PathKind, binding: BindingType
) -> None:
    allowed = {
        (Purpose.PEER_TO_MEDIATOR, PathKind.MEDIATOR, BindingType.CERTIFICATE),
        (Purpose.PEER_TO_MEDIATOR, PathKind.MEDIATOR, BindingType.NONE),
        (Purpose.PEER_TO_PEER, PathKind.TCP, BindingType.EXPORTER_AND_CERTIFICATE),
        (Purpose.PEER_TO_PEER, PathKind.RELAY, BindingType.EXPORTER_AND_CERTIFICATE),
        (Purpose.PEER_TO_PEER, PathKind.QUIC, BindingType.CERTIFICATE),
    }
    plain = TO_PEER if purpose is Purpose.PEER_TO_PEER else TO_MEDIATOR
    value = {BindingType.NONE: b"", BindingType.CERTIFICATE: b"b" * 32}.get(binding, b"b" * 64)
    responder = b"" if binding is BindingType.NONE else plain.responder
    changes = {"path": path, "binding": ChannelBinding(binding, value), "responder": responder}
    if (purpose, path, binding) in allowed:
        replace(plain, **changes)  # type: ignore[arg-type]
    else:
        with pytest.raises(LocalProtocolError):
            replace(plain, **changes)  # type: ignore[arg-type]


SIZED = ["initiator", "responder", "initiator_nonce", "responder_nonce", "session_id"]


@pytest.mark.parametrize("plain", [TO_PEER, TO_MEDIATOR], ids=["to peer", "to mediator"])
@pytest.mark.parametrize("name", [*SIZED, "initiator_offer_hash", "responder_offer_hash"])
@pytest.mark.parametrize("length", [1, 31, 33])
def test_fields_have_their_length(plain: Transcript, name: str, length: int) -> None:
    said = name.replace("_offer_hash", "'s offer").replace("_", " ")
    with pytest.raises(LocalProtocolError, match=f"^{said} has {length} bytes in a transcript"):
        replace(plain, **{name: bytes(length)})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", SIZED)
def test_no_field_of_a_proof_to_a_peer_is_left_out(name: str) -> None:
    with pytest.raises(LocalProtocolError):
        replace(TO_PEER, **{name: b""})  # type: ignore[arg-type]


def test_a_proof_to_the_mediator_names_no_session_and_no_offers() -> None:
    for name in ("session_id", "initiator_offer_hash", "responder_offer_hash"):
        with pytest.raises(LocalProtocolError):
            replace(TO_MEDIATOR, **{name: bytes(32)})  # type: ignore[arg-type]


def test_only_an_unbound_proof_names_no_mediator() -> None:
    with pytest.raises(LocalProtocolError):
        replace(TO_MEDIATOR, responder=b"")
    with pytest.raises(LocalProtocolError):
        replace(TO_MEDIATOR, binding=UNBOUND)


@pytest.mark.parametrize("value", [b"", bytes(32), bytes(63), bytes(65)])
def test_a_binding_has_its_length(value: bytes) -> None:
    with pytest.raises(LocalProtocolError, match=r"^binding has"):
        replace(TO_PEER, binding=replace(BINDING, value=value))
