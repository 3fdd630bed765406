"""The one encoding of everything that is signed or hashed: a label, then fields, each behind its length.

    u32 length | bytes          once for the label (ASCII), then once for each field

Lengths are big-endian. Two different lists of fields never encode to the same bytes, and the label keeps
what was made for one purpose from being taken for another. docs/protocol/identity.md has the rules.
"""

import hashlib
import struct

__all__ = ["digest", "encode", "u16", "u32", "u64"]

_LENGTH = struct.Struct(">I")


def encode(label: str, *fields: bytes) -> bytes:
    """Encode `label` and `fields`; unambiguous for every list of byte strings."""
    return b"".join(_LENGTH.pack(len(part)) + part for part in (label.encode("ascii"), *fields))


def digest(label: str, *fields: bytes) -> bytes:
    """SHA-256 of the encoding, 32 bytes."""
    return hashlib.sha256(encode(label, *fields)).digest()


def u16(value: int) -> bytes:
    """`value` as 2 big-endian bytes."""
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    """`value` as 4 big-endian bytes."""
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    """`value` as 8 big-endian bytes."""
    return value.to_bytes(8, "big")
