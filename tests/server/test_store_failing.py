"""A store that cannot be asked, or has lost a stream: its peer is told to come again, and nothing is left of it."""

import grpc
import pytest
from p2p_server.stores.base import Lost, StoreUnavailable

from tests.server.client import until
from tests.server.conftest import OpenPeer, StartMediator


async def unavailable(*_: object) -> None:
    raise StoreUnavailable


@pytest.mark.parametrize("method", ["advertise", "withdraw", "signal", "leave"])
async def test_a_step_that_the_store_does_not_take_ends_the_stream(
    start: StartMediator, peer: OpenPeer, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    mediator = await start()
    a, b = peer(mediator, 0), peer(mediator, 1)
    await a.enter()
    await b.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    await a.read("match")
    monkeypatch.setattr(mediator._meet._setting.store, method, unavailable)
    match method:
        case "advertise":
            await a.advertise(bytes(32))
        case "withdraw":
            await a.send(withdraw={"wanted": bytes(32)})
        case "signal":
            await a.signal(b.id, b"x")
        case "leave":
            await a.leave(b.id)
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "store-unavailable")
    assert end.retry_after is not None
    await b.read("match")
    assert (await b.read("leave")).peer == a.id


async def test_a_peer_is_not_welcome_while_the_store_cannot_be_asked(
    start: StartMediator, peer: OpenPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mediator = await start()
    with monkeypatch.context() as patched:
        patched.setattr(mediator._meet._setting.store, "claim", unavailable)
        patched.setattr(mediator._meet._setting.store, "forget", unavailable)
        a = peer(mediator, 0)
        await a.prove(await a.challenged())
        assert (await a.end()).reason == "store-unavailable"
        await until(lambda: not (mediator._meet._open or mediator._meet._forgetting))
    await peer(mediator, 0).enter()


async def test_a_stream_that_the_store_has_lost_is_told_to_come_again(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start()
    a = peer(mediator, 0)
    await a.enter()
    stream = next(iter(mediator._meet._setting.inbox._takers))
    mediator._meet._setting.inbox.deliver(stream, Lost())
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "store-unavailable")
    assert end.retry_after is not None
