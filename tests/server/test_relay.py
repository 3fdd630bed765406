"""The relay, over real gRPC: tickets, both ways, limits, and every way it ends."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from p2p_core import limits as protocol
from p2p_core.identity import PeerId
from p2p_proto import mediator_pb2 as pb
from p2p_server import logs
from p2p_server.app import Mediator
from p2p_server.authorized import KeyFolder, KeysUnreadable

from tests import keys
from tests.server.client import RelayPeer, until
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.logged import events, lines
from tests.server.pairs import tickets, welcomed
from tests.server.raw_http2 import ShutConnection

LARGEST = bytes(protocol.MAX_RELAY_DATA_BYTES)
FOUR = 4 * pb.RelayMessage(data=LARGEST).ByteSize()  # bytes that four such messages count for
Join = Callable[..., RelayPeer]


@pytest.fixture
async def join() -> AsyncIterator[Join]:
    """Open a `Relay` stream; nothing has been said on it."""
    async with AsyncExitStack() as stack:

        def join(mediator: Mediator, *options: tuple[str, Any]) -> RelayPeer:
            opened = RelayPeer(mediator, *options)
            stack.push_async_callback(opened.close)
            return opened

        yield join


@pytest.fixture
def enter(join: Join) -> Callable[..., Awaitable[RelayPeer]]:
    """Open a `Relay` stream with a ticket."""

    async def enter(mediator: Mediator, ticket: bytes) -> RelayPeer:
        stream = join(mediator)
        await stream.send(ticket=ticket)
        return stream

    return enter


Enter = Callable[[Mediator, bytes], Awaitable[RelayPeer]]


async def relay(mediator: Mediator, peer: OpenPeer, enter: Enter) -> tuple[RelayPeer, RelayPeer]:
    """Two sides that know of each other."""
    first, second = await tickets(*await welcomed(mediator, peer))
    one, other = await enter(mediator, first), await enter(mediator, second)
    await one.present()
    await other.present()
    return one, other


def inside(mediator: Mediator) -> int:
    return mediator._meet._setting.admission.unauthenticated


# What it is for.


async def test_bytes_go_both_ways_as_they_are(mediator: Mediator, peer: OpenPeer, enter: Enter) -> None:
    one, other = await relay(mediator, peer, enter)
    await one.send(data=b"to the other")
    await other.send(data=LARGEST)
    assert (await other.read()).data == b"to the other"
    assert (await one.read()).data == LARGEST
    unknown = pb.RelayMessage(data=b"x").SerializeToString() + b"\xf8\x01\x07"  # field 31, of another version
    await one.send_bytes(unknown)
    assert (await other.read()).SerializeToString() == unknown


async def test_the_first_waits_for_the_second(start: StartMediator, peer: OpenPeer, enter: Enter) -> None:
    mediator = await start()
    first, second = await tickets(*await welcomed(mediator, peer))
    one = await enter(mediator, first)
    await one.send(data=b"early")
    other = await enter(mediator, second)
    await other.present()
    assert (await other.read()).data == b"early"
    await one.present()


async def test_a_half_close_is_passed_on_and_the_other_way_goes_on(
    mediator: Mediator, peer: OpenPeer, enter: Enter
) -> None:
    one, other = await relay(mediator, peer, enter)
    await one.send(data=b"the last word")
    await one.call.done_writing()
    assert (await other.read()).data == b"the last word"
    assert (await other.read()).WhichOneof("step") == "end"
    await other.send(data=b"not mine")
    assert (await one.read()).data == b"not mine"
    await other.call.done_writing()
    assert (await one.read()).WhichOneof("step") == "end"
    for end in (await one.end(), await other.end()):
        assert (end.code, end.reason) == (grpc.StatusCode.OK, "")


async def test_who_goes_takes_the_other_along(mediator: Mediator, peer: OpenPeer, enter: Enter) -> None:
    one, other = await relay(mediator, peer, enter)
    await one.send(data=b"the last word")
    assert (await other.read()).data == b"the last word"
    await one.close()
    end = await other.end()
    assert (end.code, end.reason) == (grpc.StatusCode.ABORTED, "relay-peer-gone")


async def test_it_outlives_the_meet_streams(start: StartMediator, peer: OpenPeer, enter: Enter) -> None:
    mediator = await start()
    a, b = await welcomed(mediator, peer)
    first, second = await tickets(a, b)
    one, other = await enter(mediator, first), await enter(mediator, second)
    await one.present()
    await a.close()
    await b.close()
    await one.send(data=b"still here")
    await other.present()
    assert (await other.read()).data == b"still here"


# Tickets.


async def test_welcome_says_whether_there_is_a_relay(start: StartMediator, peer: OpenPeer, join: Join) -> None:
    assert (await peer(await start(), 0).enter()).relays
    mediator = await start(relay=False)
    a, b = peer(mediator, 0), peer(mediator, 1)
    assert not (await a.enter()).relays
    await b.enter()
    assert await tickets(a, b) == (b"", b"")
    end = await join(mediator).end()
    assert (end.code, end.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "relay-off")


async def test_a_ticket_is_good_where_the_peer_dialled(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start()
    a, b = await welcomed(mediator, peer)
    await a.advertise(b.id)
    await b.advertise(a.id)
    to_a, to_b = await a.read("match"), await b.read("match")
    assert len(to_a.relay_ticket) == len(to_b.relay_ticket) == protocol.RELAY_TICKET_BYTES
    assert to_a.relay_ticket != to_b.relay_ticket
    assert (to_a.relay_host, to_a.relay_port, to_b.relay_host, to_b.relay_port) == ("", 0, "", 0)


@pytest.mark.parametrize("ticket", [b"", bytes(31), bytes(32), bytes(33)])
async def test_a_ticket_that_was_not_issued_is_refused(
    start: StartMediator, peer: OpenPeer, enter: Enter, ticket: bytes
) -> None:
    mediator = await start()
    await tickets(*await welcomed(mediator, peer))
    end = await (await enter(mediator, ticket)).end()
    assert (end.code, end.reason) == (grpc.StatusCode.PERMISSION_DENIED, "relay-ticket")


async def test_a_ticket_is_good_once_and_for_one_seat(start: StartMediator, peer: OpenPeer, enter: Enter) -> None:
    """Whoever has the ticket of one side twice does not become both."""
    mediator = await start()
    first, second = await tickets(*await welcomed(mediator, peer))
    one = await enter(mediator, first)
    assert (await (await enter(mediator, first)).end()).reason == "relay-ticket"
    other = await enter(mediator, second)
    await one.present()
    await other.present()
    assert (await (await enter(mediator, first)).end()).reason == "relay-ticket"


async def test_a_ticket_is_good_for_thirty_seconds(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start()
    first, second = await tickets(*await welcomed(mediator, peer))
    clock.advance(29.9)
    one = await enter(mediator, first)
    await until(lambda: len(mediator._relay._desk) == 1)
    clock.advance(0.1)
    assert (await (await enter(mediator, second)).end()).reason == "relay-ticket"
    clock.advance(29.9)
    assert (await one.end()).reason == "relay-peer-gone"


async def test_another_match_of_the_same_two_takes_the_place_of_unused_tickets(
    start: StartMediator, peer: OpenPeer, enter: Enter
) -> None:
    mediator = await start()
    a, b = await welcomed(mediator, peer)
    older = await tickets(a, b)
    newer = await tickets(a, b)
    assert len(mediator._relay._desk) == 2
    assert (await (await enter(mediator, older[0])).end()).reason == "relay-ticket"
    one, other = await enter(mediator, newer[0]), await enter(mediator, newer[1])
    await one.present()
    await other.present()


async def test_tickets_of_two_matches_do_not_meet(start: StartMediator, peer: OpenPeer, enter: Enter) -> None:
    mediator = await start()
    a, b, c = (peer(mediator, n) for n in range(3))
    for one in (a, b, c):
        await one.enter()
    with_b, of_b = await tickets(a, b)
    with_c, of_c = await tickets(a, c)
    streams = [await enter(mediator, ticket) for ticket in (with_b, of_c, of_b, with_c)]
    for stream in streams:
        await stream.present()
    await streams[0].send(data=b"for b")
    await streams[3].send(data=b"for c")
    assert (await streams[2].read()).data == b"for b"
    assert (await streams[1].read()).data == b"for c"


# Limits.


async def test_the_rate_holds_each_way_apart(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(relay_rate=FOUR)
    one, other = await relay(mediator, peer, enter)
    for _ in range(5):  # four at once, and one owed
        await one.send(data=LARGEST)
    for _ in range(4):
        assert len((await other.read()).data) == len(LARGEST)
    await until(lambda: clock.pending_at(clock.now() + 0.3) == 1)
    await other.send(data=b"the other way is free")
    assert (await one.read()).data == b"the other way is free"
    clock.advance(0.3)
    assert len((await other.read()).data) == len(LARGEST)


async def test_a_peer_has_one_rate_for_all_its_relays(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(relay_rate=FOUR, relay_key_rate=FOUR)
    a, b, c = (peer(mediator, n) for n in range(3))
    for one in (a, b, c):
        await one.enter()
    streams = [await enter(mediator, ticket) for ticket in (*await tickets(a, b), *await tickets(a, c))]
    for stream in streams:
        await stream.present()
    for _ in range(4):
        await streams[0].send(data=LARGEST)
        await streams[1].read()
    await streams[2].send(data=LARGEST)
    await until(lambda: clock.pending_at(clock.now() + 0.3) == 1)
    clock.advance(0.3)
    assert len((await streams[3].read()).data) == len(LARGEST)


async def test_all_relays_have_one_rate_together(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(relay_total_rate=FOUR)
    one, other = await relay(mediator, peer, enter)
    c, d = peer(mediator, 2), peer(mediator, 3)
    await c.enter()
    await d.enter()
    third, fourth = [await enter(mediator, ticket) for ticket in await tickets(c, d)]
    await third.present()
    await fourth.present()
    for _ in range(2):
        await one.send(data=LARGEST)
        await other.read()
        await third.send(data=LARGEST)
        await fourth.read()
    await other.send(data=LARGEST)  # of another peer, the other way, in another relay than the last
    await until(lambda: clock.pending_at(clock.now() + 0.3) == 1)
    clock.advance(0.3)
    assert len((await one.read()).data) == len(LARGEST)


async def test_all_relays_have_so_many_bytes_a_day_together(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(relay_total_bytes=2 * len(LARGEST), patience=1000)
    one, other = await relay(mediator, peer, enter)
    c, d = peer(mediator, 2), peer(mediator, 3)
    for each in (c, d):
        each.answers_pings = False
        await each.enter()
    await one.send(data=LARGEST)
    assert (await other.read()).data == LARGEST
    await one.send(data=LARGEST)  # with what is around it more than the day's
    used_up = "as much was relayed by this mediator as may be in a day"
    for end in (await one.end(), await other.end()):
        assert (end.reason, end.details) == ("relay-limit", used_up)
        assert end.retry_after is not None
        assert 864 <= end.retry_after <= 870  # a hundredth of a day, and what was sent too much
    refused = await (await enter(mediator, (await tickets(c, d))[0])).end()
    assert (refused.reason, refused.details, refused.retry_after) == ("relay-limit", used_up, end.retry_after)
    clock.advance(end.retry_after)
    for stream in [await enter(mediator, ticket) for ticket in await tickets(c, d)]:
        await stream.present()


async def test_many_small_messages_are_no_way_around_the_rate(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(relay_rate=64 * 1024)
    one, other = await relay(mediator, peer, enter)
    for _ in range(17):
        await one.send(data=b"")
    for _ in range(16):
        await other.read()
    await until(lambda: clock.pending_at(clock.now() + 0.1) == 1)


async def test_no_rate_and_no_volume(start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock) -> None:
    per_key = {"relay_key_rate": 0, "relay_key_bytes": 0}
    mediator = await start(relay_rate=0, relay_bytes=0, relay_total_rate=0, relay_total_bytes=0, **per_key)
    one, other = await relay(mediator, peer, enter)
    for _ in range(64):
        await one.send(data=LARGEST)
        assert len((await other.read()).data) == len(LARGEST)


async def test_two_peers_are_relayed_so_many_bytes_a_day(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="p2p_server")
    mediator = await start(relay_bytes=2 * len(LARGEST) + 100, patience=1000)
    a, b, c = (peer(mediator, n) for n in range(3))
    for each in (a, b, c):
        each.answers_pings = False
        await each.enter()
    one, other = [await enter(mediator, ticket) for ticket in await tickets(a, b)]
    await one.present()
    await other.present()
    await one.send(data=LARGEST)
    assert (await other.read()).data == LARGEST
    await other.send(data=LARGEST)
    assert (await one.read()).data == LARGEST
    await one.send(data=bytes(100))
    for end in (await one.end(), await other.end()):
        assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "relay-limit")
        assert end.details == "as much was relayed between these two as may be in a day"
    (told,) = events(caplog, "relay-limit")
    assert (told["level"], {told["peer"], told["other"]}) == ("info", {str(a.id), str(b.id)})
    assert told["why"] == end.details
    for ticket in await tickets(b, a):  # whoever asked for it
        refused = await (await enter(mediator, ticket)).end()
        assert (refused.reason, refused.details) == ("relay-limit", end.details)
    for ticket in await tickets(a, c):  # with others they may still talk
        await enter(mediator, ticket)
    clock.advance(600)  # something is free again, and not worth a relay
    assert (await (await enter(mediator, (await tickets(a, b))[0])).end()).reason == "relay-limit"
    clock.advance(300)
    for stream in [await enter(mediator, ticket) for ticket in await tickets(a, b)]:
        await stream.present()


async def test_a_peer_sends_so_many_bytes_a_day(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(relay_bytes=2 * len(LARGEST), relay_key_bytes=2 * len(LARGEST))
    a, b, c = (peer(mediator, n) for n in range(3))
    for each in (a, b, c):
        each.answers_pings = False
        await each.enter()
    one, other = [await enter(mediator, ticket) for ticket in await tickets(a, b)]
    await one.send(data=LARGEST)
    await other.present()
    assert (await other.read()).data == LARGEST
    await one.close()
    await other.end()
    one, other = [await enter(mediator, ticket) for ticket in await tickets(a, c)]
    await one.send(data=LARGEST)  # with what is around it more than the day's
    used_up = "as much was relayed for one of them as may be in a day"
    for end in (await one.end(), await other.end()):
        assert (end.reason, end.details) == ("relay-limit", used_up)
    first, second = await tickets(a, c)
    for ticket in (first, second):  # whoever comes first learns why nobody comes
        end = await (await enter(mediator, ticket)).end()
        assert (end.reason, end.details) == ("relay-limit", used_up)
    first, second = await tickets(a, c)
    waiting = await enter(mediator, second)
    await until(lambda: len(mediator._relay._desk) == 1)
    await enter(mediator, first)
    assert (await waiting.end()).details == used_up
    assert len(mediator._relay._desk._accounts) == 3  # of one peer and two pairs
    clock.advance(86_500)  # a day, and what was sent too much
    assert len(mediator._relay._desk._accounts) == 0


@pytest.mark.parametrize("limit", [{"max_relays": 1}, {"max_relays_per_key": 1}])
async def test_relays_at_once_are_few(
    start: StartMediator, peer: OpenPeer, enter: Enter, limit: dict[str, int]
) -> None:
    mediator = await start(**limit)
    a, b, c = (peer(mediator, n) for n in range(3))
    for one in (a, b, c):
        await one.enter()
    one, other = [await enter(mediator, ticket) for ticket in await tickets(a, b)]
    await one.present()
    await other.present()
    refused, _ = await tickets(a, c)
    end = await (await enter(mediator, refused)).end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "relay-limit")
    await one.close()
    await other.end()
    again = [await enter(mediator, ticket) for ticket in await tickets(a, c)]
    for stream in again:
        await stream.present()


# Ends.


async def test_a_silent_relay_is_ended(start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock) -> None:
    mediator = await start(patience=1000)
    one, other = await relay(mediator, peer, enter)
    clock.advance(30)
    await one.send(data=b"ping")
    await other.read()
    clock.advance(59.9)
    await one.send(data=b"ping")
    await other.read()
    clock.advance(75)
    for end in (await one.end(), await other.end()):
        assert (end.code, end.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "relay-idle")


async def test_a_key_that_is_taken_away_ends_its_relay(
    start: StartMediator, peer: OpenPeer, enter: Enter, admit: Callable[..., Path]
) -> None:
    folder = admit(0, 1)
    mediator = await start(authorized=folder)
    one, other = await relay(mediator, peer, enter)
    (folder / f"{peer(mediator, 0).id}.pem").unlink()
    await mediator.look()
    assert (await one.end()).reason == "not-admitted"
    assert (await other.end()).reason == "relay-peer-gone"


async def test_a_key_that_cannot_be_read_is_not_one_that_was_taken_away(
    start: StartMediator, peer: OpenPeer, enter: Enter, admit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_keys: KeyFolder, _name: str) -> None:
        raise KeysUnreadable

    mediator = await start(authorized=admit(0, 1))
    ticket, _ = await tickets(*await welcomed(mediator, peer))
    monkeypatch.setattr(KeyFolder, "whose", fail)
    end = await (await enter(mediator, ticket)).end()
    assert (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "keys-unreadable")


async def test_stopping_tells_both(mediator: Mediator, peer: OpenPeer, enter: Enter, join: Join) -> None:
    one, other = await relay(mediator, peer, enter)
    alone = join(mediator)
    await until(lambda: inside(mediator) == 1)
    await mediator.stop()
    for stream in (one, other, alone):
        assert (await stream.end()).reason == "shutting-down"


async def test_who_comes_while_it_stops_is_told(start: StartMediator, join: Join) -> None:
    mediator = await start()
    mediator._relay.stop()
    assert (await join(mediator).end()).reason == "shutting-down"


async def test_a_fault_of_the_mediator_is_logged_and_not_told(
    start: StartMediator,
    peer: OpenPeer,
    enter: Enter,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mediator = await start()
    one, other = await relay(mediator, peer, enter)

    def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("p2p_core.token_bucket.TokenBucket.take", fail)
    await one.send(data=b"x")
    for end in (await one.end(), await other.end()):
        assert (end.code, end.reason) == (grpc.StatusCode.INTERNAL, "internal")
        assert "secret" not in end.details
    assert "a secret" in caplog.text


# Hostile streams.


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xff\xff\xff", "malformed"),
        (b"", "out-of-order"),
        (pb.RelayMessage(data=b"x").SerializeToString(), "out-of-order"),
        (pb.RelayMessage(end=pb.End()).SerializeToString(), "out-of-order"),
        (pb.RelayMessage(data=LARGEST).SerializeToString(), "too-large"),
        (pb.RelayMessage(ticket=bytes(100)).SerializeToString(), "too-large"),
    ],
)
async def test_the_first_message_is_a_ticket(start: StartMediator, join: Join, message: bytes, reason: str) -> None:
    mediator = await start()
    stream = join(mediator)
    await stream.send_bytes(message)
    assert (await stream.end()).reason == reason


async def test_a_message_that_grpc_finds_too_large_ends_both(mediator: Mediator, peer: OpenPeer, enter: Enter) -> None:
    one, other = await relay(mediator, peer, enter)
    await one.send(data=bytes(len(LARGEST) + 100))
    end = await one.end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "")
    assert (await other.end()).reason == "relay-peer-gone"


async def test_a_ticket_has_a_deadline(start: StartMediator, join: Join, clock: ManualClock) -> None:
    mediator = await start()
    silent = join(mediator)
    await until(lambda: clock.pending == 1)
    clock.advance(10)
    end = await silent.end()
    assert (end.code, end.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "step-timeout")
    assert clock.pending == 0


async def test_streams_without_a_ticket_are_few_and_share_their_places_with_meet(
    start: StartMediator, peer: OpenPeer, join: Join, enter: Enter
) -> None:
    mediator = await start(max_unauthenticated=2)
    oldest = join(mediator)
    await until(lambda: inside(mediator) == 1)
    slow = peer(mediator, 2)
    await slow.challenged()
    join(mediator)
    assert (await oldest.end()).reason == "too-many-handshakes"
    await peer(mediator, 3).challenged()
    assert (await slow.end()).reason == "too-many-handshakes"


async def test_streams_without_a_ticket_count_for_their_address(
    start: StartMediator, peer: OpenPeer, join: Join, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(handshakes_per_second=0.5)  # two at once
    ticket = (await tickets(*await welcomed(mediator, peer)))[0]
    end = await (await enter(mediator, ticket)).end()
    assert (end.code, end.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "handshake-rate")
    clock.advance(2)
    await enter(mediator, ticket)  # it is good still
    await until(lambda: len(mediator._relay.here) == 1)


async def test_who_does_not_read_holds_up_its_own_relay_and_is_counted_until_it_goes(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock
) -> None:
    mediator = await start(relay_rate=0, patience=1000)
    first, second = await tickets(*await welcomed(mediator, peer))
    one = await enter(mediator, first)
    shut = await ShutConnection.open(mediator)
    shut.call("/punchwire.v1.Mediator/Relay", pb.RelayMessage(ticket=second).SerializeToString())
    await one.present()
    bridged = {stream for stream in mediator._relay._open if stream._writing is not None}
    assert len(bridged) == 1  # nothing goes to it
    await one.send(data=b"for nobody")
    clock.advance(75)
    assert (await one.end()).reason == "relay-idle"
    await until(lambda: inside(mediator) == 1)
    await shut.close()
    await until(lambda: inside(mediator) == 0 and not mediator._relay._open)


async def test_nothing_is_taken_before_the_other_side_is_there(start: StartMediator, peer: OpenPeer) -> None:
    mediator = await start()
    first, _ = await tickets(*await welcomed(mediator, peer))
    shut = await ShutConnection.open(mediator)
    stream = shut.call("/punchwire.v1.Mediator/Relay", pb.RelayMessage(ticket=first).SerializeToString())
    await until(lambda: len(mediator._relay._desk) == 1)
    for _ in range(100):
        await shut.flood(stream, bytes(1000))
    assert shut.sent < 256 * 1024
    await shut.close()


async def test_nothing_is_left_behind(
    start: StartMediator, peer: OpenPeer, enter: Enter, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    mediator = await start(relay_rate=FOUR)
    before = asyncio.all_tasks()
    a, b = await welcomed(mediator, peer)
    one, other = [await enter(mediator, ticket) for ticket in await tickets(a, b)]
    await one.present()
    await other.present()
    for _ in range(5):
        await one.send(data=LARGEST)  # the last one has to wait for its turn
    for _ in range(4):
        await other.read()
    alone, _ = await tickets(a, b)
    waiting = await enter(mediator, alone)
    await until(lambda: len(mediator._relay._desk) == 1)
    for stream in (one, waiting, a, b):
        await stream.close()
    assert (await other.end()).reason == "relay-peer-gone"
    await until(lambda: not mediator._relay._open and not inside(mediator))
    clock.advance(86_400)
    assert clock.pending == 0
    desk = mediator._relay._desk
    assert [*desk._issued, *desk._pairs, *desk._accounts._accounts, *[None] * desk._accounts.relays] == []
    await until(lambda: not {task for task in asyncio.all_tasks() - before if "_copy" in str(task.get_coro())})
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_the_log_names_nobody(
    start: StartMediator, peer: OpenPeer, enter: Enter, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="p2p_server")
    mediator = await start()
    one, other = await relay(mediator, peer, enter)
    await one.send(data=b"what is said")
    await other.read()
    await one.close()
    await other.end()
    told = [(event["event"], event["logger"]) for event in events(caplog) if "relay" in str(event["event"])]
    assert told == [("relay-began", logs.visits.name), ("relay-ended", logs.visits.name)]
    text = lines(caplog, show_peers=False)
    assert "relay-ended" in text
    for secret in ("127.0.0.1", "what is said", *(PeerId.of(keys.key(n).public_key()).short for n in range(2))):
        assert secret not in text
