from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.wire import pcp
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.pcp import Announced, AnnounceRequest, Mapped, MapRequest, Refused

from tests.core.wire_strategies import mutated

CLIENT = IPv4Address("10.1.0.10")
NONCE = bytes.fromhex("000102030405060708090a0b")
OUTSIDE = Address.of("203.0.113.101", 40001)

# By hand, from the figures of RFC 6887 §7.1, §7.2, §11.1 and §14.1.
CLIENT_HEX = "00000000000000000000ffff 0a01000a"
OUTSIDE_HEX = "00000000000000000000ffff cb007165"
NONE_HEX = "00000000000000000000ffff 00000000"
EPOCH_HEX = "00000e10 000000000000000000000000"
NONCE_HEX = "000102030405060708090a0b"
GOLDEN_REQUESTS = {
    f"0200 0000 00000000 {CLIENT_HEX}": AnnounceRequest(CLIENT),
    f"0201 0000 00001c20 {CLIENT_HEX} {NONCE_HEX} 11000000 9c40 9c40 {NONE_HEX}": MapRequest(
        CLIENT, NONCE, Transport.UDP, 40000, None, 7200
    ),
    f"0201 0000 00000000 {CLIENT_HEX} {NONCE_HEX} 06000000 9c40 9c41 {OUTSIDE_HEX}": MapRequest(
        CLIENT, NONCE, Transport.TCP, 40000, OUTSIDE, 0
    ),
}
UDP_MAPPED = Mapped(NONCE, Transport.UDP, 40000, OUTSIDE, 7200)
TCP_ENDED = Mapped(NONCE, Transport.TCP, 40000, None, 0)
GOLDEN_ANSWERS = {
    f"0280 0000 00000000 {EPOCH_HEX}": Announced(),
    f"0281 0000 00001c20 {EPOCH_HEX} {NONCE_HEX} 11000000 9c40 9c41 {OUTSIDE_HEX}": UDP_MAPPED,
    f"0281 0000 00000000 {EPOCH_HEX} {NONCE_HEX} 06000000 9c40 0000 {NONE_HEX}": TCP_ENDED,
    f"0281 0008 0000001e {EPOCH_HEX} {NONCE_HEX} 11000000 9c40 9c41 {OUTSIDE_HEX}": Refused(
        Mapped(NONCE, Transport.UDP, 40000, OUTSIDE, 30), 8
    ),
    f"0280 0003 00000708 {EPOCH_HEX}": Refused(None, 3),
    f"0181 0001 00000708 {EPOCH_HEX} {NONCE_HEX} 11000000 9c40 9c41 {OUTSIDE_HEX}": Refused(None, 1),
    "0080 0001 00000e10": Refused(None, 1),  # what a gateway says that knows NAT-PMP only
}
ANSWERS = st.sampled_from([bytes.fromhex(answer) for answer in GOLDEN_ANSWERS])


@pytest.mark.parametrize(("golden", "request_"), GOLDEN_REQUESTS.items(), ids=["announce", "map", "unmap"])
def test_requests_are_written_as_the_rfc_says(golden: str, request_: MapRequest) -> None:
    assert request_.encode() == bytes.fromhex(golden)


@pytest.mark.parametrize(("golden", "answer"), GOLDEN_ANSWERS.items())
def test_answers_are_read_as_the_rfc_says(golden: str, answer: Mapped) -> None:
    assert pcp.decode(bytes.fromhex(golden)) == answer
    option = bytes.fromhex("80000000")
    assert pcp.decode(bytes.fromhex(golden) + option) == answer


BROKEN = {
    "nothing": "",
    "a part of a header": f"0280 0000 00000000 {EPOCH_HEX[:-2]}",
    "too short to say anything": "0281 00",
    "too long": f"0280 0000 00000000 {EPOCH_HEX} {'00' * 1100}",
    "a request": f"0200 0000 00000000 {CLIENT_HEX}",
    "another version": f"0180 0000 00000000 {EPOCH_HEX}",
    "another version that refuses for another reason": f"0180 0002 00000000 {EPOCH_HEX}",
    "an answer to nothing we ask": f"0282 0000 00000000 {EPOCH_HEX}",
    "a mapping that is cut off": f"0281 0000 00001c20 {EPOCH_HEX} {NONCE_HEX} 11000000 9c40 9c41 {OUTSIDE_HEX[:-2]}",
    "a mapping of another protocol": f"0281 0000 00001c20 {EPOCH_HEX} {NONCE_HEX} 84000000 9c40 9c41 {OUTSIDE_HEX}",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer(data: str) -> None:
    with pytest.raises(Malformed):
        pcp.decode(bytes.fromhex(data))


def test_a_refusal_says_why() -> None:
    assert str(Refused(None, 8)) == "no resources"
    assert str(Refused(None, 77)) == "result 77"


@given(st.binary(max_size=80) | mutated(ANSWERS))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        answer = pcp.decode(data)
    except Malformed:
        return
    assert isinstance(answer, Announced | Mapped | Refused)
