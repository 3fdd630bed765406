"""The first bytes on a punched TCP connection: docs/protocol/punching.md.

    0   "PWT", version 1
    4   u8 kind: 1 hello, 2 nominate
    5   u8 role of the sender: 1 initiator, 2 responder
    6   2 zero bytes
    8   nonce, 16 bytes: in a hello fresh, in a nomination the responder's
    24  HMAC-SHA256 (RFC 2104) of the 24 bytes before, first 16 bytes

Both sides send a hello on every connection. The initiator nominates one connection by repeating the responder's
nonce there, and TLS follows. A preamble chooses a connection; it authenticates nobody.
"""

from dataclasses import dataclass
from enum import IntEnum

from p2p_core.errors import Malformed
from p2p_core.proof import Role
from p2p_core.wire import punch_record

__all__ = ["Preamble", "PreambleKind"]

_MAGIC = b"PWT\x01"


class PreambleKind(IntEnum):
    """What a preamble says."""

    HELLO = 1
    NOMINATE = 2


_KIND_OF = {kind.value: kind for kind in PreambleKind}


@dataclass(frozen=True, slots=True)
class Preamble:
    """One preamble, 40 bytes."""

    kind: PreambleKind
    role: Role
    nonce: bytes

    def encode(self, key: bytes) -> bytes:
        """Return its bytes, authenticated under the sender's punch key."""
        return punch_record.pack(_MAGIC, self.kind, self.role, self.nonce, key)

    @classmethod
    def decode(cls, data: bytes, *keys: bytes) -> "Preamble":
        """Read 40 bytes. Raises `Malformed` when they are no preamble, or not one made under one of `keys`."""
        kind, role, nonce = punch_record.unpack(data, _MAGIC, keys, "preamble")
        if kind not in _KIND_OF:
            raise Malformed("a preamble of an unknown kind")
        return cls(_KIND_OF[kind], role, nonce)
