"""The signal that asks the other side to come to a further channel of the session: docs/protocol/session.md.

    0   "PWR", version 1
    4   u32 channel: the number of the channel that the sender wants, above the present one's
    8   HMAC-SHA256 (RFC 2104) of the 8 bytes before, first 16 bytes

The mediator carries it (`Signal`) and cannot make one: the key is the sender's punch key for `rejoin` of the session's
first channel. One that is repeated names a channel that is no longer above.
"""

import hmac
import struct

from p2p_core.errors import Malformed

__all__ = ["decode", "encode"]

_LAYOUT = struct.Struct(">4sI")
_MAGIC = b"PWR\x01"
_MAC_BYTES = 16


def encode(channel: int, key: bytes) -> bytes:
    """Return the 24 bytes that ask for `channel`."""
    content = _LAYOUT.pack(_MAGIC, channel)
    return content + _mac(key, content)


def decode(data: bytes, key: bytes) -> int:
    """Return the channel that is asked for. Raises `Malformed` unless the bytes were made under `key`."""
    content, mac = data[: _LAYOUT.size], data[_LAYOUT.size :]
    if len(data) != _LAYOUT.size + _MAC_BYTES or not hmac.compare_digest(mac, _mac(key, content)):
        raise Malformed("not a signal of this session")
    magic, channel = _LAYOUT.unpack(content)
    if magic != _MAGIC:
        raise Malformed("a signal of an unknown version")
    return int(channel)


def _mac(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:_MAC_BYTES]
