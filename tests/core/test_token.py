import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits, token_sealing
from p2p_core.errors import LocalProtocolError, Malformed, TokenRejected
from p2p_core.targets import MAX_TARGETS, dialable
from p2p_core.token_sealing import open_token, seal_token
from p2p_core.wire import token as wire
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_core.wire.token import MAX_LIFE, Token, fitting
from p2p_core.wire.token_text import SealedToken

from tests.core.two_peers import NOW
from tests.core.wire_strategies import CANDIDATES, TOKENS, mutated

HOST, REFLEXIVE, MAPPED, RELAY = (
    CandidateKind.HOST,
    CandidateKind.SERVER_REFLEXIVE,
    CandidateKind.MAPPED,
    CandidateKind.RELAY,
)
TCP, UDP = Transport.TCP, Transport.UDP
KEY = bytes(range(64))
SIV = AESSIV(KEY)


def candidate(kind: CandidateKind, transport: Transport, ip: str, port: int) -> Candidate:
    return Candidate(kind, transport, Address.of(ip, port))


def both(kind: CandidateKind, ip: str, tcp: int, udp: int) -> tuple[Candidate, ...]:
    return candidate(kind, TCP, ip, tcp), candidate(kind, UDP, ip, udp)


def token(*candidates: Candidate, **changes: object) -> Token:
    plain = Token(NOW, NOW + 600, b"\x11" * 12, b"\x22" * 16, fitting(candidates))
    return replace(plain, **changes)  # type: ignore[arg-type]


def text_length(it: Token) -> int:
    return len(seal_token(it, KEY).text)


BARE = wire.encode(token())


def content(*, life: int = 600, addresses: bytes = b"") -> bytes:
    """Return a content made by hand, with no mapping behaviour known."""
    return (life << 4).to_bytes(2, "big") + BARE[2:] + addresses


@given(TOKENS)
def test_a_token_survives(sent: Token) -> None:
    assert wire.decode(wire.encode(sent), sent.issued) == sent


@given(st.lists(CANDIDATES, max_size=limits.MAX_CANDIDATES))
def test_candidates_that_fit_all_arrive(candidates: list[Candidate]) -> None:
    chosen = fitting(candidates)
    assert set(chosen) <= set(candidates)
    assert fitting(chosen) == chosen
    assert len(wire.encode(token(*candidates))) <= wire.MAX_CONTENT_BYTES
    kinds = {one.kind for one in candidates} - {RELAY}
    assert bool(chosen) is bool(kinds)


TYPICAL = (
    *both(REFLEXIVE, "198.51.100.7", 61000, 62000),
    *both(HOST, "192.168.1.2", 50000, 40000),
    *both(HOST, "2001:db8::1", 50000, 40000),
)


def test_a_typical_token_has_120_characters_at_most() -> None:
    """Two IPv4 addresses and one of IPv6, UDP and TCP on each; a NAT that changes every port."""
    it = token(*TYPICAL)
    assert len(it.candidates) == 6
    assert text_length(it) == 119
    same = token(*TYPICAL[:2], *both(HOST, "192.168.1.2", 50000, 50000), *both(HOST, "2001:db8::1", 50000, 50000))
    assert text_length(same) == 117
    assert text_length(replace(same, udp_mapping=Mapping.SEQUENTIAL, udp_port_step=1)) == 118


@pytest.mark.parametrize(
    ("candidates", "length"),
    [
        ((), 72),
        (both(HOST, "192.168.1.2", 50000, 50000), 82),
        (
            (
                *both(REFLEXIVE, "198.51.100.7", 50000, 50000),
                *both(HOST, "192.168.1.2", 50000, 50000),
                *both(HOST, "2001:db8::1", 50000, 50000),
            ),
            111,
        ),
        (
            (
                *both(REFLEXIVE, "198.51.100.7", 61000, 62000),
                *both(HOST, "192.168.1.2", 50000, 40000),
                *both(HOST, "2001:db8::1", 50000, 40001),
            ),
            122,
        ),
    ],
)
def test_a_token_is_as_long_as_what_it_says(candidates: tuple[Candidate, ...], length: int) -> None:
    assert text_length(token(*candidates)) == length


