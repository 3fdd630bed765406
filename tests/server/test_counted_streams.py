"""What a whole mediator counts of its peers, as Prometheus is told."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from p2p_core.wire import stun
from p2p_proto import mediator_pb2 as pb
from p2p_server.app import Mediator
from p2p_server.config import HostPort

from tests.server.client import PATIENCE, RelayPeer
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import tickets
from tests.server.scraped import scrape, value

SHOWN = HostPort("127.0.0.1", 0)


async def shown(mediator: Mediator, wanted: float, name: str, **labels: str) -> None:
    """Wait until a metric is what it should become."""
    async with asyncio.timeout(PATIENCE):
        while value(await scrape(mediator), name, **labels) != wanted:
            await asyncio.sleep(0)


async def test_peers_that_come_wait_meet_and_go(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(metrics=SHOWN)
    a, b = peer(mediator, 0), peer(mediator, 1)
    await a.challenged()
    assert value(await scrape(mediator), "unauthenticated_streams") == 1
    await b.enter()
    await b.advertise(bytes(32))
    await shown(mediator, 1, "peers_waiting")
    text = await scrape(mediator)
    assert value(text, "peers") == 1
    assert value(text, "handshakes_total", result="ok") == 1
    assert value(text, "handshake_seconds_count") == 1
    assert value(text, "store_up") == 1
    assert value(text, "draining") == 0
    await b.call.done_writing()
    await shown(mediator, 1, "streams_ended_total", rpc="meet", reason="ok")
    await shown(mediator, 0, "peers")
    assert value(await scrape(mediator), "peers_waiting") == 0


async def test_a_match_is_counted_once_and_timed_from_the_second_advertisement(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    mediator = await start(metrics=SHOWN, patience=1000)
    a, b = peer(mediator, 0), peer(mediator, 1)
    for each in (a, b):
        each.answers_pings = False
        await each.enter()
    await a.advertise(b.id)
    await shown(mediator, 1, "peers_waiting")
    clock.advance(40)
    await b.advertise(a.id)
    await a.read("match")
    await b.read("match")
    await a.signal(b.id, b"x")
    await b.read("signal")
    text = await scrape(mediator)
    assert value(text, "matches_total") == value(text, "match_seconds_count") == 1
    assert value(text, "match_seconds_sum") == 0
    assert value(text, "peers_waiting") == 0
    assert value(text, "signals_total") == 1


@pytest.mark.parametrize(
    "how", ["not-admitted", "out-of-order", "malformed", "step-timeout", "gone", "too-many-handshakes"]
)
async def test_a_handshake_that_fails(
    start: StartMediator, peer: OpenPeer, admit: Callable[..., Path], clock: ManualClock, how: str
) -> None:
    few = {"max_unauthenticated": 0} if how == "too-many-handshakes" else {}
    mediator = await start(metrics=SHOWN, authorized=admit(), **few)
    a = peer(mediator, 0)
    match how:
        case "not-admitted":
            await a.prove(await a.challenged())
        case "out-of-order":
            await a.advertise(bytes(32))
        case "malformed":
            await a.send_bytes(b"\xff")
        case "step-timeout":
            await a.challenged()
            clock.advance(60)
        case "gone":
            await a.challenged()
            await a.call.done_writing()
        case "too-many-handshakes":
            await a.hello()
    await shown(mediator, 1, "handshakes_total", result=how)
    text = await scrape(mediator)
    assert value(text, "handshakes_total") == 1
    assert value(text, "streams_ended_total", rpc="meet") == 1
    assert value(text, "handshake_seconds_count") == 0
    await shown(mediator, 0, "unauthenticated_streams")


async def test_what_is_relayed(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(metrics=SHOWN)
    a, b = peer(mediator, 0), peer(mediator, 1)
    await a.enter()
    await b.enter()
    sides = [RelayPeer(mediator) for _ in range(2)]
    for side, ticket in zip(sides, await tickets(a, b), strict=True):
        await side.send(ticket=ticket)
    for side in sides:
        await side.present()
    assert value(await scrape(mediator), "relays") == 1
    message = pb.RelayMessage(data=bytes(10_000))
    await sides[0].send(data=message.data)
    await sides[1].read()
    assert value(await scrape(mediator), "relay_bytes_total") == message.ByteSize()
    for side in sides:
        await side.close()
    await shown(mediator, 2, "streams_ended_total", rpc="relay")
    await shown(mediator, 0, "relays")


async def test_stun(start: StartMediator) -> None:
    mediator = await start(metrics=SHOWN)
    reader, writer = await asyncio.open_connection("127.0.0.1", mediator.listening.stun_port)
    writer.write(stun.BindingRequest.fresh().encode())
    await asyncio.wait_for(reader.readexactly(stun.HEADER_BYTES), PATIENCE)
    writer.close()
    assert value(await scrape(mediator), "stun_answers_total", transport="tcp") == 1


async def test_the_event_loop_is_measured_while_somebody_may_look(start: StartMediator, clock: ManualClock) -> None:
    mediator = await start(metrics=SHOWN)
    clock.advance(2)
    assert value(await scrape(mediator), "event_loop_lag_seconds_count") == 4


async def test_nothing_is_shown_unless_it_is_asked_for(start: StartMediator, clock: ManualClock) -> None:
    mediator = await start()
    assert mediator.listening.metrics is None
    assert clock.pending == 0


async def test_a_draining_mediator_says_so(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(metrics=SHOWN)
    await mediator.drain(0)
    assert value(await scrape(mediator), "draining") == 1
