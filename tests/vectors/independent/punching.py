"""Preambles, probes, STUN, and what gateways are asked and answer (punching.md)."""

import hashlib
import hmac
import ipaddress
import struct

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import x


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


def mapped(ip: str) -> bytes:
    """An IPv4 address as PCP writes it (RFC 6887 §5)."""
    return bytes(10) + b"\xff\xff" + ipaddress.IPv4Address(ip).packed


@check("pcp-announce", "pcp-map", "pcp-mapped")
def _pcp(name: str) -> None:
    asked = x(0x41, 12) + b"\x11\0\0\0" + struct.pack(">H", 50000)  # RFC 6887 §11.1: nonce, UDP, internal port
    expected = {
        "pcp-announce": bytes([2, 0, 0, 0]) + bytes(4) + mapped("192.168.1.2"),
        "pcp-map": struct.pack(">BBHI", 2, 1, 0, 7200)
        + mapped("192.168.1.2")
        + asked
        + struct.pack(">H", 50000)
        + mapped("0.0.0.0"),
        "pcp-mapped": struct.pack(">BBBBII", 2, 128 + 1, 0, 0, 3600, 1000)
        + bytes(12)
        + asked
        + struct.pack(">H", 50001)
        + mapped("203.0.113.5"),
    }
    assert pages.read(name) == expected[name]


@check("nat-pmp-external", "nat-pmp-external-answer", "nat-pmp-map", "nat-pmp-mapped")
def _nat_pmp(name: str) -> None:
    expected = {  # RFC 6886 §3.2, §3.3
        "nat-pmp-external": b"\0\0",
        "nat-pmp-external-answer": struct.pack(">BBHI", 0, 128, 0, 1000) + ipaddress.IPv4Address("203.0.113.5").packed,
        "nat-pmp-map": struct.pack(">BBHHHI", 0, 2, 0, 50000, 50000, 7200),
        "nat-pmp-mapped": struct.pack(">BBHIHHI", 0, 128 + 2, 0, 1000, 50000, 50001, 3600),
    }
    assert pages.read(name) == expected[name]