def test_the_longest_token_has_154_characters() -> None:
    narrow = [candidate(HOST, TCP, f"10.0.0.{n}", 5000 + n) for n in range(6)]  # 7 bytes each
    wide = (*both(MAPPED, "203.0.113.5", 1, 2), *both(REFLEXIVE, "203.0.113.5", 3, 4))  # 9 bytes each
    full = token(*wide, *narrow, udp_mapping=Mapping.SEQUENTIAL, udp_port_step=-128)
    assert len(full.candidates) == 10
    assert len(wire.encode(full)) == wire.MAX_CONTENT_BYTES
    assert text_length(full) == 154


def test_what_does_not_fit_is_left_out_the_least_useful_first() -> None:
    wide = [candidate(HOST, UDP, f"2001:db8::{n}", n) for n in range(1, 5)]
    narrow = candidate(HOST, UDP, "192.0.2.1", 5)
    assert fitting(wide) == tuple(wide[:3])
    assert fitting([*wide, narrow]) == tuple(wide[:3])  # 57 bytes, and 7 more are too many
    assert fitting([*wide[:2], *both(MAPPED, "192.0.2.9", 1, 2), *wide[2:], narrow]) == (
        *wide[:2],
        *both(MAPPED, "192.0.2.9", 1, 2),
        narrow,
    )


def test_a_relay_is_no_candidate_of_a_token() -> None:
    assert fitting([candidate(RELAY, TCP, "192.0.2.1", 1)]) == ()


def test_candidates_are_put_together_by_address() -> None:
    tcp, udp = both(HOST, "192.0.2.1", 1, 2)
    other = candidate(REFLEXIVE, TCP, "192.0.2.1", 1)
    again = candidate(HOST, UDP, "192.0.2.1", 3)
    assert fitting([udp, other, again, tcp, udp]) == (tcp, udp, other, again)


@pytest.mark.parametrize("life", [0, -1, MAX_LIFE + 1])
def test_a_token_that_no_one_would_take_is_not_written(life: int) -> None:
    with pytest.raises(LocalProtocolError):
        wire.encode(token(expires=NOW + life))


def test_a_token_with_too_many_addresses_is_not_written() -> None:
    many = tuple(candidate(HOST, UDP, f"2001:db8::{n}", n) for n in range(1, 5))
    with pytest.raises(LocalProtocolError):
        wire.encode(replace(token(), candidates=many))


@pytest.mark.parametrize("life", [1, MAX_LIFE])
def test_lives_are_taken_up_to_an_hour(life: int) -> None:
    assert wire.decode(content(life=life), NOW) == token(expires=NOW + life)


IPV4 = b"\xc0\x00\x02\x01"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        BARE[:-1],
        content(life=0),
        content(life=MAX_LIFE + 1),
        content(life=4095),
        content(addresses=b"\x08"),  # TCP written, and nothing behind
        content(addresses=b"\x08" + IPV4),
        content(addresses=b"\x08" + IPV4 + b"\x01"),
        content(addresses=b"\x0a" + IPV4 + b"\x01\x02\x03"),
        content(addresses=b"\x28" + IPV4 + b"\x01\x02"),  # IPv6, and IPv4 behind
        content(addresses=b"\x08" + IPV4 + b"\x01\x02\x00"),  # a byte too many
        content(addresses=b"\x08" + IPV4 + b"\x00\x00"),  # port 0
        content(addresses=b"\x09" + IPV4 + b"\x01\x02"),  # the bit that is 0
        content(addresses=b"\xc8" + IPV4 + b"\x01\x02"),  # kind 3
        content(addresses=b"\x18" + IPV4 + b"\x01\x02"),  # TCP at the address's TCP port
        content(addresses=b"\x00" + IPV4),  # no port at all
        content(addresses=b"\x06" + IPV4),  # UDP at the TCP port of an address without one
        content(addresses=b"\x08" + IPV4 + b"\x01\x02" + b"\x06" + IPV4),
        content(addresses=b"\x10" + IPV4),  # the last port before the first
        content(addresses=b"\x08" + IPV4 + b"\x01\x02" + b"\x04" + IPV4),
        content(addresses=(b"\x08" + IPV4 + b"\x01\x02") * 9),
        BARE[:1] + b"\x88" + BARE[2:],  # a sequential NAT without a step
    ],
)
def test_what_breaks_a_rule_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        wire.decode(data, NOW)


