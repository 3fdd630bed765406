"""A store that cannot be asked, or has lost a stream: its peer is told to come again, and nothing is left of it."""

import asyncio

import grpc
import pytest
from p2p_core.identity import PeerId
from p2p_server import meet
from p2p_server.stores.base import Lost, StoreUnavailable

from tests.server.client import until
from tests.server.clock import ManualClock
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


@pytest.mark.parametrize("how", ["lost", "drained"])
async def test_peers_that_are_sent_away_together_do_not_come_back_in_one_moment(
    start: StartMediator, peer: OpenPeer, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(meet, "_RETURNS_PER_SECOND", 0.5)
    monkeypatch.setattr(meet.random, "uniform", lambda _, most: most)  # the last of them
    mediator = await start()
    peers = [peer(mediator, index) for index in range(3)]
    for one in peers:
        await one.enter()
    if how == "lost":
        inbox = mediator._meet._setting.inbox
        for stream in list(inbox._takers):
            inbox.deliver(stream, Lost())
    else:
        await mediator._meet.drain(30.0)
    assert [(await one.end()).retry_after for one in peers] == [1 + 3 / 0.5] * 3


async def test_a_stream_that_ends_while_the_store_is_asked_for_its_place_is_over(
    start: StartMediator, peer: OpenPeer, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    mediator = await start()
    asked, answered = asyncio.Event(), asyncio.Event()

    async def claim(*_: object) -> None:
        asked.set()
        await answered.wait()

    monkeypatch.setattr(mediator._meet._setting.store, "claim", claim)
    a = peer(mediator, 0)
    await a.prove(await a.challenged())
    await asked.wait()
    mediator._meet.revoke(frozenset([PeerId(a.id)]))
    answered.set()
    assert (await a.end()).reason == "not-admitted"
    await until(lambda: not (mediator._meet._open or mediator._meet._forgetting))
    assert clock.pending == 0  # no heartbeat
