"""STUN Binding, RFC 8489: a request, and the answer that says from which address it came.

Only what Punchwire needs: no authentication (a wrong answer costs one useless candidate), no SOFTWARE attribute;
attributes other than XOR-MAPPED-ADDRESS are passed over.
Over TCP a message stands alone (§6.2.2): its length is in its header.
"""

import os
import struct
from dataclasses import dataclass
from ipaddress import IPv6Address

from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address

__all__ = ["HEADER_BYTES", "BindingRequest", "BindingResponse", "body_length", "decode"]

HEADER_BYTES = 20
MAX_MESSAGE_BYTES = 548  # §6.1: what fits the smallest IPv4 path when nothing is known about it

_HEADER = struct.Struct(">HHI12s")
_ATTRIBUTE = struct.Struct(">HH")
_ADDRESS = struct.Struct(">xBH")
_COOKIE = 0x2112A442
_REQUEST, _RESPONSE = 0x0001, 0x0101
_XOR_MAPPED_ADDRESS = 0x0020
_IPV4, _IPV6 = 1, 2


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """Asks: from which address does this come?"""

    transaction: bytes  # 12 random bytes; the answer repeats them

    @classmethod
    def fresh(cls) -> "BindingRequest":
        """Make a request with a new transaction id."""
        return cls(os.urandom(12))

    def encode(self) -> bytes:
        """Return the 20 bytes of the request."""
        return _HEADER.pack(_REQUEST, 0, _COOKIE, self.transaction)


@dataclass(frozen=True, slots=True)
class BindingResponse:
    """Answers: from this address."""

    transaction: bytes
    mapped: Address

    def encode(self) -> bytes:
        """Return the response with one XOR-MAPPED-ADDRESS (§14.2)."""
        ip = _xor(self.mapped.ip.packed, self.transaction)
        family = _IPV6 if isinstance(self.mapped.ip, IPv6Address) else _IPV4
        value = _ADDRESS.pack(family, self.mapped.port ^ (_COOKIE >> 16)) + ip
        attribute = _ATTRIBUTE.pack(_XOR_MAPPED_ADDRESS, len(value)) + value
        return _HEADER.pack(_RESPONSE, len(attribute), _COOKIE, self.transaction) + attribute


def body_length(header: bytes) -> int:
    """Return how many bytes follow the 20 of `header`, on a stream. Raises `Malformed`."""
    kind, length, cookie, _ = _HEADER.unpack_from(header)
    if cookie != _COOKIE or kind & 0xC000 or length % 4 or length > MAX_MESSAGE_BYTES - HEADER_BYTES:
        raise Malformed("not a STUN message")
    return int(length)


def decode(data: bytes) -> BindingRequest | BindingResponse:
    """Read one whole message. Raises `Malformed` for anything but a Binding request or success response."""
    if len(data) < HEADER_BYTES or body_length(data) != len(data) - HEADER_BYTES:
        raise Malformed("not a STUN message")
    kind, _, _, transaction = _HEADER.unpack_from(data)
    mapped = None
    for attribute, value in _attributes(data[HEADER_BYTES:]):
        if attribute == _XOR_MAPPED_ADDRESS and mapped is None:
            mapped = _address(value, transaction)
    if kind == _REQUEST:
        return BindingRequest(transaction)
    if kind == _RESPONSE and mapped is not None:
        return BindingResponse(transaction, mapped)
    raise Malformed("not a STUN Binding request or response")


def _attributes(body: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(body):
        kind, length = _ATTRIBUTE.unpack_from(body, at)
        at += _ATTRIBUTE.size
        if at + length > len(body):
            raise Malformed("a STUN attribute that ends too late")
        found.append((kind, body[at : at + length]))
        at += length + -length % 4
    return found


def _address(value: bytes, transaction: bytes) -> Address:
    if len(value) < _ADDRESS.size:
        raise Malformed("a STUN address that ends too early")
    family, port = _ADDRESS.unpack_from(value)
    ip = value[_ADDRESS.size :]
    if (family, len(ip)) not in ((_IPV4, 4), (_IPV6, 16)):
        raise Malformed("a STUN address of an unknown family")
    return Address.from_packed(_xor(ip, transaction), port ^ (_COOKIE >> 16))


def _xor(ip: bytes, transaction: bytes) -> bytes:
    mask = _COOKIE.to_bytes(4, "big") + transaction
    return bytes(a ^ b for a, b in zip(ip, mask, strict=False))
