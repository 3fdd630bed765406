"""Data through the relay: `RelayMessage` of mediator.proto, written and read by hand.

It is an ordinary protobuf message. Protobuf's own code copies the data twice each way, which costs a quarter of the
relay's speed.
"""

from google.protobuf.message import DecodeError
from p2p_proto import mediator_pb2 as pb

from p2p_core.errors import Malformed

__all__ = ["decode", "encode"]

_TAG = pb.RelayMessage.DATA_FIELD_NUMBER << 3 | 2  # length-delimited
_MORE = 0x80
_LONGEST_PREFIX = 6  # a message of gRPC has less than 4 GiB


def encode(data: memoryview) -> bytes:
    """Return a message that holds `data`."""
    return b"".join((_prefix(len(data)), data))


def decode(message: bytes) -> memoryview | None:
    """Return the data in a message; None for the other side's end. Raises `Malformed` for anything else."""
    view = memoryview(message)
    for length in range(2, min(_LONGEST_PREFIX, len(message)) + 1):
        if view[:length] == _prefix(len(message) - length):
            return view[length:]
    try:
        parsed = pb.RelayMessage.FromString(message)
    except DecodeError:
        raise Malformed("a message that does not parse") from None
    match parsed.WhichOneof("step"):
        case "data":
            return memoryview(parsed.data)
        case "end":
            return None
    raise Malformed("a message with neither data nor an end")


def _prefix(size: int) -> bytes:
    """Return what stands before data of `size` bytes: the tag, and the size as a varint."""
    prefix = bytearray([_TAG])
    while size >= _MORE:
        prefix.append(size & 0x7F | _MORE)
        size >>= 7
    prefix.append(size)
    return bytes(prefix)
