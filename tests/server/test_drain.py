"""What streams are told, and how long they are let be, while a mediator drains; and when a key is revoked."""

import asyncio

import grpc
from p2p_server.app import Mediator

from tests.server.client import Peer, RelayPeer, until
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator


async def test_who_waits_is_sent_away_at_once(mediator: Mediator, peer: OpenPeer) -> None:
    a, stranger = peer(mediator, 0), peer(mediator, 1)
    await a.enter()
    await a.advertise(bytes(32))
    await stranger.challenged()
    await asyncio.wait_for(mediator._meet.drain(30.0), 5)
    for one in (a, stranger):
        end = await one.end()
        assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "shutting-down")
        assert end.retry_after is not None
    late = peer(mediator, 2)
    assert (await late.end()).reason == "shutting-down"


async def test_a_match_of_this_moment_is_let_finish(start: StartMediator, peer: OpenPeer, clock: ManualClock) -> None:
    mediator = await start()
    a, b, idle = peer(mediator, 0), peer(mediator, 1), peer(mediator, 2)
    for one in (a, b, idle):
        await one.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    await a.read("match")
    await b.read("match")
    clock.advance(5)
    draining = asyncio.create_task(mediator._meet.drain(30.0))
    assert (await idle.end()).reason == "shutting-down"
    await a.signal(b.id, b"still here")
    assert (await b.read("signal")).body == b"still here"
    assert not draining.done()
    clock.advance(9.9)
    assert not a.call.done()
    clock.advance(0.1)  # 15 s after the match
    assert (await a.end()).reason == "shutting-down"
    assert (await b.end()).reason == "shutting-down"
    await asyncio.wait_for(draining, 5)


async def test_what_is_in_flight_is_cut_when_the_time_is_over(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    mediator = await start()
    a, b = peer(mediator, 0), peer(mediator, 1)
    for one in (a, b):
        await one.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    await a.read("match")
    await b.read("match")
    draining = asyncio.create_task(mediator._meet.drain(3.0))
    await asyncio.sleep(0)
    clock.advance(3.0)
    assert (await a.end()).reason == "shutting-down"
    await asyncio.wait_for(draining, 5)


async def relayed(mediator: Mediator, peer: OpenPeer) -> tuple[Peer, Peer, list[RelayPeer]]:
    """Return two peers that are matched, and both sides of their relay."""
    a, b = peer(mediator, 0), peer(mediator, 1)
    for one in (a, b):
        await one.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    tickets = [(await one.read("match")).relay_ticket for one in (a, b)]
    sides = [RelayPeer(mediator) for _ in tickets]
    for side, ticket in zip(sides, tickets, strict=True):
        await side.send(ticket=ticket)
    for side in sides:
        await side.present()
    return a, b, sides


async def test_a_match_in_flight_may_still_take_to_the_relay(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    mediator = await start()
    a, b = peer(mediator, 0), peer(mediator, 1)
    for one in (a, b):
        await one.enter()
    await a.advertise(b.id)
    await b.advertise(a.id)
    tickets = [(await one.read("match")).relay_ticket for one in (a, b)]
    draining = asyncio.create_task(mediator.drain(30.0))
    await until(lambda: mediator._meet.is_stopping)
    sides = [RelayPeer(mediator) for _ in tickets]
    for side, ticket in zip(sides, tickets, strict=True):
        await side.send(ticket=ticket)
    for side in sides:
        await side.present()
    clock.advance(15.0)
    assert (await a.end()).reason == "shutting-down"
    await sides[0].send(data=b"still relayed")
    assert (await sides[1].read()).data == b"still relayed"
    assert not draining.done()
    await sides[0].close()
    assert (await sides[1].end()).reason == "relay-peer-gone"
    await asyncio.wait_for(draining, 5)
    await sides[1].close()


async def test_a_relay_goes_on_until_the_time_is_over(start: StartMediator, peer: OpenPeer, clock: ManualClock) -> None:
    mediator = await start()
    _, _, sides = await relayed(mediator, peer)
    draining = asyncio.create_task(mediator._relay.drain(30.0))
    await asyncio.sleep(0)
    clock.advance(29.9)
    await sides[0].send(data=b"still relayed")
    assert (await sides[1].read()).data == b"still relayed"
    assert not draining.done()
    clock.advance(0.1)
    await asyncio.wait_for(draining, 5)
    for side in sides:
        await side.close()


async def test_a_revoked_key_ends_its_stream_and_its_relays_and_nobody_elses(
    start: StartMediator, peer: OpenPeer
) -> None:
    mediator = await start()
    a, b, sides = await relayed(mediator, peer)
    mediator._meet.revoke(frozenset([a.id]))
    mediator._relay.revoke(frozenset([a.id]))
    assert (await a.end()).reason == "not-admitted"
    assert (await sides[0].end()).reason == "not-admitted"
    assert (await sides[1].end()).reason == "relay-peer-gone"
    assert (await b.read("leave")).peer == a.id
    await until(lambda: mediator._meet.peers == 1)
    for side in sides:
        await side.close()
