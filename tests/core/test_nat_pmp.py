from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.wire import nat_pmp
from p2p_core.wire.candidate import Transport
from p2p_core.wire.nat_pmp import ExternalAddress, ExternalAddressRequest, Mapped, MapRequest, Refused

from tests.core.wire_strategies import mutated

# By hand, from the figures of RFC 6886 §3.2 and §3.3.
GOLDEN_REQUESTS = {
    "0000": ExternalAddressRequest(),
    "0001 0000 9c40 9c41 00001c20": MapRequest(Transport.UDP, 40000, 40001, 7200),
    "0002 0000 9c40 0000 00000000": MapRequest(Transport.TCP, 40000, 0, 0),
}
GOLDEN_ANSWERS = {
    "0080 0000 00000e10 cb007165": ExternalAddress(IPv4Address("203.0.113.101")),
    "0081 0000 00000e10 9c40 9c41 00001c20": Mapped(Transport.UDP, 40000, 40001, 7200),
    "0082 0000 00000e10 9c40 0000 00000000": Mapped(Transport.TCP, 40000, 0, 0),
    "0080 0003 00000e10 00000000": Refused(None, 3),
    "0081 0002 00000e10 9c40 0000 00000000": Refused(Transport.UDP, 2),
    "0082 0004 00000e10": Refused(Transport.TCP, 4),
    "0083 0005 00000e10": Refused(None, 5),
}
ANSWERS = st.sampled_from([bytes.fromhex(answer) for answer in GOLDEN_ANSWERS])


@pytest.mark.parametrize(("golden", "request_"), GOLDEN_REQUESTS.items(), ids=GOLDEN_REQUESTS)
def test_requests_are_written_as_the_rfc_says(golden: str, request_: MapRequest) -> None:
    assert request_.encode() == bytes.fromhex(golden)


@pytest.mark.parametrize(("golden", "answer"), GOLDEN_ANSWERS.items(), ids=GOLDEN_ANSWERS)
def test_answers_are_read_as_the_rfc_says(golden: str, answer: Mapped) -> None:
    assert nat_pmp.decode(bytes.fromhex(golden)) == answer
    assert nat_pmp.decode(bytes.fromhex(golden) + b"later versions") == answer


BROKEN = {
    "nothing": "",
    "a part of a header": "0080 0000 00000e",
    "another version": "0280 0000 00000e10 cb007165",
    "a request": "0001 0000 9c40 9c41 00001c20",
    "an address that ends too early": "0080 0000 00000e10 cb0071",
    "a mapping that ends too early": "0081 0000 00000e10 9c40 9c41 00001c",
    "an answer to nothing we ask": "0083 0000 00000e10 9c40 9c41 00001c20",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer(data: str) -> None:
    with pytest.raises(Malformed):
        nat_pmp.decode(bytes.fromhex(data))


def test_a_refusal_says_why() -> None:
    assert str(Refused(None, 3)) == "network failure"
    assert str(Refused(Transport.TCP, 2)) == "not authorized, or refused"
    assert str(Refused(None, 77)) == "result 77"


@given(st.binary(max_size=40) | mutated(ANSWERS))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        nat_pmp.decode(data)
    except Malformed:
        return
    assert data[0] == 0
    assert data[1] >= 128
