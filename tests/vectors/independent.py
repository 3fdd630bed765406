"""A second reading of the pages: decodes and verifies every golden block without a line of Punchwire's own code.

Written from docs/protocol/ with the standard library, `cryptography` and `blake3` alone, as a second
implementation would be. `CHECKS` has one check for each block; a check fails by an exception.
"""

import base64
import hashlib
import hmac
import ipaddress
import string
import struct
from collections.abc import Callable, Iterator

from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.vectors import pages

__all__ = ["CHECKS"]

CHECKS: dict[str, Callable[[], None]] = {}


def check(*names: str) -> Callable[[Callable[[str], None]], Callable[[str], None]]:
    """Register a check for the blocks `names`."""

    def register(function: Callable[[str], None]) -> Callable[[str], None]:
        for name in names:
            assert name not in CHECKS
            CHECKS[name] = lambda name=name: function(name)  # type: ignore[misc]
        return function

    return register


# Field encoding (identity.md).


def fields_of(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        at += 4
        assert at + length <= len(data)
        found.append(data[at : at + length])
        at += length
    return found


def join(label: str, *fields: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in (label.encode(), *fields))


VERSION = b"\x00\x01"


def x(byte: int, count: int = 32) -> bytes:
    return bytes([byte] * count)


@check("fields")
def _fields(name: str) -> None:
    assert fields_of(pages.read(name)) == [b"punchwire example", b"", b"a", b"\x00\xff"]


# Identities.

OFFSETS = {0: (182, 1854), 1: (528, 768)}


def private_key(n: int) -> rsa.RSAPrivateKey:
    primes = []
    for letter, offset in zip("pq", OFFSETS[n], strict=True):
        digits = "".join(
            hashlib.sha256(f"punchwire test key {n} {letter} {i}".encode("ascii")).hexdigest() for i in range(4)
        )
        primes.append((int(digits, 16) | 1 << 1023 | 1 << 1022 | 1) + offset)
    p, q = max(primes), min(primes)
    d = pow(65537, -1, (p - 1) * (q - 1))
    public = rsa.RSAPublicNumbers(65537, p * q)
    return rsa.RSAPrivateNumbers(p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), public).private_key()


def public_key(n: int) -> rsa.RSAPublicKey:
    key = load_der_public_key(pages.read(f"public-key-{n}"))
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def verify(n: int, message: bytes, signature: bytes) -> None:
    public_key(n).verify(signature, message, padding.PSS(padding.MGF1(hashes.SHA256()), 32), hashes.SHA256())


@check("public-key-0", "public-key-1")
def _public_key(name: str) -> None:
    n = int(name[-1])
    assert public_key(n).public_numbers() == private_key(n).public_key().public_numbers()


@check("peer-id-0", "peer-id-1")
def _peer_id(name: str) -> None:
    assert pages.read(name) == hashlib.sha256(pages.read(f"public-key-{name[-1]}")).digest()


@check("peer-id-0-printed")
def _printed(name: str) -> None:
    text = pages.read_text(name)
    assert text == text.lower()
    assert len(text) == 52
    assert base64.b32decode(text.upper() + "====") == pages.read("peer-id-0")


@check("peer-id-0-short")
def _short(name: str) -> None:
    assert pages.read_text(name) == pages.read_text("peer-id-0-printed")[:8]


@check("peer-id-0-words")
def _spoken(name: str) -> None:
    lists = [pages.read_text("words-even").split(), pages.read_text("words-odd").split()]
    spoken = bytes(lists[place % 2].index(word) for place, word in enumerate(pages.read_text(name).split()))
    assert spoken == pages.read("peer-id-0")[:12]


@check("words-even", "words-odd")
def _words(name: str) -> None:
    words = pages.read_text(name).split()
    assert len(words) == 256
    assert len(set(words)) == 256


# Key proof.

TO_PEER = [x(1), x(2), x(3), x(4), x(5), x(6), x(7), bytes(4)]
EXPORTER = [b"exporter+certificate", x(8) + x(9)]


