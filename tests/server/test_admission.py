"""How often an address and a key may come, how often a stream may signal: and when they are told to come again."""

import grpc
import pytest
from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address
from p2p_server.admission import Admission
from p2p_server.endings import Ending, StreamEnded
from p2p_server.limits import Limits

from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched

HERE, THERE = Address.of("192.0.2.1", 1), Address.of("192.0.2.2", 1)


def admission(clock: ManualClock, *, by_address: bool = True, **limits: float) -> Admission:
    return Admission(Limits(**limits), clock, by_address=by_address)  # type: ignore[arg-type]


def test_an_address_begins_so_many_handshakes_a_second(clock: ManualClock) -> None:
    door = admission(clock, handshakes_per_second=0.25)  # one in 4 s
    door.check_address(HERE)
    with pytest.raises(StreamEnded) as refused:
        door.check_address(Address.of("192.0.2.1", 2))  # another port of it
    assert (refused.value.ending, refused.value.retry_after) == (Ending.HANDSHAKE_RATE, pytest.approx(4, abs=2))
    door.check_address(THERE)
    clock.advance(refused.value.retry_after or 0)
    door.check_address(HERE)


def test_behind_a_proxy_addresses_are_not_counted(clock: ManualClock) -> None:
    door = admission(clock, by_address=False, handshakes_per_second=0.25)
    for _ in range(10):
        door.check_address(None)


def test_a_key_begins_so_many_streams_a_minute(clock: ManualClock) -> None:
    door = admission(clock, streams_per_minute=2)
    one, other = PeerId(b"a" * 32), PeerId(b"b" * 32)
    door.check_key(one)
    door.check_key(one)
    with pytest.raises(StreamEnded) as refused:
        door.check_key(one)
    assert refused.value.ending is Ending.TOO_MANY_STREAMS
    assert refused.value.retry_after is not None
    door.check_key(other)
    clock.advance(refused.value.retry_after)
    door.check_key(one)


async def test_an_address_is_told_when_to_come_again(start: StartMediator, peer: OpenPeer, clock: ManualClock) -> None:
    mediator = await start(handshakes_per_second=0.25)
    await peer(mediator, 0).enter()
    early = peer(mediator, 1)
    await early.hello()
    end = await early.end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "handshake-rate")
    assert end.retry_after is not None
    clock.advance(end.retry_after)
    await peer(mediator, 1).enter()


async def test_a_key_that_comes_too_often_keeps_the_stream_that_it_has(
    start: StartMediator, peer: OpenPeer, clock: ManualClock
) -> None:
    mediator = await start(streams_per_minute=1)
    first, early, other = peer(mediator, 0), peer(mediator, 0), peer(mediator, 1)
    await first.enter()
    await early.prove(await early.challenged())
    end = await early.end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too-many-streams")
    assert end.retry_after is not None
    await first.advertise(other.id)
    await other.enter()
    await other.advertise(first.id)
    await first.read("match")
    clock.advance(end.retry_after)
    await peer(mediator, 0).enter()
    assert (await first.end()).reason == "replaced"


@pytest.mark.parametrize("by_address", [True, False])
def test_streams_that_are_over_are_counted_by_address(clock: ManualClock, by_address: bool) -> None:
    door = admission(clock, by_address=by_address, handshakes_per_second=0.1)  # 1, and 3 in the time until they go
    over = [door.place(HERE) for _ in range(4)]
    for place in over:
        assert place.take(lambda: None)
        place.linger()
    assert door.unauthenticated == 4
    assert door.place(HERE).take(lambda: None) is not by_address
    assert door.place(THERE).take(lambda: None)
    over[0].give_back()
    assert door.place(HERE).take(lambda: None)


@pytest.mark.parametrize("step", ["advertise", "withdraw", "leave"])
async def test_a_stream_takes_its_steps_so_often(
    start: StartMediator, peer: OpenPeer, clock: ManualClock, step: str
) -> None:
    mediator = await start(steps_per_second=0.25, max_advertisements=2)  # four at once
    a, b = peer(mediator, 0), peer(mediator, 1)
    await a.enter()
    await b.enter()
    await a.advertise(bytes(32))
    await a.send(withdraw={"wanted": bytes(32)})
    await a.leave(bytes(32))
    await a.taken()  # the fourth
    clock.advance(4)
    await a.advertise(b.id)
    match step:
        case "advertise":
            await a.advertise(b.id)
        case "withdraw":
            await a.send(withdraw={"wanted": b.id})
        case "leave":
            await a.leave(b.id)
    end = await a.end()
    assert (end.code, end.reason, end.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "step-rate", 4)
    await b.advertise(a.id)
    await b.taken()  # its own are counted apart


async def test_a_stream_signals_so_often(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(signals_per_second=0.5)  # two at once
    a, b = await matched(mediator, peer)
    for body in (b"1", b"2", b"3"):
        await a.signal(b.id, body)
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "signal-rate")
    assert end.retry_after is not None
    assert [(await b.read("signal")).body for _ in range(2)] == [b"1", b"2"]
    assert (await b.read("leave")).peer == a.id


async def test_who_makes_room_is_told_when_to_come_again(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start(max_unauthenticated=1)
    slow = peer(mediator, 0)
    await slow.challenged()
    await peer(mediator, 1).enter()
    end = await slow.end()
    assert end.reason == "too-many-handshakes"
    assert end.retry_after is not None
