"""Offers, signed by the sender and sealed to the receiver: docs/protocol/offer.md.

    u8 version | u16 n | RSA-OAEP-SHA256 of a fresh key, n bytes | AES-256-GCM of ( u16 m | signature, m | body )

The mediator sees who sends to whom, and a size. The seal protects addresses, not content, and has no forward
secrecy: the threat model says so.
"""

import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2p_core import limits
from p2p_core.errors import Malformed, OfferRejected, ProofFailed
from p2p_core.fields import encode, u16
from p2p_core.identity import PeerId, RSAPrivateKey, RSAPublicKey
from p2p_core.proof import sign, verify_signature
from p2p_core.wire import offer as wire
from p2p_core.wire.offer import Offer

__all__ = ["open_offer", "seal_offer"]

_SIGNATURE_LABEL = "punchwire offer"
_SEAL_LABEL = "punchwire sealed offer"
_VERSION = 1
_KEY_BYTES = 32
_NONCE = bytes(12)  # each key seals one offer, so the nonce need not differ
_HEADER = struct.Struct(">BH")
_LENGTH = struct.Struct(">H")


def seal_offer(offer: Offer, sender: RSAPrivateKey, receiver: RSAPublicKey) -> bytes:
    """Sign `offer` with the sender's key and seal it to the receiver's."""
    from_id, to_id = PeerId.of(sender.public_key()), PeerId.of(receiver)
    body = wire.encode(offer)
    signature = sign(sender, _signed(from_id, to_id, body))
    context = _context(from_id, to_id)
    key = os.urandom(_KEY_BYTES)
    wrapped = receiver.encrypt(key, _oaep(context))
    content = _LENGTH.pack(len(signature)) + signature + body
    return _HEADER.pack(_VERSION, len(wrapped)) + wrapped + AESGCM(key).encrypt(_NONCE, content, context)


def open_offer(sealed: bytes, receiver: RSAPrivateKey, sender: RSAPublicKey) -> Offer:
    """Open an offer that `sender` sealed to `receiver`. Whether its times fit, `Agreement.between` says.

    Raises `Malformed` when it does not parse, `OfferRejected` when it was not sealed to us by this sender, its
    signature does not verify, or it lives too long.
    """
    from_id, to_id = PeerId.of(sender), PeerId.of(receiver.public_key())
    try:
        content = _unseal(sealed, receiver, _context(from_id, to_id))
    except Malformed as error:
        raise error.by("the other side, or whoever passed its offer on,") from error
    (length,) = _LENGTH.unpack_from(content)
    signature, body = content[_LENGTH.size : _LENGTH.size + length], content[_LENGTH.size + length :]
    try:
        verify_signature(sender, _signed(from_id, to_id, body), signature)
    except ProofFailed:
        raise OfferRejected("the signature of the other side's offer is not its own: somebody forged it") from None
    try:
        offer = wire.decode(body)
    except Malformed as error:
        raise error.by("the other side") from error
    life = offer.expires - offer.issued
    if not 0 < life <= limits.MAX_OFFER_LIFE:
        raise OfferRejected(
            f"the other side's offer lives for {life} s, where 1 to {limits.MAX_OFFER_LIFE} are allowed",
            advice="Update Punchwire on the other side.",
        )
    return offer


def _unseal(sealed: bytes, receiver: RSAPrivateKey, context: bytes) -> bytes:
    if len(sealed) > limits.MAX_OFFER_BYTES:
        raise Malformed(f"a sealed offer of {len(sealed)} bytes")
    if len(sealed) < _HEADER.size:
        raise Malformed("a sealed offer that ends too early")
    version, length = _HEADER.unpack_from(sealed)
    if version != _VERSION:
        raise Malformed(f"a sealed offer of version {version}")
    wrapped, ciphertext = sealed[_HEADER.size : _HEADER.size + length], sealed[_HEADER.size + length :]
    try:
        key = receiver.decrypt(wrapped, _oaep(context))
        content = AESGCM(key).decrypt(_NONCE, ciphertext, context)
    except (ValueError, InvalidTag):  # one answer for every fault: nothing here is an oracle
        raise OfferRejected("the offer that came is not one of the other side to this one") from None
    if len(content) < _LENGTH.size:
        raise Malformed("an offer that ends too early")
    return content


def _signed(sender: PeerId, receiver: PeerId, body: bytes) -> bytes:
    return encode(_SIGNATURE_LABEL, u16(limits.PROTOCOL_VERSION), sender, receiver, body)


def _context(sender: PeerId, receiver: PeerId) -> bytes:
    return encode(_SEAL_LABEL, u16(limits.PROTOCOL_VERSION), sender, receiver)


def _oaep(context: bytes) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=context)