@check(
    "transcript-mediator-certificate",
    "transcript-mediator-none",
    "transcript-tcp-initiator",
    "transcript-tcp-responder",
)
def _transcript(name: str) -> None:
    label, version, *rest = fields_of(pages.read(name))
    assert (label, version) == (b"punchwire key proof", VERSION)
    to_mediator = [b"peer-to-mediator", b"initiator", b"mediator"]
    assert (
        rest
        == {
            "transcript-mediator-certificate": [
                *to_mediator,
                b"certificate",
                x(9),
                x(1),
                x(2),
                x(3),
                x(4),
                b"",
                b"",
                b"",
                bytes(4),
            ],
            "transcript-mediator-none": [*to_mediator, b"none", b"", x(1), b"", x(3), x(4), b"", b"", b"", bytes(4)],
            "transcript-tcp-initiator": [b"peer-to-peer", b"initiator", b"tcp", *EXPORTER, *TO_PEER],
            "transcript-tcp-responder": [b"peer-to-peer", b"responder", b"tcp", *EXPORTER, *TO_PEER],
        }[name]
    )


@check("proof-tcp-initiator")
def _proof(name: str) -> None:
    verify(0, pages.read("transcript-tcp-initiator"), pages.read(name))


# Protobuf, as much of it as is needed (protobuf.dev/programming-guides/encoding).


def varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def records(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        value, at = varint(message, at)
        if wire_type == 2:
            assert at + value <= len(message)
            yield number, message[at : at + value]
            at += value
        else:
            assert wire_type == 0
            yield number, value


# Offers.


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


@check("session-id-unmediated", "session-id-unmediated-token")
def _session_id_unmediated(name: str) -> None:
    read = x(6) if name.endswith("token") else b""
    encoded = join("punchwire session id without a mediator", VERSION, x(1), x(2), x(3), x(4), read, b"")
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


# Punching.


@check("preamble-hello-initiator", "preamble-hello-responder", "preamble-nominate")
def _preamble(name: str) -> None:
    kind, role, nonce, sender = {
        "preamble-hello-initiator": (1, 1, x(0x21, 16), "initiator"),
        "preamble-hello-responder": (1, 2, x(0x22, 16), "responder"),
        "preamble-nominate": (2, 1, x(0x22, 16), "initiator"),
    }[name]
    preamble = pages.read(name)
    assert len(preamble) == 40
    assert preamble[:24] == b"PWT\x01" + bytes([kind, role, 0, 0]) + nonce
    key = pages.read(f"punch-key-{sender}-tcp-preamble")
    assert preamble[24:] == hmac.new(key, preamble[:24], hashlib.sha256).digest()[:16]


@check("probe-initiator", "probe-answer-responder", "probe-nominate")
def _probe(name: str) -> None:
    kind, role, nonce, sender = {
        "probe-initiator": (1, 1, x(0x31, 16), "initiator"),
        "probe-answer-responder": (2, 2, x(0x31, 16), "responder"),
        "probe-nominate": (3, 1, x(0x32, 16), "initiator"),
    }[name]
    probe = pages.read(name)
    assert len(probe) == 40
    assert probe[:24] == b"\x9fPW\x01" + bytes([kind, role, 0, 0]) + nonce
    key = pages.read(f"punch-key-{sender}-udp-probe")
    assert probe[24:] == hmac.new(key, probe[:24], hashlib.sha256).digest()[:16]


@check("rejoin-initiator")
def _rejoin(name: str) -> None:
    signal = pages.read(name)
    assert len(signal) == 24
    assert signal[:8] == b"PWR\x01" + struct.pack(">I", 7)
    key = pages.read("punch-key-initiator-rejoin")
    assert signal[8:] == hmac.new(key, signal[:8], hashlib.sha256).digest()[:16]


@check("stun-request", "stun-response-ipv4", "stun-response-ipv6")
def _stun(name: str) -> None:
    message = pages.read(name)
    kind, length, cookie = struct.unpack_from(">HHI", message)
    assert (length, cookie) == (len(message) - 20, 0x2112A442)
    assert message[8:20] == bytes.fromhex("b7e7a701bc34d686fa87dfae")
    # RFC 5769: the request's type, and the XOR-MAPPED-ADDRESS of §2.2 and §2.3.
    expected = {
        "stun-request": (0x0001, ""),
        "stun-response-ipv4": (0x0101, "002000080001a147e112a643"),
        "stun-response-ipv6": (0x0101, "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"),
    }
    assert (kind, message[20:].hex()) == expected[name]


# Session.

MILLISECONDS, MTIME = 1_700_000_000_123, 1_700_000_000 * 10**9
SIGNATURE, ROOT = x(5, 256), x(7)
CONTROL: dict[str, tuple[int, list[tuple[int, int | bytes]]]] = {
    "frame-message": (0x02, [(1, 1), (2, MILLISECONDS), (3, b"hello"), (4, SIGNATURE)]),
    "frame-message-ack": (0x03, [(1, 1)]),
    "frame-transfer-offer": (0x04, [(1, 1), (2, 5), (3, 12), (4, 4096)]),
    "frame-have": (0x0F, [(1, 1), (3, x(7) + x(8))]),
    "frame-transfer-answer-all": (0x05, [(1, 1), (2, 1)]),
    "frame-transfer-answer-some": (0x05, [(1, 1), (2, 1), (4, b"\x17")]),
    "frame-transfer-answer-refused": (0x05, [(1, 1), (3, b"no")]),
    "frame-file-failed": (0x10, [(1, 1), (2, 3), (3, b"gone")]),
    "frame-stream-end": (0x11, [(1, 1), (2, 4097)]),
    "frame-verified": (0x12, [(1, 1), (2, 2)]),
    "frame-transfer-end": (0x06, [(1, 1), (2, ROOT), (3, b"\x08"), (4, SIGNATURE)]),
    "frame-transfer-receipt": (0x07, [(1, 1), (2, MILLISECONDS), (3, b"\x12"), (4, SIGNATURE)]),
    "frame-cancel": (0x08, [(1, 1), (2, b"disk full")]),
    "frame-done": (0x09, []),
    "frame-close": (0x0A, [(1, b"bye")]),
    "frame-ping": (0x0B, [(1, 7)]),
    "frame-pong": (0x0C, [(1, 7), (2, 300)]),
    "frame-introduction": (0x13, [(1, 1), (2, b"\x0a\x0b\x0c"), (3, x(3))]),
    "frame-introduction-token-read": (0x13, [(1, 1), (2, b"\x0a\x0b\x0c"), (3, x(3)), (4, x(6))]),
    "frame-chosen": (0x14, []),
    "frame-resume": (0x0D, [(1, 300), (2, b"\x08\x01\x10\x05"), (2, b"\x08\x02")]),
}


def body_of(frame: bytes, kind: int) -> bytes:
    assert struct.unpack_from(">IB", frame) == (len(frame) - 5, kind)
    return frame[5:]


@check("frame-key-proof")
def _key_proof(name: str) -> None:
    assert body_of(pages.read(name), 0x01) == SIGNATURE


@check(*CONTROL)
def _control(name: str) -> None:
    kind, expected = CONTROL[name]
    assert list(records(body_of(pages.read(name), kind))) == expected


@check("frame-entries")
def _entries(name: str) -> None:
    rows = ((1, -1, 0, 0o755, 0), (0, 0, 5, 0o644, MTIME), (2, 0, 0, 0, 0), (0, 0, 7, 0, 0), (3, -1, 0, 0, 0))
    packed = struct.pack(">H", 5) + b"".join(struct.pack(">BiQHQ", *row) for row in rows)
    packed += b"photos\0a.txt\0latest\0a.txt\0b.txt\0stdin\0"
    assert list(records(body_of(pages.read(name), 0x0E))) == [(1, 1), (2, packed)]


@check("frame-blocks", "frame-blocks-begun")
def _blocks(name: str) -> None:
    body = body_of(pages.read(name), 0x40)
    assert struct.unpack_from(">IIIH", body) == (1, 0, 12, 2)
    assert body[14:78] == blake3(b"hello").digest() + blake3(b"goodbye").digest()
    assert body[78:] == {"frame-blocks": b"hellogoodbye", "frame-blocks-begun": b"hel"}[name]


@check("frame-part")
def _part(name: str) -> None:
    assert body_of(pages.read(name), 0x41) == b"logoodbye"


@check("root-hello", "root-two-blocks", "root-empty")
def _root(name: str) -> None:
    blocks = {"root-hello": [b"hello"], "root-two-blocks": [bytes(4096), b"x"], "root-empty": []}[name]
    covered = b"".join(blake3(block).digest() for block in blocks)
    covered += struct.pack(">QI", sum(len(block) for block in blocks), 4096)
    assert pages.read(name) == blake3(covered, derive_key_context="punchwire file root v1").digest()


@check("root-transfer")
def _transfer_root(name: str) -> None:
    covered = struct.pack(">I", 4096)
    for kind, parent, text, size, mode, mtime, target, leaf in (
        (1, 0, b"photos", 0, 0o755, 0, b"", b""),
        (0, 1, b"a.txt", 5, 0o644, 1700000000000000000, b"", pages.read("root-hello")),
        (2, 1, b"latest", 0, 0, 0, b"a.txt", b""),
        (0, 1, b"b.txt", 7, 0, 0, b"", x(0)),
        (3, 0, b"stdin", 4097, 0, 0, b"", pages.read("root-two-blocks")),
    ):
        covered += struct.pack(">BIQHQHH", kind, parent, size, mode, mtime, len(text), len(target))
        covered += text + target + leaf
    assert pages.read(name) == blake3(covered, derive_key_context="punchwire transfer root v1").digest()


@check("journal-received")
def _journal(name: str) -> None:
    data = pages.read(name)
    assert data[:20] == b"PWJ\x01" + bytes(range(16))
    link, at, mtime = data[4:20], 20, 1700000000000000000
    for kind, body in (
        (1, b"\x01" + x(1) + struct.pack(">I", 2**20)),
        (7, b"a boot"),
        (2, struct.pack(">HBiQHQBiQHQ", 2, 1, -1, 0, 0o755, mtime, 0, 0, 3, 0o644, mtime) + b"b\0f\0"),
        (3, struct.pack(">I", 0) + b"b (1)"),
        (4, struct.pack(">IQQqq", 1, 1000, 3, mtime, 0)),
        (5, struct.pack(">I", 0) + blake3(b"abc").digest()),
        (8, None),
        (6, struct.pack(">II", 0, 1)),
    ):
        content = struct.pack(">Q", at) if body is None else body
        link = blake3(link + bytes([kind]) + content).digest()[:8]
        record = struct.pack(">IB", len(content), kind) + content + link
        assert data[at : at + len(record)] == record
        at += len(record)
    assert at == len(data)


@check("statement-message", "statement-transfer-root", "statement-transfer-receipt")
def _statement(name: str) -> None:
    stored = MILLISECONDS.to_bytes(8, "big")
    by_initiator = [VERSION, x(5), x(1), x(2), b"initiator"]
    by_responder = [VERSION, x(5), x(2), x(1), b"responder"]
    transfer = [b"\x00\x00\x00\x01", pages.read("root-transfer")]
    missing = struct.pack(">IIII", 1, 1, 4, 1)
    assert (
        fields_of(pages.read(name))
        == {
            "statement-message": [b"punchwire message", *by_initiator, (1).to_bytes(8, "big"), stored, b"hello"],
            "statement-transfer-root": [b"punchwire transfer root", *by_initiator, *transfer],
            "statement-transfer-receipt": [b"punchwire transfer receipt", *by_responder, *transfer, missing, stored],
        }[name]
    )


# Tokens.

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


@check("token-key")
def _token_key(name: str) -> None:
    salt = join("punchwire token key", b"1", (ISSUED // 3600).to_bytes(4, "big"))
    assert pages.read(name) == Scrypt(salt=salt, length=64, n=65536, r=8, p=2).derive(b"blue cat")


@check("token-text")
def _token_text(name: str) -> None:
    text = pages.read_text(name)
    assert len(text) == 118
    assert token_of(text, pages.read("token-key")) == (ISSUED, pages.read("token-content"))


@check("token-hash")
def _token_hash(name: str) -> None:
    assert pages.read(name) == hashlib.sha256(pages.read_text("token-text").encode()).digest()
