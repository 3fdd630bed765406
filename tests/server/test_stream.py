"""Streams whose client takes no message: each is over in time, and counted until gRPC is rid of it."""

from collections.abc import AsyncIterator

import pytest
from p2p_core.identity import public_der
from p2p_core.proof import prove
from p2p_proto import mediator_pb2 as pb
from p2p_server.app import Mediator

from tests import keys
from tests.server.client import until
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.raw_http2 import ShutConnection

MEET = "/punchwire.v1.Mediator/Meet"
HELLO = pb.Hello(version=1, public_key=public_der(keys.key(0).public_key()), nonce=bytes(32))
PREFIX = 5  # bytes of gRPC before a message


@pytest.fixture
async def mediator(start: StartMediator) -> Mediator:
    """Two streams may be without a key behind them."""
    return await start(insecure=True, max_unauthenticated=2)


@pytest.fixture
async def shut(mediator: Mediator) -> AsyncIterator[ShutConnection]:
    connection = await ShutConnection.open(mediator)
    yield connection
    await connection.close()


async def stuck(shut: ShutConnection) -> int:
    """Open a stream that is challenged and does not take the Challenge."""
    stream = shut.call(MEET, pb.ToMediator(hello=HELLO).SerializeToString())
    await until(lambda: stream in shut.begun)
    return stream


def inside(mediator: Mediator) -> int:
    return mediator._meet._setting.admission.unauthenticated


async def test_streams_that_cannot_be_told_their_end_are_counted_and_take_nobodys_place(
    mediator: Mediator, shut: ShutConnection, peer: OpenPeer, clock: ManualClock
) -> None:
    for _ in range(2):
        await stuck(shut)
    clock.advance(10)
    assert clock.pending == 0  # both are over
    for number in (1, 2, 3):
        await peer(mediator, number).enter()
    assert (inside(mediator), shut.over) == (2, set())
    await shut.close()
    await until(lambda: inside(mediator) == 0)


async def test_who_begins_and_goes_no_further_makes_room_for_others(
    mediator: Mediator, shut: ShutConnection, peer: OpenPeer
) -> None:
    """Strangers that hold all the places lock nobody out."""
    for _ in range(8):
        await stuck(shut)
    for number in (1, 2, 3):
        await peer(mediator, number).enter()
    assert inside(mediator) == 8


async def test_it_is_told_once_it_reads(
    mediator: Mediator, shut: ShutConnection, peer: OpenPeer, clock: ManualClock
) -> None:
    first, second = await stuck(shut), await stuck(shut)
    clock.advance(10)
    shut.open_window(first, 1000)
    await until(lambda: first in shut.over and inside(mediator) == 1)
    assert second not in shut.over
    await peer(mediator, 1).enter()


async def test_a_stream_half_closed_by_a_client_that_does_not_read_keeps_its_place(
    mediator: Mediator, shut: ShutConnection, clock: ManualClock
) -> None:
    stream = await stuck(shut)
    shut.half_close(stream)
    await until(lambda: clock.pending == 0)
    assert inside(mediator) == 1
    shut.open_window(stream, 1000)
    await until(lambda: stream in shut.over and inside(mediator) == 0)


async def test_a_connection_that_goes_is_no_error(
    mediator: Mediator, shut: ShutConnection, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    await stuck(shut)
    shut.half_close(await stuck(shut))
    await until(lambda: clock.pending == 1)
    clock.advance(10)
    await shut.close()
    await until(lambda: inside(mediator) == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_welcomed_stream_that_is_over_is_counted_and_takes_nobodys_place(
    mediator: Mediator, shut: ShutConnection, peer: OpenPeer, clock: ManualClock
) -> None:
    """The window lets the Challenge through, and of the Welcome one byte."""
    a = peer(mediator, 0)
    a.nonce = HELLO.nonce
    stream = await stuck(shut)
    size = PREFIX + pb.ToPeer(challenge=pb.Challenge(version=1, nonce=bytes(32))).ByteSize()
    shut.open_window(stream, size + 1)
    await until(lambda: len(shut.received[stream]) == size)
    challenge = pb.ToPeer.FromString(shut.received[stream][PREFIX:size]).challenge
    proof = pb.Proof(signature=prove(a.key, a.transcript(challenge)))
    shut.send_message(stream, pb.ToMediator(proof=proof).SerializeToString())
    await until(lambda: len(shut.received[stream]) == size + 1)
    assert inside(mediator) == 0
    clock.advance(45)  # no Pong
    assert inside(mediator) == 1
    b = peer(mediator, 1)
    await b.enter()
    assert (inside(mediator), shut.over) == (1, set())
    await b.close()
    await shut.close()
    await until(lambda: inside(mediator) == 0 and not mediator._meet._open)


async def test_what_nobody_reads_is_not_taken(mediator: Mediator, shut: ShutConnection, clock: ManualClock) -> None:
    """A window that gRPC lets grow took hundreds of MiB on one stream."""
    stream = await stuck(shut)
    clock.advance(10)
    for _ in range(100):
        await shut.flood(stream, bytes(1000))
    assert shut.sent < 256 * 1024


async def test_the_mediator_stops_in_spite_of_them(
    mediator: Mediator, shut: ShutConnection, clock: ManualClock
) -> None:
    await stuck(shut)
    await mediator.stop()
    await until(lambda: inside(mediator) == 0)
    assert clock.pending == 0
