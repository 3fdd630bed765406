import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.wire import stun
from p2p_core.wire.candidate import Address
from p2p_core.wire.stun import BindingRequest, BindingResponse

from tests.core.wire_strategies import ADDRESSES, mutated

TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
# RFC 5769 §2.1, §2.2, §2.3.
RFC_REQUEST = bytes.fromhex(
    "00010058 2112a442 b7e7a701bc34d686fa87dfae 80220010 5354554e207465737420636c69656e74 00240004 6e0001ff"
    "80290008 932ff9b151263b36 00060009 6576746a3a68367659202020 00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2"
    "80280004 e57a3bcf"
)
RFC_IPV4 = bytes.fromhex(
    "0101003c 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220 00200008 0001a147e112a643"
    "00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004 c07d4c96"
)
RFC_IPV6 = bytes.fromhex(
    "01010048 2112a442 b7e7a701bc34d686fa87dfae 8022000b 7465737420766563746f7220 00200014 0002a147"
    "0113a9faa5d3f179bc25f4b5bed2b9d9 00080014 a382954e4be67bf11784c97c8292c275bfe3ed41 80280004 c8fb0b4c"
)
IPV4 = Address.of("192.0.2.1", 32853)
IPV6 = Address.of("2001:db8:1234:5678:11:2233:4455:6677", 32853)
TRANSACTIONS = st.binary(min_size=12, max_size=12)
RESPONSES = st.builds(BindingResponse, TRANSACTIONS, ADDRESSES)


def message(kind: int, *attributes: bytes, cookie: int = 0x2112A442) -> bytes:
    body = b"".join(attributes)
    return struct.pack(">HHI12s", kind, len(body), cookie, TRANSACTION) + body


@pytest.mark.parametrize("sample", [RFC_REQUEST, RFC_IPV4, RFC_IPV6])
def test_the_rfcs_samples_are_copied_right(sample: bytes) -> None:
    fingerprint = int.from_bytes(sample[-4:], "big")  # RFC 8489 §14.7
    assert zlib.crc32(sample[:-8]) ^ 0x5354554E == fingerprint


def test_the_rfcs_samples_are_read() -> None:
    assert stun.decode(RFC_REQUEST) == BindingRequest(TRANSACTION)
    assert stun.decode(RFC_IPV4) == BindingResponse(TRANSACTION, IPV4)
    assert stun.decode(RFC_IPV6) == BindingResponse(TRANSACTION, IPV6)


def test_the_rfcs_addresses_are_written() -> None:
    assert BindingResponse(TRANSACTION, IPV4).encode()[20:] == RFC_IPV4[36:48]
    assert BindingResponse(TRANSACTION, IPV6).encode()[20:] == RFC_IPV6[36:60]


def test_each_request_is_fresh() -> None:
    assert len({BindingRequest.fresh().transaction for _ in range(10)}) == 10
    assert len(BindingRequest.fresh().encode()) == stun.HEADER_BYTES


@given(RESPONSES)
def test_a_response_survives(response: BindingResponse) -> None:
    data = response.encode()
    assert stun.body_length(data[: stun.HEADER_BYTES]) == len(data) - stun.HEADER_BYTES
    assert stun.decode(data) == response


@given(TRANSACTIONS)
def test_a_request_survives(transaction: bytes) -> None:
    assert stun.decode(BindingRequest(transaction).encode()) == BindingRequest(transaction)


def test_the_first_address_counts() -> None:
    one, other = BindingResponse(TRANSACTION, IPV4).encode()[20:], BindingResponse(TRANSACTION, IPV6).encode()[20:]
    assert stun.decode(message(0x0101, one, other)) == BindingResponse(TRANSACTION, IPV4)


ADDRESS = BindingResponse(TRANSACTION, IPV4).encode()[20:]
BROKEN = {
    "nothing": b"",
    "a part of a header": RFC_IPV4[:19],
    "another cookie": message(0x0101, ADDRESS, cookie=0x2112A443),
    "the first two bits set": message(0x8101, ADDRESS),
    "a length that is no multiple of 4": struct.pack(">HHI12s", 1, 3, 0x2112A442, TRANSACTION) + b"abc",
    "shorter than it says": RFC_IPV4[:-4],
    "longer than it says": RFC_IPV4 + bytes(4),
    "an error response": message(0x0111, ADDRESS),
    "an indication": message(0x0011),
    "a response without an address": message(0x0101),
    "an attribute that ends too late": message(0x0101, b"\x80\x22\x00\x09", bytes(4)),
    "an address of no family": message(0x0101, b"\x00\x20\x00\x08\x00\x03", bytes(6)),
    "an address of another length": message(0x0101, b"\x00\x20\x00\x08\x00\x02", bytes(6)),
    "an address that ends too early": message(0x0101, b"\x00\x20\x00\x02\x00\x01\x00\x00"),
    "port 0": message(0x0101, b"\x00\x20\x00\x08\x00\x01\x21\x12", bytes(4)),
    "too long": message(0x0101, ADDRESS, b"\x80\x22\x02\x50", bytes(592)),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_binding(data: bytes) -> None:
    with pytest.raises(Malformed):
        stun.decode(data)


@given(st.binary(max_size=100) | mutated(RESPONSES.map(BindingResponse.encode)) | mutated(st.just(RFC_IPV6)))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        stun.decode(data)
    except Malformed:
        return
    assert stun.body_length(data) == len(data) - stun.HEADER_BYTES


@given(st.binary(min_size=20, max_size=20))
def test_no_header_breaks_the_reader(header: bytes) -> None:
    try:
        length = stun.body_length(header)
    except Malformed:
        return
    assert 0 <= length <= stun.MAX_MESSAGE_BYTES
