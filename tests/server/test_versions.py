"""What a mediator does not know of its peers: rows of docs/protocol/versions.md."""

from typing import Any

from p2p_proto import mediator_pb2 as pb

from tests.server.client import Peer
from tests.server.conftest import OpenPeer, StartMediator
from tests.vectors import pages
from tests.vectors.unknowns import is_ignored, rows

NEW_FIELD = bytes.fromhex("9a0603") + b"new"  # number 99


async def ends_as(peer: Peer, name: str) -> None:
    """Hold that the stream ends as the page says."""
    assert not is_ignored(name)
    assert (await peer.end()).reason == rows()[name].error


async def test_hello_version(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start()
    for n, hello in enumerate((pages.read("later-hello"), pb.ToMediator(hello=pb.Hello()).SerializeToString())):
        a = peer(mediator, n)
        await a.send_bytes(hello)
        await ends_as(a, "hello-version")


async def test_meet_step(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start()
    first, later = peer(mediator, 0), peer(mediator, 1)
    await first.send_bytes(NEW_FIELD)
    await ends_as(first, "meet-step")
    await later.enter()
    await later.call.write(_unknown_step())
    await ends_as(later, "meet-step")


async def test_meet_fields(start: StartMediator, peer: OpenPeer) -> None:
    """A peer of a later version, all of whose messages have a field more, meets one of today."""
    assert is_ignored("meet-fields")
    mediator = await start()
    today, later = peer(mediator, 0), peer(mediator, 1)
    await today.enter()
    say = later.send

    async def say_more(**step: Any) -> None:
        ((name, fields),) = step.items()
        body = type(fields).FromString(fields.SerializeToString() + NEW_FIELD)
        assert NEW_FIELD in pb.ToMediator(**{name: body}).SerializeToString()
        await say(**{name: body})

    later.send = say_more  # type: ignore[method-assign]
    await later.enter()
    await later.advertise(today.id, b"first")
    await later.send(withdraw=pb.Withdraw(wanted=today.id))
    await later.advertise(today.id, b"second")
    await later.taken()
    await today.advertise(later.id, b"offer")
    assert (await today.read("match")).offer == b"second"
    await later.read("match")
    await later.signal(today.id, b"x")
    assert (await today.read("signal")).body == b"x"
    await later.leave(today.id)
    assert (await today.read("leave")).peer == later.id


def _unknown_step() -> pb.ToMediator:
    message = pb.ToMediator.FromString(NEW_FIELD)
    assert message.WhichOneof("step") is None
    return message
