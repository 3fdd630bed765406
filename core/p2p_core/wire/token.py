"""What a connection token says, as bytes: docs/protocol/token.md. `token_sealing` encrypts them.

    0   12 bits life in s, 2 bits UDP mapping, 2 bits TCP mapping
    2   share, 12 bytes
    14  fingerprint, 16 bytes
    30  i8 UDP port step: only if the UDP mapping is sequential
    then, for each address, the most useful first:
        2 bits kind, 1 bit IPv6, 2 bits TCP port, 2 bits UDP port, 1 bit 0
        4 or 16 bytes of IP address
        u16 TCP port, u16 UDP port: each only if it is written here

A port is none (0), written here (1), the same transport's last one (2), or, for UDP only, the address's TCP port (3).
When the token was issued stands in clear, before these bytes. Nothing is passed over: what a later version adds is a
token of another version.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping

__all__ = [
    "FINGERPRINT_BYTES",
    "MAX_CONTENT_BYTES",
    "MAX_LIFE",
    "MIN_CONTENT_BYTES",
    "SHARE_BYTES",
    "SLOT",
    "Token",
    "decode",
    "encode",
    "fitting",
]

SHARE_BYTES = 12  # 96 bits: nobody guesses a key that is good for an hour, and no two tokens are alike
FINGERPRINT_BYTES = 16  # of the sender's peer id: a second key with the same ones takes 2**128 trials
MAX_LIFE = 3600  # s
SLOT = 3600  # s: what is issued within it has one key, so keys computed for guessing are good for one hour's tokens

MAX_ADDRESSES_BYTES = 60  # at least six IPv4 addresses, or two of IPv6: the text stays short enough to be copied
MIN_CONTENT_BYTES = 2 + SHARE_BYTES + FINGERPRINT_BYTES
MAX_CONTENT_BYTES = MIN_CONTENT_BYTES + 1 + MAX_ADDRESSES_BYTES

_NONE, _WRITTEN, _AS_LAST, _AS_TCP = range(4)
_KINDS = (CandidateKind.HOST, CandidateKind.SERVER_REFLEXIVE, CandidateKind.MAPPED)  # a relay is the mediator's
_MAPPINGS = (Mapping.UNKNOWN, Mapping.INDEPENDENT, Mapping.SEQUENTIAL, Mapping.RANDOM)
_HEAD = struct.Struct(f">H{SHARE_BYTES}s{FINGERPRINT_BYTES}s")
_PORT = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Token:
    """Where one side may be reached, for how long, and the secret of its punch keys."""

    issued: int  # seconds since the epoch
    expires: int  # seconds since the epoch, 1 to MAX_LIFE after `issued`
    share: bytes = field(repr=False)  # 12 bytes, fresh, for the punch keys
    fingerprint: bytes  # the first 16 bytes of the sender's peer id
    candidates: tuple[Candidate, ...]  # as `fitting` returns them
    udp_mapping: Mapping = Mapping.UNKNOWN
    tcp_mapping: Mapping = Mapping.UNKNOWN
    udp_port_step: int = 0  # ports from one UDP mapping to the next, -128..127; 0 unless the mapping is sequential


def encode(token: Token) -> bytes:
    """Return the bytes of a token's content: all of it but `issued`."""
    life = token.expires - token.issued
    addresses = _addresses(_places(token.candidates))
    if not 1 <= life <= MAX_LIFE or len(addresses) > MAX_ADDRESSES_BYTES:
        raise LocalProtocolError(f"a token that lives for {life} s, with {len(addresses)} bytes of addresses")
    bits = life << 4 | _MAPPINGS.index(token.udp_mapping) << 2 | _MAPPINGS.index(token.tcp_mapping)
    sequential = token.udp_mapping is Mapping.SEQUENTIAL
    step = token.udp_port_step.to_bytes(1, "big", signed=True) if sequential else b""
    return _HEAD.pack(bits, token.share, token.fingerprint) + step + addresses


