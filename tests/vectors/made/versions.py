"""What a later version may send (versions.md)."""

from p2p_core.wire import frames, offer
from p2p_proto import mediator_pb2 as pb
from p2p_proto import offer_pb2

from tests.vectors.made.inputs import NONCES, Blocks
from tests.vectors.made.offer import OFFER

NEW_FIELD = bytes.fromhex("9a0603") + b"new"  # number 99


def _offer() -> bytes:
    body = offer_pb2.OfferBody.FromString(offer.encode(OFFER))
    body.udp_mapping = 9  # type: ignore[assignment]
    for changed in ({"kind": 9}, {"transport": 9}):
        body.candidates.add(**({"kind": 1, "transport": 1, "ip": bytes([192, 0, 2, 9]), "port": 9} | changed))
    return body.SerializeToString(deterministic=True) + NEW_FIELD


def blocks() -> Blocks:
    hello = pb.Hello(version=2, public_key=b"\x0a\x0b\x0c", nonce=NONCES[0])
    return {
        "later-offer-body": _offer(),
        "later-hello": pb.ToMediator(hello=hello).SerializeToString() + NEW_FIELD,
        "later-frame": frames.frame_header(0x80, 3) + b"new",
    }
