"""Messages of `Relay` (relay.md)."""

from p2p_core.limits import MAX_RELAY_DATA_BYTES
from p2p_core.wire import relay
from p2p_proto import mediator_pb2 as pb

from tests.vectors.made.inputs import Blocks, of


def blocks() -> Blocks:
    return {
        "relay-ticket": pb.RelayMessage(ticket=of(0x41)).SerializeToString(),
        "relay-present": relay.encode(memoryview(b"")),
        "relay-data": relay.encode(memoryview(b"abc")),
        "relay-data-longest": relay.encode(memoryview(bytes(MAX_RELAY_DATA_BYTES)))[:4],
        "relay-end": pb.RelayMessage(end=pb.End()).SerializeToString(),
    }
