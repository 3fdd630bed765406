import functools
import struct
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits, sealing
from p2p_core.errors import Malformed, OfferRejected
from p2p_core.identity import PeerId, RSAPrivateKey
from p2p_core.proof import sign
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.wire import offer as wire
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Offer

from tests.core.two_peers import NOW, offer
from tests.keys import key

SENDER, RECEIVER, STRANGER = key(0), key(1), key(2)
CANDIDATE = Candidate(CandidateKind.HOST, Transport.TCP, Address.of("192.0.2.1", 50000))
OFFER = offer(candidates=(CANDIDATE,))


@functools.cache
def sealed() -> bytes:
    return seal_offer(OFFER, SENDER, RECEIVER.public_key())


def open_it(data: bytes) -> Offer:
    return open_offer(data, RECEIVER, SENDER.public_key())


def sealed_by_hand(
    body: bytes, *, signer: RSAPrivateKey = SENDER, content: Callable[[bytes], bytes] = lambda c: c
) -> bytes:
    """Seal `body` whatever it is, signed by `signer`; `content` changes what is encrypted."""
    pair = PeerId.of(SENDER.public_key()), PeerId.of(RECEIVER.public_key())
    signature = sign(signer, sealing._signed(*pair, body))
    context, secret = sealing._context(*pair), bytes(32)
    wrapped = RECEIVER.public_key().encrypt(secret, sealing._oaep(context))
    plain = content(struct.pack(">H", len(signature)) + signature + body)
    return struct.pack(">BH", 1, len(wrapped)) + wrapped + AESGCM(secret).encrypt(bytes(12), plain, context)


def test_what_is_sealed_is_opened() -> None:
    assert open_it(sealed()) == OFFER
    assert open_it(sealed_by_hand(wire.encode(OFFER))) == OFFER


def test_no_two_seals_are_alike() -> None:
    assert seal_offer(OFFER, SENDER, RECEIVER.public_key()) != sealed()


def test_nothing_of_the_offer_shows() -> None:
    for secret in (OFFER.nonce, OFFER.punch_share, CANDIDATE.address.ip.packed, bytes(PeerId.of(SENDER.public_key()))):
        assert secret not in sealed()


def test_only_the_receiver_opens_it() -> None:
    with pytest.raises(OfferRejected):
        open_offer(sealed(), STRANGER, SENDER.public_key())


def test_it_opens_only_as_its_senders() -> None:
    with pytest.raises(OfferRejected):
        open_offer(sealed(), RECEIVER, STRANGER.public_key())


def test_it_is_not_turned_around() -> None:
    with pytest.raises(OfferRejected):
        open_offer(sealed(), SENDER, RECEIVER.public_key())
    mine = seal_offer(OFFER, SENDER, SENDER.public_key())
    with pytest.raises(OfferRejected):
        open_offer(mine, SENDER, RECEIVER.public_key())


def test_a_forged_signature_is_found() -> None:
    with pytest.raises(OfferRejected, match="signature"):
        open_it(sealed_by_hand(wire.encode(OFFER), signer=STRANGER))


def test_every_byte_counts() -> None:
    data = sealed()
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        with pytest.raises((OfferRejected, Malformed)):
            open_it(bytes(changed))


def test_every_fault_of_the_seal_has_one_answer() -> None:
    data, answers = sealed(), set()
    for at in (3, 100, 258, 259, len(data) - 20, len(data) - 1):  # wrapped key, ciphertext, tag
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(OfferRejected) as caught:
            open_it(bytes(changed))
        answers.add(str(caught.value))
    assert len(answers) == 1


def test_a_part_of_it_is_not_enough() -> None:
    data = sealed()
    for end in (0, 1, 2, 3, 4, 100, 258, 259, 260, 275, 276, len(data) - 1):
        with pytest.raises((OfferRejected, Malformed)):
            open_it(data[:end])
    with pytest.raises(OfferRejected):
        open_it(data + b"\0")


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff\xff", b"\0\0"])
def test_a_seal_around_nothing(content: bytes) -> None:
    with pytest.raises((OfferRejected, Malformed)):
        open_it(sealed_by_hand(b"", content=lambda _: content))


def test_another_version_is_refused() -> None:
    for version in (0, 2, 255):
        who = "the other side, or whoever passed its offer on, broke the protocol"
        with pytest.raises(Malformed, match=rf"^{who}: a sealed offer of version {version}$"):
            open_it(bytes([version]) + sealed()[1:])


def test_a_body_that_is_none_is_refused_even_if_signed() -> None:
    with pytest.raises(Malformed, match=r"^the other side broke the protocol: an offer that does not parse$"):
        open_it(sealed_by_hand(b"\xff\xff\xff"))


def test_an_offer_has_a_greatest_size() -> None:
    with pytest.raises(Malformed):
        open_it(sealed() + bytes(limits.MAX_OFFER_BYTES))
    many = tuple(
        Candidate(CandidateKind.HOST, Transport.TCP, Address.from_packed(bytes([32, n, *range(14)]), 65535))
        for n in range(limits.MAX_CANDIDATES)
    )
    longest = seal_offer(offer(candidates=many, session_id=bytes(32), channel=1), SENDER, RECEIVER.public_key())
    assert len(open_it(longest).candidates) == limits.MAX_CANDIDATES


def living(issued: int, expires: int) -> bytes:
    return seal_offer(offer(issued=issued, expires=expires), SENDER, RECEIVER.public_key())


@pytest.mark.parametrize("life", [1, limits.MAX_OFFER_LIFE])
def test_an_offer_lives_for_a_while(life: int) -> None:
    assert open_it(living(NOW, NOW + life)).expires == NOW + life


@pytest.mark.parametrize("expires", [NOW + limits.MAX_OFFER_LIFE + 1, NOW, NOW - 1, 2**64 - 1, 0])
def test_an_offer_does_not_live_for_ever(expires: int) -> None:
    with pytest.raises(OfferRejected, match=f"the other side's offer lives for {expires - NOW} s"):
        open_it(living(NOW, expires))


@given(st.binary(max_size=600))
def test_no_bytes_break_the_opener(data: bytes) -> None:
    with pytest.raises((Malformed, OfferRejected)):
        open_it(data)


@given(st.binary(max_size=100))
def test_no_signed_body_breaks_the_opener(body: bytes) -> None:
    with pytest.raises((Malformed, OfferRejected)):
        open_it(sealed_by_hand(body))
