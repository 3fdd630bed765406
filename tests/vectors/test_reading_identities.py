"""p2p_core reads the golden bytes of identities, proofs, offers and tokens."""

import pytest
from p2p_core.errors import ProofFailed
from p2p_core.identity import PeerId, public_der, public_from_der
from p2p_core.proof import verify
from p2p_core.sealing import open_offer
from p2p_core.token_sealing import open_token
from p2p_core.wire import offer, token, token_text

from tests.keys import key
from tests.vectors import pages
from tests.vectors.made.inputs import ISSUED
from tests.vectors.made.key_proof import TRANSCRIPTS
from tests.vectors.made.offer import OFFER, OFFER_OF_A_FURTHER_CHANNEL
from tests.vectors.made.token import TOKEN, TOKEN_OF_PORTS


def test_identities_are_read_from_the_page() -> None:
    public = public_from_der(pages.read("public-key-0"))
    assert public_der(public) == public_der(key(0).public_key())
    peer = PeerId.of(public)
    assert peer == pages.read("peer-id-0")
    assert PeerId.parse(pages.read_text("peer-id-0-printed")) == peer
    assert peer.short == pages.read_text("peer-id-0-short")
    assert " ".join(peer.words) == pages.read_text("peer-id-0-words")


def test_the_proof_of_the_page_verifies_and_no_other() -> None:
    proof = pages.read("proof-tcp-initiator")
    verify(key(0).public_key(), TRANSCRIPTS["transcript-tcp-initiator"], proof)
    for name in ("transcript-tcp-responder", "transcript-mediator-certificate", "transcript-mediator-none"):
        with pytest.raises(ProofFailed):
            verify(key(0).public_key(), TRANSCRIPTS[name], proof)


def test_offers_are_read_from_the_page() -> None:
    assert offer.decode(pages.read("offer-body")) == OFFER
    assert offer.decode(pages.read("offer-body-further")) == OFFER_OF_A_FURTHER_CHANNEL
    sealed = pages.read("offer-sealed")
    assert open_offer(sealed, key(1), key(0).public_key()) == OFFER


def test_tokens_are_read_from_the_page() -> None:
    sealed = token_text.parse(pages.read_text("token-text"))
    assert open_token(sealed, pages.read("token-key")) == TOKEN
    assert sealed.digest == pages.read("token-hash")
    assert token.decode(pages.read("token-content"), ISSUED) == TOKEN
    assert token.decode(pages.read("token-content-ports"), ISSUED) == TOKEN_OF_PORTS
