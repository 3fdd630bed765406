"""PCP, RFC 6887: what a gateway is asked over UDP port 5351, and what it answers. ANNOUNCE and MAP only, no options.

Requests (§7.1, §11.1) and answers (§7.2, §11.1), all numbers big-endian, IPv4 addresses as ::ffff:a.b.c.d:

    0   u8 version 2                       0   u8 version 2
    1   u8 opcode: 0 ANNOUNCE, 1 MAP       1   u8 128 + opcode
    2   2 zero bytes                       2   zero byte, u8 result, 0 is success
    4   u32 lifetime in s, 0 unmaps        4   u32 lifetime in s
    8   the client's address, 16 bytes     8   u32 seconds since the gateway's tables were empty, 12 zero bytes

    MAP adds to both, and the answer repeats what it is an answer to:
    24  nonce, 12 bytes                    a mapping may be changed only with the nonce it was made with
    36  u8 protocol: 6 TCP, 17 UDP
    37  3 zero bytes
    40  u16 internal port
    42  u16 external port                  in the request a wish
    44  external address, 16 bytes         in the request a wish, zero when there is none
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address, Transport

__all__ = ["NONCE_BYTES", "AnnounceRequest", "Announced", "MapRequest", "Mapped", "Refused", "decode"]

NONCE_BYTES = 12
MAX_MESSAGE_BYTES = 1100  # §7

_REQUEST = struct.Struct(">BB2xI16s")
_ANSWER = struct.Struct(">BBxBII12x")
_MAP = struct.Struct(">12sB3xHH16s")
_VERSION = 2
_RESPONSE = 128
_ANNOUNCE, _MAP_OPCODE = 0, 1
_PROTOCOLS = {Transport.UDP: 17, Transport.TCP: 6}  # IANA's numbers
_TRANSPORTS = {number: transport for transport, number in _PROTOCOLS.items()}
_UNSUPPORTED_VERSION = 1
_REASONS = {  # §7.4
    1: "unsupported version",
    2: "not authorized",
    3: "malformed request",
    4: "unsupported opcode",
    5: "unsupported option",
    6: "malformed option",
    7: "network failure",
    8: "no resources",
    9: "unsupported protocol",
    10: "quota exceeded",
    11: "cannot provide the external port",
    12: "the request came from another address than it says",
    13: "too many remote peers",
}


@dataclass(frozen=True, slots=True)
class AnnounceRequest:
    """Asks whether there is PCP at all, and changes nothing (§14.1)."""

    client: IPv4Address

    def encode(self) -> bytes:
        """Return the 24 bytes of the request."""
        return _REQUEST.pack(_VERSION, _ANNOUNCE, 0, _packed(self.client))


@dataclass(frozen=True, slots=True)
class MapRequest:
    """Asks for a port on the outside that leads to one of ours, or gives it back: lifetime 0."""

    client: IPv4Address
    nonce: bytes  # 12 bytes
    transport: Transport
    internal_port: int  # 1..65535
    external: Address | None  # a wish
    lifetime: int  # s

    def encode(self) -> bytes:
        """Return the 60 bytes of the request."""
        ip, port = (self.external.ip, self.external.port) if self.external else (IPv4Address(0), self.internal_port)
        return _REQUEST.pack(_VERSION, _MAP_OPCODE, self.lifetime, _packed(self.client)) + _MAP.pack(
            self.nonce, _PROTOCOLS[self.transport], self.internal_port, port, _packed(ip)
        )


@dataclass(frozen=True, slots=True)
class Announced:
    """Answers: here is PCP."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Answers: this address leads to yours, for so long. With lifetime 0: no longer."""

    nonce: bytes
    transport: Transport
    internal_port: int
    external: Address | None  # none where the mapping was given back
    lifetime: int  # s


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers: no."""

    mapping: Mapped | None  # that was asked for, as the answer repeats it; none where it was something else
    result: int  # never 0

    def __str__(self) -> str:
        return _REASONS.get(self.result, f"result {self.result}")


def decode(data: bytes) -> Announced | Mapped | Refused:
    """Read a gateway's answer; options behind it are passed over. Raises `Malformed`.

    A gateway that speaks another version, as NAT-PMP does, refuses in that version, the result in the same place (§9).
    """
    if not 4 <= len(data) <= MAX_MESSAGE_BYTES:
        raise Malformed("a PCP answer that is too short or too long")
    version, opcode, result = data[0], data[1], data[3]
    if opcode < _RESPONSE:
        raise Malformed("not an answer of PCP")
    if version != _VERSION and result == _UNSUPPORTED_VERSION:
        return Refused(None, result)
    if version != _VERSION or len(data) < _ANSWER.size:
        raise Malformed("an answer of another version, or one that ends too early")
    mapping = _mapping(data) if opcode == _RESPONSE + _MAP_OPCODE else None
    if result:
        return Refused(mapping, result)
    if opcode == _RESPONSE + _ANNOUNCE:
        return Announced()
    if mapping is None:
        raise Malformed("a PCP answer to something else")
    return mapping


def _mapping(data: bytes) -> Mapped:
    if len(data) < _ANSWER.size + _MAP.size:
        raise Malformed("a PCP mapping that ends too early")
    lifetime = _ANSWER.unpack_from(data)[3]
    nonce, protocol, internal, port, ip = _MAP.unpack_from(data, _ANSWER.size)
    if protocol not in _TRANSPORTS:
        raise Malformed("a PCP mapping of neither TCP nor UDP")
    return Mapped(nonce, _TRANSPORTS[protocol], internal, Address.from_packed(ip, port) if port else None, lifetime)


def _packed(ip: IPv4Address | IPv6Address) -> bytes:
    """Return the 16 bytes of an address; an unspecified IPv4 one is ::ffff:0.0.0.0 (§5)."""
    return ip.packed if isinstance(ip, IPv6Address) else bytes(10) + b"\xff\xff" + ip.packed
