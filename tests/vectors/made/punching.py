"""Preambles, probes, STUN, and what gateways are asked and answer (punching.md)."""

import struct
from ipaddress import IPv4Address

from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose
from p2p_core.wire import nat_pmp, pcp, stun
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.probe import Probe, ProbeKind

from tests.vectors.made.inputs import Blocks, of
from tests.vectors.made.punch_keys import punch_key

PREAMBLES = {
    "preamble-hello-initiator": Preamble(PreambleKind.HELLO, Role.INITIATOR, of(0x21, 16)),
    "preamble-hello-responder": Preamble(PreambleKind.HELLO, Role.RESPONDER, of(0x22, 16)),
    "preamble-nominate": Preamble(PreambleKind.NOMINATE, Role.INITIATOR, of(0x22, 16)),
}

PROBES = {
    "probe-initiator": Probe(ProbeKind.PROBE, Role.INITIATOR, of(0x31, 16)),
    "probe-answer-responder": Probe(ProbeKind.ANSWER, Role.RESPONDER, of(0x31, 16)),
    "probe-nominate": Probe(ProbeKind.NOMINATE, Role.INITIATOR, of(0x32, 16)),
}

_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
STUN: dict[str, stun.BindingRequest | stun.BindingResponse] = {
    "stun-request": stun.BindingRequest(_TRANSACTION),
    "stun-response-ipv4": stun.BindingResponse(_TRANSACTION, Address.of("192.0.2.1", 32853)),
    "stun-response-ipv6": stun.BindingResponse(_TRANSACTION, Address.of("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
}


_OWN, _OUTSIDE, _NONCE = IPv4Address("192.168.1.2"), Address.of("203.0.113.5", 50001), of(0x41, 12)
GATEWAY_ANSWERS: dict[str, object] = {
    "pcp-mapped": pcp.Mapped(_NONCE, Transport.UDP, 50000, _OUTSIDE, 3600),
    "nat-pmp-external-answer": nat_pmp.ExternalAddress(IPv4Address("203.0.113.5")),
    "nat-pmp-mapped": nat_pmp.Mapped(Transport.TCP, 50000, 50001, 3600),
}


def _gateway() -> Blocks:
    """Only what is asked has an encoder: the answers are a router's."""
    mapped = b"".join((bytes(10), b"\xff\xff", _OUTSIDE.ip.packed))
    return {
        "pcp-announce": pcp.AnnounceRequest(_OWN).encode(),
        "pcp-map": pcp.MapRequest(_OWN, _NONCE, Transport.UDP, 50000, None, 7200).encode(),
        "pcp-mapped": struct.pack(">BBBBII12x12sB3xHH16s", 2, 129, 0, 0, 3600, 1000, _NONCE, 17, 50000, 50001, mapped),
        "nat-pmp-external": nat_pmp.ExternalAddressRequest().encode(),
        "nat-pmp-external-answer": struct.pack(">BBHI4s", 0, 128, 0, 1000, _OUTSIDE.ip.packed),
        "nat-pmp-map": nat_pmp.MapRequest(Transport.TCP, 50000, 50000, 7200).encode(),
        "nat-pmp-mapped": struct.pack(">BBHIHHI", 0, 130, 0, 1000, 50000, 50001, 3600),
    }


def blocks() -> Blocks:
    return {
        **_gateway(),
        **{name: it.encode(punch_key(it.role, PunchPurpose.TCP_PREAMBLE)) for name, it in PREAMBLES.items()},
        **{name: it.encode(punch_key(it.role, PunchPurpose.UDP_PROBE)) for name, it in PROBES.items()},
        **{name: message.encode() for name, message in STUN.items()},
    }
