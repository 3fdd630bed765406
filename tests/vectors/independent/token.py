"""Tokens: content, seal and text (token.md)."""

import functools
import hashlib
import ipaddress
import string
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import join, x

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
ISSUED = 1_700_000_000


def token_addresses(data: bytes) -> list[tuple[str, str, str, int]]:
    """Return kind, transport, IP address and port of each candidate."""
    found: list[tuple[str, str, str, int]] = []
    last: dict[str, int] = {}
    while data:
        bits, length = data[0], 16 if data[0] & 32 else 4
        assert bits & 1 == 0
        kind, ip = ("host", "srflx", "mapped")[bits >> 6], str(ipaddress.ip_address(data[1 : 1 + length]))
        data = data[1 + length :]
        for transport, how in (("tcp", bits >> 3 & 3), ("udp", bits >> 1 & 3)):
            if how == 1:
                (last[transport],) = struct.unpack_from(">H", data)
                data = data[2:]
            elif how == 3:
                assert transport == "udp"
                last["udp"] = last["tcp"]
            if how:
                found.append((kind, transport, ip, last[transport]))
    return found


def token_of(text: str, key: bytes) -> tuple[int, bytes]:
    """Return when a token was issued, and its content."""
    version, extra = text[0], BASE62.index(text[1])
    assert version == "1"
    value = sum(BASE62.index(digit) * 62**place for place, digit in enumerate(reversed(text[2:])))
    count = 4 + 16 + 30 + extra + 2
    assert 62 ** (len(text) - 3) < 256**count <= 62 ** (len(text) - 2)
    data = value.to_bytes(count, "big")
    check_label = join("punchwire token check", text[:2].encode(), data[:-2])
    assert hashlib.sha256(check_label).digest()[:2] == data[-2:]
    context = join("punchwire token", b"1", data[:4])
    return int.from_bytes(data[:4], "big"), AESSIV(key).decrypt(data[4:-2], [context])


@check("token-content")
def _token_content(name: str) -> None:
    content = pages.read(name)
    assert content[:2] == (600 << 4 | 2 << 2 | 1).to_bytes(2, "big")
    assert content[2:31] == x(0x11, 12) + x(0x22, 16) + b"\x02"
    assert token_addresses(content[31:]) == [
        ("srflx", "tcp", "198.51.100.7", 61000),
        ("srflx", "udp", "198.51.100.7", 62000),
        ("host", "tcp", "192.168.1.2", 50000),
        ("host", "udp", "192.168.1.2", 50000),
        ("host", "tcp", "2001:db8::1", 50000),
        ("host", "udp", "2001:db8::1", 50000),
    ]


@check("token-content-ports")
def _token_content_ports(name: str) -> None:
    content = pages.read(name)
    assert content[:30] == (3600 << 4).to_bytes(2, "big") + x(0x33, 12) + x(0x44, 16)
    assert token_addresses(content[30:]) == [
        ("mapped", "tcp", "203.0.113.5", 7),
        ("mapped", "udp", "203.0.113.5", 7),
        ("host", "tcp", "203.0.113.6", 7),
        ("host", "udp", "203.0.113.7", 7),
        ("srflx", "udp", "2001:db8::2", 8),
        ("host", "tcp", "::1", 9),
        ("host", "udp", "::1", 8),
    ]


@functools.cache
def key_of(phrase: bytes, slot: int) -> bytes:
    """Return the key of a phrase, which takes its time."""
    salt = join("punchwire token key", b"1", slot.to_bytes(4, "big"))
    return Scrypt(salt=salt, length=64, n=65536, r=8, p=2).derive(phrase)


@check("token-key")
def _token_key(name: str) -> None:
    assert pages.read(name) == key_of(b"blue cat", ISSUED // 3600)


@check("token-text")
def _token_text(name: str) -> None:
    text = pages.read_text(name)
    assert len(text) == 118
    assert token_of(text, pages.read("token-key")) == (ISSUED, pages.read("token-content"))


@check("token-hash")
def _token_hash(name: str) -> None:
    assert pages.read(name) == hashlib.sha256(pages.read_text("token-text").encode()).digest()
