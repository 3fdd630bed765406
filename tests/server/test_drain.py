"""What streams are told, and how long they are let be, while a mediator drains; and when a key is revoked."""

import asyncio

import grpc
from p2p_server.app import Mediator

from tests.server.client import RelayPeer, until
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched, tickets, welcomed


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
    idle = peer(mediator, 2)
    await idle.enter()
    a, b = await matched(mediator, peer)
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
    a, _ = await matched(mediator, peer)
    draining = asyncio.create_task(mediator._meet.drain(3.0))
    await asyncio.sleep(0)
    clock.advance(3.0)
    assert (await a.end()).reason == "shutting-down"
    await asyncio.wait_for(draining, 5)


async def relayed(mediator: Mediator, both: tuple[bytes, bytes]) -> list[RelayPeer]:
    """Return both sides of the relay that two tickets are for."""
    sides = [RelayPeer(mediator) for _ in both]
    for side, ticket in zip(sides, both, strict=True):
        await side.send(ticket=ticket)
    for side in sides:
        await side.present()
    return sides


async def test_a_match_in_flight_may_still_take_to_the_relay(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    mediator = await start()
    a, b = await welcomed(mediator, peer)
    both = await tickets(a, b)
    draining = asyncio.create_task(mediator.drain(30.0))
    await until(lambda: mediator._meet.is_stopping)
    sides = await relayed(mediator, both)
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
    sides = await relayed(mediator, await tickets(*await welcomed(mediator, peer)))
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
    a, b = await welcomed(mediator, peer)
    sides = await relayed(mediator, await tickets(a, b))
    mediator._meet.revoke(frozenset([a.id]))
    mediator._relay.revoke(frozenset([a.id]))
    assert (await a.end()).reason == "not-admitted"
    assert (await sides[0].end()).reason == "not-admitted"
    assert (await sides[1].end()).reason == "relay-peer-gone"
    assert (await b.read("leave")).peer == a.id
    await until(lambda: mediator._meet.peers == 1)
    for side in sides:
        await side.close()
