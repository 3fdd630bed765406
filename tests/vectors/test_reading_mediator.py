"""The golden bytes of the mediator and the relay are read as what they say they are."""

import pytest
from p2p_core.proof import verify
from p2p_core.wire import relay
from p2p_proto import mediator_pb2 as pb

from tests.keys import key
from tests.vectors import pages
from tests.vectors.made.mediator import PROVED, TO_MEDIATOR, TO_PEER


@pytest.mark.parametrize("name", TO_MEDIATOR)
def test_what_a_peer_says(name: str) -> None:
    assert pb.ToMediator.FromString(pages.read(name)) == TO_MEDIATOR[name]


@pytest.mark.parametrize("name", TO_PEER)
def test_what_the_mediator_says(name: str) -> None:
    assert pb.ToPeer.FromString(pages.read(name)) == TO_PEER[name]


def test_the_proof() -> None:
    message = pb.ToMediator.FromString(pages.read("meet-proof"))
    assert message.WhichOneof("step") == "proof"
    verify(key(0).public_key(), PROVED, message.proof.signature)


def test_every_step_is_there() -> None:
    said = {message.WhichOneof("step") for message in TO_MEDIATOR.values()} | {"proof"}
    assert said == {field.name for field in pb.ToMediator.DESCRIPTOR.oneofs_by_name["step"].fields}
    said = {message.WhichOneof("step") for message in TO_PEER.values()}
    assert said == {field.name for field in pb.ToPeer.DESCRIPTOR.oneofs_by_name["step"].fields}


def test_the_relay() -> None:
    assert pb.RelayMessage.FromString(pages.read("relay-ticket")).ticket == b"A" * 32
    assert relay.decode(pages.read("relay-present")) == b""
    assert relay.decode(pages.read("relay-data")) == b"abc"
    assert relay.decode(pages.read("relay-data-longest") + bytes(256 * 1024)) == bytes(256 * 1024)
    assert relay.decode(pages.read("relay-end")) is None
