"""The 40 bytes that all punching is done with, over TCP (`preamble`) and UDP (`probe`): docs/protocol/punching.md.

0   magic and version, 4 bytes
4   u8 kind
5   u8 role of the sender: 1 initiator, 2 responder
6   2 zero bytes
8   nonce, 16 bytes
24  HMAC-SHA256 (RFC 2104) of the 24 bytes before under the sender's punch key, first 16 bytes
"""

import hmac
import struct
from collections.abc import Iterable

from p2p_core.errors import Malformed
from p2p_core.proof import Role

__all__ = ["NONCE_BYTES", "RECORD_BYTES", "pack", "unpack"]

_LAYOUT = struct.Struct(">4sBB2x16s")
_MAC_BYTES = 16
NONCE_BYTES = 16
RECORD_BYTES = _LAYOUT.size + _MAC_BYTES
_ROLES = {Role.INITIATOR: 1, Role.RESPONDER: 2}
_ROLE_OF = {value: role for role, value in _ROLES.items()}


def pack(magic: bytes, kind: int, role: Role, nonce: bytes, key: bytes) -> bytes:
    """Return a record, authenticated under `key`."""
    content = _LAYOUT.pack(magic, kind, _ROLES[role], nonce)
    return content + _mac(key, content)


def unpack(data: bytes, magic: bytes, keys: Iterable[bytes], what: str) -> tuple[int, Role, bytes]:
    """Return kind, role and nonce. Raises `Malformed` when `data` is no record called `what` under one of `keys`."""
    content, mac = data[: _LAYOUT.size], data[_LAYOUT.size :]
    if len(data) != RECORD_BYTES or not any(hmac.compare_digest(mac, _mac(key, content)) for key in keys):
        raise Malformed(f"not a {what} of this session")
    found, kind, role, nonce = _LAYOUT.unpack(content)
    if found != magic or role not in _ROLE_OF:
        raise Malformed(f"a {what} of an unknown version or role")
    return kind, _ROLE_OF[role], nonce


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]
