"""What the hellos of TLS 1.3 show to whoever carries them (RFC 8446 §4.1.2, §4.1.3)."""

from typing import Final

__all__ = ["EARLY_DATA", "KEY_SHARE", "PRE_SHARED_KEY", "X25519MLKEM768", "extensions"]

PRE_SHARED_KEY: Final = 41  # RFC 8446 §4.2, as the next two
EARLY_DATA: Final = 42
KEY_SHARE: Final = 51
X25519MLKEM768: Final = b"\x11\xec"  # draft-ietf-tls-ecdhe-mlkem
_CLIENT_HELLO: Final = 1


def extensions(hello: bytes) -> dict[int, bytes]:
    """The extensions of a ClientHello or ServerHello that is a record of its own, by their type."""
    is_client = hello[5] == _CLIENT_HELLO
    at = 5 + 4 + 2 + 32  # record, handshake header, version, random
    at += 1 + hello[at]  # session id
    at += 2 + int.from_bytes(hello[at : at + 2], "big") if is_client else 2  # cipher suites, or the one chosen
    at += 1 + hello[at] if is_client else 1  # compression
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at, found = at + 2, {}
    while at < end:
        length = int.from_bytes(hello[at + 2 : at + 4], "big")
        found[int.from_bytes(hello[at : at + 2], "big")] = hello[at + 4 : at + 4 + length]
        at += 4 + length
    return found
