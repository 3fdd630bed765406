from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.errors import Malformed
from p2p_core.wire import offer as wire
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping, Offer
from p2p_proto import offer_pb2 as pb

from tests.core.two_peers import offer
from tests.core.wire_strategies import OFFERS, mutated

CANDIDATE = Candidate(CandidateKind.HOST, Transport.TCP, Address.of("192.0.2.1", 5000))
OFFER = offer(candidates=(CANDIDATE,))


def body(**changes: object) -> pb.OfferBody:
    found = pb.OfferBody.FromString(wire.encode(OFFER))
    for name, value in changes.items():
        setattr(found, name, value)
    return found


@given(OFFERS)
def test_an_offer_survives(sent: Offer) -> None:
    assert wire.decode(wire.encode(sent)) == sent


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 0},
        {"version": 2},
        {"nonce": bytes(31)},
        {"nonce": b""},
        {"punch_share": bytes(33)},
        {"session_id": bytes(16), "channel": 1},
        {"session_id": bytes(32)},
        {"channel": 1},
    ],
)
def test_what_breaks_a_rule_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(Malformed):
        wire.decode(body(**changes).SerializeToString())


@pytest.mark.parametrize(("ip", "port"), [(b"", 1), (bytes(5), 1), (b"\x01" * 4, 0), (b"\x01" * 4, 65536)])
def test_an_address_that_does_not_exist_is_refused(ip: bytes, port: int) -> None:
    hostile = body()
    hostile.candidates.add(kind=pb.HOST, transport=pb.OVER_TCP, ip=ip, port=port)
    with pytest.raises(Malformed):
        wire.decode(hostile.SerializeToString())


def test_too_many_candidates_are_refused() -> None:
    most = replace(OFFER, candidates=(CANDIDATE,) * limits.MAX_CANDIDATES)
    assert wire.decode(wire.encode(most)) == most
    with pytest.raises(Malformed):
        wire.decode(wire.encode(replace(OFFER, candidates=(CANDIDATE,) * (limits.MAX_CANDIDATES + 1))))


def test_what_a_later_version_adds_is_passed_over() -> None:
    later = body(udp_mapping=99)
    later.candidates.add(kind=77, transport=pb.OVER_TCP, ip=bytes(3), port=0)
    later.candidates.add(kind=pb.HOST, transport=77, ip=bytes(3), port=0)
    later.candidates.add()
    unknown_field = b"\xfa\x07\x03abc"  # field 127, bytes
    found = wire.decode(later.SerializeToString() + unknown_field)
    assert found == replace(OFFER, udp_mapping=Mapping.UNKNOWN)


@given(st.binary(max_size=200) | mutated(OFFERS.map(wire.encode)))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        found = wire.decode(data)
    except Malformed:
        return
    assert wire.decode(wire.encode(found)) == found
