"""Data messages of the relay, written and read by hand, as protobuf does it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.limits import MAX_RELAY_DATA_BYTES
from p2p_core.wire import relay
from p2p_proto import mediator_pb2 as pb


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2**18 - 1, MAX_RELAY_DATA_BYTES, 2**21])
def test_it_is_what_protobuf_makes(size: int) -> None:
    data = bytes(size)
    message = pb.RelayMessage(data=data).SerializeToString()
    assert relay.encode(memoryview(data)) == message
    assert relay.decode(message) == data


def test_the_other_sides_end() -> None:
    assert relay.decode(pb.RelayMessage(end=pb.End()).SerializeToString()) is None


def test_other_forms_of_the_same_message_and_unknown_fields_are_read() -> None:
    assert relay.decode(b"\x12\x83\x00abc") == b"abc"  # the size with a byte too many
    assert relay.decode(b"\x12\x03abc\xf8\x01\x07") == b"abc"  # field 31
    assert relay.decode(b"\x12\x01x\x12\x03abc") == b"abc"  # the last one counts


@pytest.mark.parametrize("message", [b"", b"\x12", b"\x12\x04abc", b"\xff\xff\xff", b"\x0a\x01t", b"\xf8\x01\x07"])
def test_what_is_neither_is_malformed(message: bytes) -> None:
    with pytest.raises(Malformed):
        relay.decode(message)


@given(st.binary(max_size=300))
def test_it_reads_whatever_protobuf_reads(message: bytes) -> None:
    try:
        parsed = pb.RelayMessage.FromString(message)
    except Exception:
        parsed = pb.RelayMessage()
    try:
        data = relay.decode(message)
    except Malformed:
        assert parsed.WhichOneof("step") in (None, "ticket")
    else:
        assert (data is None) == parsed.HasField("end")
        assert data is None or data == parsed.data
