"""Offers: the body, and the body signed and sealed."""

import functools

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from p2p_core.errors import Malformed, OfferRejected
from p2p_core.identity import PeerId
from p2p_core.limits import MAX_CANDIDATES
from p2p_core.proof import sign
from p2p_core.sealing import _context, _oaep, _signed, open_offer
from p2p_core.wire import offer
from p2p_core.wire.offer import Offer

from tests.fuzz.shapes import chosen, shown
from tests.fuzz.target import Target
from tests.keys import key
from tests.vectors import pages

_SENDER, _RECEIVER = key(0), key(1)
_IDS = PeerId.of(_SENDER.public_key()), PeerId.of(_RECEIVER.public_key())
_KEY = bytes(32)
_RAW, _SEALED, _SIGNED = range(3)


@functools.cache
def _wrapped() -> bytes:
    """What stands before the ciphertext under a key that is always the same."""
    wrapped = _RECEIVER.public_key().encrypt(_KEY, _oaep(_context(*_IDS)))
    return b"\1" + len(wrapped).to_bytes(2) + wrapped


def _seal(content: bytes) -> bytes:
    return _wrapped() + AESGCM(_KEY).encrypt(bytes(12), content, _context(*_IDS))


def _open(data: bytes) -> Offer:
    """Open what came, or what is in the seal, or what is in the seal and signed."""
    way, data = chosen(data, 3)
    if way == _SIGNED:
        signature = sign(_SENDER, _signed(*_IDS, data))
        data = len(signature).to_bytes(2) + signature + data
    return open_offer(data if way == _RAW else _seal(data), _RECEIVER, _SENDER.public_key())


def _holds(read: Offer) -> None:
    assert offer.decode(offer.encode(read)) == read
    assert len(read.candidates) <= MAX_CANDIDATES
    for candidate in read.candidates:
        shown(str(candidate))
        assert 0 < candidate.address.port < 65536


def _bodies() -> list[bytes]:
    return [pages.read(name) for name in ("offer-body", "offer-body-further", "later-offer-body")]


def _sealed() -> list[bytes]:
    signed = [bytes([_SIGNED]) + body for body in _bodies()]
    return [bytes([_RAW]) + pages.read("offer-sealed"), bytes([_SEALED, 0, 2]) + bytes(40), *signed]


TARGETS = (
    Target(
        name="offer-body",
        of=("p2p_core.wire.offer.decode", "p2p_core.wire.candidate.Address.from_packed"),
        parse=offer.decode,
        raises=(Malformed,),
        seeds=_bodies,
        holds=_holds,
    ),
    Target(
        name="offer-sealed",
        of=("p2p_core.sealing.open_offer",),
        parse=_open,
        raises=(Malformed, OfferRejected),
        seeds=_sealed,
        holds=_holds,
    ),
)
