"""Offers, their seal, the session id and the punch keys (offer.md)."""

import hashlib
import hmac
import ipaddress
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import VERSION, fields_of, join, x
from tests.vectors.independent.identity import private_key, verify
from tests.vectors.independent.protobuf import records


@check("offer-body")
def _offer_body(name: str) -> None:
    def candidate(kind: int, ip: str, port: int) -> list[tuple[int, int | bytes]]:
        return [(1, kind), (2, 2), (3, ipaddress.ip_address(ip).packed), (4, port)]

    *head, first, second, third = records(pages.read(name))
    assert head == [(1, 1), (2, 1_700_000_000), (3, 1_700_000_600), (4, x(3)), (5, x(0x11)), (9, 1)]
    parsed = [(number, list(records(value))) for number, value in (first, second, third) if isinstance(value, bytes)]
    assert parsed == [
        (10, candidate(1, "192.0.2.1", 50000)),
        (10, candidate(2, "198.51.100.7", 61000)),
        (10, candidate(1, "2001:db8::1", 50000)),
    ]


@check("offer-body-further")
def _offer_body_further(name: str) -> None:
    head = [(1, 1), (2, 1_700_000_000), (3, 1_700_000_600), (4, x(4)), (5, x(0x12)), (6, x(5)), (7, 7), (8, 2), (9, 3)]
    *found, (number, candidate), step, direct_only = records(pages.read(name))
    assert isinstance(candidate, bytes)
    assert (found, number, step, direct_only) == (head, 10, (11, 3), (12, 1))  # 3 is -2 in zigzag
    assert list(records(candidate)) == [(1, 3), (2, 1), (3, bytes([203, 0, 113, 5])), (4, 40000)]


@check("offer-signed", "offer-context")
def _offer_statement(name: str) -> None:
    label, *rest = fields_of(pages.read(name))
    pair = [VERSION, pages.read("peer-id-0"), pages.read("peer-id-1")]
    if name == "offer-signed":
        assert (label, rest) == (b"punchwire offer", [*pair, pages.read("offer-body")])
    else:
        assert (label, rest) == (b"punchwire sealed offer", pair)


@check("offer-sealed")
def _sealed(name: str) -> None:
    sealed, context = pages.read(name), pages.read("offer-context")
    version, n = struct.unpack_from(">BH", sealed)
    assert version == 1
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), context)
    content = AESGCM(private_key(1).decrypt(sealed[3 : 3 + n], oaep)).decrypt(bytes(12), sealed[3 + n :], context)
    (m,) = struct.unpack_from(">H", content)
    verify(0, pages.read("offer-signed"), content[2 : 2 + m])
    assert content[2 + m :] == pages.read("offer-body")


@check("session-id")
def _session_id(name: str) -> None:
    encoded = join("punchwire session id", VERSION, x(1), x(2), x(6), x(7))
    assert pages.read(name) == hashlib.sha256(encoded).digest()


@check(
    *(
        f"punch-key-{role}-{use}"
        for role in ("initiator", "responder")
        for use in ("udp-probe", "tcp-preamble", "rejoin")
    )
)
def _punch_key(name: str) -> None:
    _, _, role, use = name.split("-", 3)
    info = join("punchwire punch key", VERSION, x(5), role.encode(), use.encode())
    extracted = hmac.digest(bytes(32), x(0x11) + x(0x12), "sha256")  # RFC 5869 §2.2
    assert pages.read(name) == hmac.digest(extracted, info + b"\x01", "sha256")  # §2.3, one block
