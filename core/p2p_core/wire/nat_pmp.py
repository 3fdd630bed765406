"""NAT-PMP, RFC 6886: what a gateway is asked over UDP port 5351, and what it answers.

Requests (§3.2, §3.3) and answers, all numbers big-endian:

    0   u8 version 0                       0   u8 version 0
    1   u8 opcode                          1   u8 128 + opcode
                                           2   u16 result, 0 is success
    0 external address                     4   u32 seconds since the gateway's tables were empty
                                           8   the address, 4 bytes
    1 map UDP, 2 map TCP
    2   2 zero bytes                       as above, then
    4   u16 internal port                  8   u16 internal port
    6   u16 suggested external port        10  u16 external port
    8   u32 lifetime in s, 0 unmaps        12  u32 lifetime in s
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Transport

__all__ = ["ExternalAddress", "ExternalAddressRequest", "MapRequest", "Mapped", "Refused", "decode"]

_REQUEST = struct.Struct(">BB2xHHI")
_HEADER = struct.Struct(">BBHI")
_MAPPED = struct.Struct(">HHI")
_VERSION = 0
_ANSWER = 128
_EXTERNAL_ADDRESS = 0
_OPCODES = {Transport.UDP: 1, Transport.TCP: 2}
_TRANSPORTS = {opcode: transport for transport, opcode in _OPCODES.items()}
_REASONS = {  # §3.5
    1: "unsupported version",
    2: "not authorized, or refused",
    3: "network failure",
    4: "out of resources",
    5: "unsupported opcode",
}


@dataclass(frozen=True, slots=True)
class ExternalAddressRequest:
    """Asks for the gateway's address on the outside."""

    def encode(self) -> bytes:
        """Return the 2 bytes of the request."""
        return bytes((_VERSION, _EXTERNAL_ADDRESS))


@dataclass(frozen=True, slots=True)
class MapRequest:
    """Asks for a port on the outside that leads to one of ours, or gives it back: lifetime 0, suggesting port 0."""

    transport: Transport
    internal_port: int  # 1..65535
    external_port: int  # a wish
    lifetime: int  # s

    def encode(self) -> bytes:
        """Return the 12 bytes of the request."""
        opcode = _OPCODES[self.transport]
        return _REQUEST.pack(_VERSION, opcode, self.internal_port, self.external_port, self.lifetime)


@dataclass(frozen=True, slots=True)
class ExternalAddress:
    """Answers: this is the gateway's address on the outside."""

    ip: IPv4Address


@dataclass(frozen=True, slots=True)
class Mapped:
    """Answers: this port leads to yours, for so long. With lifetime 0: no longer."""

    transport: Transport
    internal_port: int
    external_port: int
    lifetime: int  # s


@dataclass(frozen=True, slots=True)
class Refused:
    """Answers: no."""

    transport: Transport | None  # that was to be mapped; none where the address was asked for
    result: int  # never 0

    def __str__(self) -> str:
        return _REASONS.get(self.result, f"result {self.result}")


def decode(data: bytes) -> ExternalAddress | Mapped | Refused:
    """Read a gateway's answer; bytes behind it are passed over. Raises `Malformed`."""
    if len(data) < _HEADER.size:
        raise Malformed("a NAT-PMP answer that ends too early")
    version, opcode, result, _ = _HEADER.unpack_from(data)
    if version != _VERSION or opcode < _ANSWER:
        raise Malformed("not an answer of NAT-PMP")
    if result:
        return Refused(_TRANSPORTS.get(opcode - _ANSWER), result)
    body = data[_HEADER.size :]
    if opcode == _ANSWER + _EXTERNAL_ADDRESS and len(body) >= 4:
        return ExternalAddress(IPv4Address(body[:4]))
    if opcode - _ANSWER in _TRANSPORTS and len(body) >= _MAPPED.size:
        internal, external, lifetime = _MAPPED.unpack_from(body)
        return Mapped(_TRANSPORTS[opcode - _ANSWER], internal, external, lifetime)
    raise Malformed("a NAT-PMP answer to something else, or one that ends too early")