def decode(content: bytes, issued: int) -> Token:
    """Read a token's content; it was `issued` at that second since the epoch. Raises `Malformed`."""
    if not MIN_CONTENT_BYTES <= len(content) <= MAX_CONTENT_BYTES:
        raise Malformed(f"a token with {len(content)} bytes of content")
    bits, share, fingerprint = _HEAD.unpack_from(content)
    life, udp_mapping, tcp_mapping = bits >> 4, _MAPPINGS[bits >> 2 & 3], _MAPPINGS[bits & 3]
    if not 1 <= life <= MAX_LIFE:
        raise Malformed(f"a token that lives for {life} s, where 1 to {MAX_LIFE} are allowed")
    reader = _Reader(content, _HEAD.size)
    step = int.from_bytes(reader.take(1), "big", signed=True) if udp_mapping is Mapping.SEQUENTIAL else 0
    candidates = []
    while reader.at < len(content):
        candidates += reader.candidates()
    return Token(issued, issued + life, share, fingerprint, tuple(candidates), udp_mapping, tcp_mapping, step)


def fitting(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Return those of `candidates`, the most useful first, that a token has room for: address by address."""
    chosen: list[list[Candidate]] = []
    for place in _places(candidates):
        if len(_addresses([*chosen, place])) <= MAX_ADDRESSES_BYTES:
            chosen.append(place)
    return tuple(candidate for place in chosen for candidate in place)


def _places(candidates: Iterable[Candidate]) -> list[list[Candidate]]:
    """Put together what one entry says: the candidates of one kind at one IP address, at most one TCP and one UDP."""
    places: list[list[Candidate]] = []
    for candidate in dict.fromkeys(candidates):
        if candidate.kind not in _KINDS:
            continue
        alike = (candidate.kind, candidate.address.ip)
        for place in places:
            free = candidate.transport not in {one.transport for one in place}
            if free and (place[0].kind, place[0].address.ip) == alike:
                place.append(candidate)
                place.sort(key=lambda one: one.transport is Transport.UDP)
                break
        else:
            places.append([candidate])
    return places


def _addresses(places: Iterable[list[Candidate]]) -> bytes:
    """Return the entries of `places`: TCP, if it is there, before UDP."""
    data, last = b"", dict[Transport, int]()
    for place in places:
        codes, ports = {Transport.TCP: _NONE, Transport.UDP: _NONE}, b""
        for candidate in place:
            transport, port = candidate.transport, candidate.address.port
            if last.get(transport) == port:
                codes[transport] = _AS_LAST
            elif codes[Transport.TCP] != _NONE and last[Transport.TCP] == port:
                codes[transport] = _AS_TCP
            else:
                codes[transport] = _WRITTEN
                ports += _PORT.pack(port)
            last[transport] = port
        ip = place[0].address.ip
        bits = _KINDS.index(place[0].kind) << 6 | (ip.version == 6) << 5
        bits |= codes[Transport.TCP] << 3 | codes[Transport.UDP] << 1
        data += bytes([bits]) + ip.packed + ports
    return data


@dataclass(slots=True)
class _Reader:
    """Reads addresses, and knows the last port of each transport."""

    data: bytes
    at: int
    last: dict[Transport, int] = field(default_factory=dict)

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise Malformed("a token whose content ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def candidates(self) -> list[Candidate]:
        """Read one entry: one or two candidates."""
        (bits,) = self.take(1)
        kind, tcp, udp = bits >> 6, bits >> 3 & 3, bits >> 1 & 3
        if kind >= len(_KINDS) or bits & 1 or tcp == _AS_TCP:
            raise Malformed("a token with an address of an unknown kind")
        if tcp == _NONE and udp in (_NONE, _AS_TCP):
            raise Malformed("a token with an address without a port")
        ip = self.take(16 if bits & 0x20 else 4)
        found = []
        for transport, code in ((Transport.TCP, tcp), (Transport.UDP, udp)):
            if code != _NONE:
                self.last[transport] = self._port(transport, code)
                found.append(Candidate(_KINDS[kind], transport, Address.from_packed(ip, self.last[transport])))
        return found

    def _port(self, transport: Transport, code: int) -> int:
        if code == _WRITTEN:
            (port,) = _PORT.unpack(self.take(_PORT.size))
            return int(port)
        known = self.last.get(Transport.TCP if code == _AS_TCP else transport)
        if known is None:
            raise Malformed("a token that repeats a port before the first one")
        return known
