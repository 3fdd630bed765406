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

import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum

from p2p_core.errors import Malformed
from p2p_core.proof import Role

__all__ = ["NONCE_BYTES", "PREAMBLE_BYTES", "Preamble", "PreambleKind"]

_LAYOUT = struct.Struct(">4sBB2x16s")
_MAGIC = b"PWT\x01"
_MAC_BYTES = 16
NONCE_BYTES = 16
PREAMBLE_BYTES = _LAYOUT.size + _MAC_BYTES
_ROLES = {Role.INITIATOR: 1, Role.RESPONDER: 2}
_ROLE_OF = {value: role for role, value in _ROLES.items()}


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
        content = _LAYOUT.pack(_MAGIC, self.kind, _ROLES[self.role], self.nonce)
        return content + _mac(key, content)

    @classmethod
    def decode(cls, data: bytes, key: bytes) -> "Preamble":
        """Read 40 bytes. Raises `Malformed` when they are no preamble, or not one made under `key`."""
        content, mac = data[: _LAYOUT.size], data[_LAYOUT.size :]
        if len(data) != PREAMBLE_BYTES or not hmac.compare_digest(mac, _mac(key, content)):
            raise Malformed("not a preamble of this session")
        magic, kind, role, nonce = _LAYOUT.unpack(content)
        if magic != _MAGIC or kind not in _KIND_OF or role not in _ROLE_OF:
            raise Malformed("a preamble of an unknown version, kind or role")
        return cls(_KIND_OF[kind], _ROLE_OF[role], nonce)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]
