"""The UDP packets that punch, and find out whether a way is open: docs/protocol/punching.md.

    0   0x9f "PW", version 1
    4   u8 kind: 1 probe, 2 answer, 3 nominate
    5   u8 role of the sender: 1 initiator, 2 responder
    6   2 zero bytes
    8   nonce, 16 bytes: in a probe fresh, in an answer the probe's, in a nomination that of a probe of the responder
    24  HMAC-SHA256 (RFC 2104) of the 24 bytes before, first 16 bytes

The first byte tells it from STUN (0–3) and QUIC (64–127, 192–255) on the same socket (RFC 7983 §7, RFC 9443 §3).
An answer is as long as the probe, so that nobody can make a peer send more than it was sent.
"""

from dataclasses import dataclass
from enum import IntEnum

from p2p_core.errors import Malformed
from p2p_core.proof import Role
from p2p_core.wire import punch_record

__all__ = ["Probe", "ProbeKind"]

_MAGIC = b"\x9fPW\x01"


class ProbeKind(IntEnum):
    """What a packet says."""

    PROBE = 1
    ANSWER = 2
    NOMINATE = 3


_KIND_OF = {kind.value: kind for kind in ProbeKind}


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe, answer or nomination, 40 bytes."""

    kind: ProbeKind
    role: Role
    nonce: bytes

    def encode(self, key: bytes) -> bytes:
        """Return its bytes, authenticated under the sender's punch key."""
        return punch_record.pack(_MAGIC, self.kind, self.role, self.nonce, key)

    @classmethod
    def decode(cls, data: bytes, *keys: bytes) -> "Probe":
        """Read one datagram. Raises `Malformed` when it is none of them, or not one made under one of `keys`."""
        kind, role, nonce = punch_record.unpack(data, _MAGIC, keys, "probe")
        if kind not in _KIND_OF:
            raise Malformed("a probe of an unknown kind")
        return cls(_KIND_OF[kind], role, nonce)
