"""The UDP packets that punch, and find out whether a way is open: docs/protocol/punching.md.

    0   0x9f "PW", version 1
    4   u8 kind: 1 probe, 2 answer
    5   u8 role of the sender: 1 initiator, 2 responder
    6   2 zero bytes
    8   nonce, 16 bytes: in a probe fresh, in an answer the probe's
    24  HMAC-SHA256 (RFC 2104) of the 24 bytes before, first 16 bytes

The first byte tells it from STUN (0–3) and QUIC (64–127, 192–255) on the same socket (RFC 7983 §7, RFC 9443 §3).
An answer is as long as the probe, so that nobody can make a peer send more than it was sent.
"""

import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum

from p2p_core.errors import Malformed
from p2p_core.proof import Role

__all__ = ["PROBE_BYTES", "PROBE_NONCE_BYTES", "Probe", "ProbeKind"]

_LAYOUT = struct.Struct(">4sBB2x16s")
_MAGIC = b"\x9fPW\x01"
_MAC_BYTES = 16
PROBE_NONCE_BYTES = 16
PROBE_BYTES = _LAYOUT.size + _MAC_BYTES
_ROLES = {Role.INITIATOR: 1, Role.RESPONDER: 2}
_ROLE_OF = {value: role for role, value in _ROLES.items()}


class ProbeKind(IntEnum):
    """What a packet says."""

    PROBE = 1
    ANSWER = 2


_KIND_OF = {kind.value: kind for kind in ProbeKind}


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe or answer, 40 bytes."""

    kind: ProbeKind
    role: Role
    nonce: bytes

    def encode(self, key: bytes) -> bytes:
        """Return its bytes, authenticated under the sender's punch key."""
        content = _LAYOUT.pack(_MAGIC, self.kind, _ROLES[self.role], self.nonce)
        return content + _mac(key, content)

    @classmethod
    def decode(cls, data: bytes, key: bytes) -> "Probe":
        """Read one datagram. Raises `Malformed` when it is no probe or answer, or not one made under `key`."""
        content, mac = data[: _LAYOUT.size], data[_LAYOUT.size :]
        if len(data) != PROBE_BYTES or not hmac.compare_digest(mac, _mac(key, content)):
            raise Malformed("not a probe of this session")
        magic, kind, role, nonce = _LAYOUT.unpack(content)
        if magic != _MAGIC or kind not in _KIND_OF or role not in _ROLE_OF:
            raise Malformed("a probe of an unknown version, kind or role")
        return cls(_KIND_OF[kind], _ROLE_OF[role], nonce)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]