def test_entries_made_by_hand_are_read() -> None:
    addresses = b"\x0e" + IPV4 + b"\x01\x02" + b"\x94" + IPV4 + b"\x42" + IPV4 + b"\x01\x03"
    assert wire.decode(content(addresses=addresses), NOW).candidates == (
        *both(HOST, "192.0.2.1", 258, 258),
        *both(MAPPED, "192.0.2.1", 258, 258),
        candidate(REFLEXIVE, UDP, "192.0.2.1", 259),
    )


def test_a_mapped_ipv6_address_is_the_ipv4_address() -> None:
    hostile = content(addresses=b"\x28" + bytes(10) + b"\xff\xff\x7f\x00\x00\x01" + b"\x00\x16")
    assert wire.decode(hostile, NOW).candidates == (candidate(HOST, TCP, "127.0.0.1", 22),)


def test_a_token_names_fewer_addresses_than_are_dialled() -> None:
    """No content is read as more than an offer may have, however tightly it is packed."""
    packed = b"\x0e" + IPV4 + b"\x01\x02" + (b"\x14" + IPV4) * 10
    assert len(wire.decode(content(addresses=packed), NOW).candidates) == 22 <= limits.MAX_CANDIDATES
    with pytest.raises(Malformed):
        wire.decode(content(addresses=packed + b"\x14" + IPV4), NOW)


def within_bounds(it: Token) -> bool:
    return (
        1 <= it.expires - it.issued <= MAX_LIFE
        and (len(it.share), len(it.fingerprint)) == (12, 16)
        and len(it.candidates) <= limits.MAX_CANDIDATES
        and all(1 <= one.address.port <= 65535 and one.kind is not RELAY for one in it.candidates)
        and -128 <= it.udp_port_step <= 127
        and (it.udp_mapping is Mapping.SEQUENTIAL or it.udp_port_step == 0)
    )


@given(st.binary(max_size=100) | mutated(TOKENS.map(wire.encode)))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        found = wire.decode(data, NOW)
    except Malformed:
        return
    assert within_bounds(found)


CONTENTS = [
    wire.encode(token(*TYPICAL)),
    wire.encode(token(*TYPICAL, udp_mapping=Mapping.SEQUENTIAL, udp_port_step=2)),
    wire.encode(token(*both(MAPPED, "192.0.2.1", 1, 65535), *both(HOST, "127.0.0.1", 1, 1))),
    BARE,
]


def change(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] = chance.randrange(256)


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randint(1, 8)]


def insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.randbytes(chance.randint(1, 8))


def new_addresses(data: bytearray, chance: random.Random) -> None:
    data[wire.MIN_CONTENT_BYTES :] = chance.randbytes(chance.randrange(70))


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [change, flip, cut, insert, new_addresses]


def test_10_000_mutated_contents_under_a_valid_key() -> None:
    """Each does not parse, or is a token within all bounds, with no more to dial than in an offer."""
    chance = random.Random(6)
    refused = taken = 0
    for _ in range(10_000):
        data = bytearray(chance.choice(CONTENTS))
        for _ in range(chance.randint(1, 3)):
            if data:
                chance.choice(MUTATIONS)(data, chance)
        sealed = SealedToken(NOW, SIV.encrypt(bytes(data) or b"\0", token_sealing._context(NOW)))
        try:
            found = open_token(sealed, KEY)
        except TokenRejected:
            refused += 1
        else:
            assert within_bounds(found)
            for transport in Transport:
                targets = dialable(found.candidates, transport, own=())
                assert len(targets) <= MAX_TARGETS
                assert not [one for one in targets if one.ip.is_loopback or one.ip.is_multicast]
            taken += 1
    assert refused > 2000
    assert taken > 2000
