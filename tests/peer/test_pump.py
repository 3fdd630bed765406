import asyncio
import os
import socket
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from p2p_core.errors import ConnectionLost, Malformed
from p2p_core.machines.pacing import RateLimit
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import Frame, Kind, Ping, encode, frame_header
from p2p_peer.channel import pump as pump_module
from p2p_peer.channel.channel import Channel
from p2p_peer.channel.pump import Pump

from tests.peer.made_up_link import IN_PIECES, WHOLE, Link
from tests.peer.other_side import Handler, block
from tests.peer.pair import channels, soon, until

MIB = 1024 * 1024


@dataclass
class End:
    pump: Pump
    handler: Handler
    channel: Channel


@pytest.fixture
async def ends() -> AsyncIterator[tuple[End, End]]:
    made = []
    for channel in await channels():
        handler = Handler()
        made.append(End(Pump(channel.stream, channel.reader, handler), handler, channel))
    for end in made:
        end.pump.start()
    yield made[0], made[1]
    for end in made:
        end.pump.abandon()


async def test_frames_come_in_order(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    for number in range(100):
        ours.pump.send(encode(Ping(number)))
    await until(lambda: len(theirs.handler.came) == 100)
    assert theirs.handler.came == [Ping(number) for number in range(100)]
    assert theirs.handler.heard_of
    assert not theirs.handler.lost


async def test_a_frame_goes_out_at_once(ends: tuple[End, End]) -> None:
    """Not in a later turn of the event loop: a message costs no latency of ours."""
    ours, theirs = ends
    theirs.channel.stream.socket.setblocking(False)
    asyncio.get_running_loop().remove_reader(theirs.channel.stream.socket)
    ours.pump.send(encode(Ping(1)))
    assert theirs.channel.stream.socket.recv(100, socket.MSG_PEEK)


async def test_control_frames_go_before_blocks(ends: tuple[End, End]) -> None:
    """In the middle of a transfer too: each waits for at most the block that has begun."""
    ours, theirs = ends
    blocks = [os.urandom(MIB) for _ in range(16)]
    ours.handler.blocks.extend(block(data, index) for index, data in enumerate(blocks))
    ours.pump.kick()
    ours.pump.send(encode(Ping(1)))
    assert ours.handler.blocks  # the socket is full long before all is sent
    await until(lambda: len(theirs.handler.came) == 17)
    position = theirs.handler.came.index(Ping(1))
    assert position < 16
    assert [part for part in theirs.handler.came if part != Ping(1)] == blocks
    assert ours.handler.written == 16


async def test_both_directions_at_once(ends: tuple[End, End]) -> None:
    blocks = [[os.urandom(MIB) for _ in range(8)] for _ in ends]
    for end, data in zip(ends, blocks, strict=True):
        end.handler.blocks.extend(block(part, index) for index, part in enumerate(data))
        end.pump.kick()
    await until(lambda: all(len(end.handler.came) == 8 for end in ends))
    assert [end.handler.came for end in ends] == blocks[::-1]


async def test_others_get_their_turn(ends: tuple[End, End]) -> None:
    """Reading and writing many MiB takes many turns of the event loop."""
    ours, theirs = ends
    ours.handler.blocks.extend(block(bytes(MIB), index) for index in range(16))
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(theirs.handler.came) < 16:
            loop.call_soon(turn)

    loop = asyncio.get_running_loop()
    ours.pump.kick()
    loop.call_soon(turn)
    await until(lambda: len(theirs.handler.came) == 16)
    assert turns >= 16


async def test_reading_waits_for_a_buffer(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    theirs.handler.gives_buffers = False
    ours.handler.blocks.extend(block(bytes(MIB), index) for index in range(64))
    ours.pump.kick()
    await until(lambda: theirs.handler.wanted is not None)
    assert theirs.pump.is_held_up
    for _ in range(200):
        await asyncio.sleep(0)
    waiting = len(ours.handler.blocks)
    assert waiting > 40  # only what the kernel holds is on its way
    assert theirs.handler.came == []
    theirs.handler.gives_buffers = True
    theirs.pump.provide(theirs.handler.buffer())
    await until(lambda: len(theirs.handler.came) == 64)
    assert not theirs.pump.is_held_up


async def test_one_who_asks_and_never_reads_is_read_no_more(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else its answers would fill our memory."""
    monkeypatch.setattr(pump_module, "MAX_REPLIES", 10_000)
    ours, theirs = ends
    reply, most = b"\x00\x00\x40\x00\x80" + bytes(0x4000), 0

    def answer(frame: Frame) -> None:
        nonlocal most
        ours.handler.came.append(frame)
        ours.pump.send(reply, is_reply=True)
        most = max(most, ours.pump._reply_bytes)

    ours.handler.frame_received = answer  # type: ignore[method-assign]
    theirs.handler.gives_buffers = False
    ours.pump.send(bytes(block(b"stop")))
    await until(lambda: theirs.pump.is_held_up)
    theirs.pump.send(encode(Ping(1)) * 5000)
    await until(lambda: ours.pump._reply_bytes > 10_000)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(ours.handler.came) < 5000
    assert most < 10_000 + 2 * len(reply)
    theirs.pump.provide(theirs.handler.buffer())  # it reads again
    await until(lambda: len(ours.handler.came) == 5000)
    assert not ours.handler.lost


async def test_small_frames_let_others_have_their_turn(ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "TURN_READS", 16)
    ours, theirs = ends
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1
        if len(theirs.handler.came) < 3000:
            asyncio.get_running_loop().call_soon(turn)

    ours.pump.send(encode(Ping(1)) * 3000)
    turn()
    await until(lambda: len(theirs.handler.came) == 3000)
    assert turns >= 2 * 3000 // 16 // 2  # each turn reads once because it is due, and once because there is more


async def test_what_tls_holds_already_is_read_when_the_buffer_comes(ends: tuple[End, End]) -> None:
    """A small block and what follows it fit one TLS record: the socket does not become readable again."""
    ours, theirs = ends
    theirs.handler.gives_buffers = False
    ours.pump.send(bytes(block(b"hello")) + encode(Ping(1)))
    await until(lambda: theirs.pump.is_held_up)
    theirs.pump.provide(theirs.handler.buffer())
    await until(lambda: theirs.handler.came == [b"hello", Ping(1)])


async def test_what_came_with_the_proof_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS may hold frames when the pump starts: nothing makes the socket readable then."""
    ours, theirs = await channels()
    ours.stream.write(memoryview(encode(Ping(1)) + encode(Ping(2))))
    space = theirs.reader.space()
    assert space is not None
    while (count := theirs.stream.read_into(space)) is None:  # as if it had come in the last flight
        await asyncio.sleep(0)
    assert theirs.reader.filled(count) is None
    handler = Handler()
    pump = Pump(theirs.stream, theirs.reader, handler)
    pump.start()
    await until(lambda: handler.came == [Ping(1), Ping(2)])
    pump.abandon()
    ours.stream.close()


# Slow links.


@pytest.fixture
async def link(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Link:
    """On whose clock the event loop goes: `request.param` is its rate and how it takes writes."""
    made = Link(*request.param)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", made.clock)
    return made


def started(link: Link, handler: Handler, limit: RateLimit | None = None) -> Pump:
    pump = Pump(link, FrameReader(), handler, limit)
    pump.start()
    return pump


async def passing(link: Link, seconds: float) -> None:
    """Let so much time pass on the link and in the event loop."""
    for _ in range(round(seconds * 1000)):
        link.run(0.001)
        await asyncio.sleep(0)


SLOW = [(rate, writes) for rate in (1e6, 5e6, 18e6) for writes in (WHOLE, IN_PIECES)]


@pytest.mark.parametrize("link", SLOW, indirect=True)
async def test_a_control_frame_waits_little_on_a_slow_link(link: Link) -> None:
    blocks = [os.urandom(MIB) for _ in range(40)]
    handler = Handler(blocks=deque(block(data, number) for number, data in enumerate(blocks)))
    pump = started(link, handler)
    await passing(link, 0.7)
    sent_at = {}
    for number in range(5):
        pump.send(encode(Ping(number)))
        sent_at[number] = link.now
        await passing(link, 0.261)
    waits = [link.arrived_at[number] - at for number, at in sent_at.items()]
    assert max(waits) < 0.125
    assert max(waits) > 0.02  # the link is kept busy
    handler.blocks.clear()
    await passing(link, 1.5)
    came = [part for part in link.came if not isinstance(part, Ping)]
    assert came == blocks[: len(came)]
    assert len(came) == handler.written
    assert pump.unwritten == 0


@pytest.mark.parametrize("link", [(20e3, WHOLE)], indirect=True)
async def test_a_control_frame_on_the_slowest_link(link: Link) -> None:
    """It waits for two parts of the smallest size."""
    handler = Handler(blocks=deque([block(bytes(MIB))]))
    pump = started(link, handler)
    await passing(link, 10)
    pump.send(encode(Ping(1)))
    begun = link.now
    await passing(link, 2)
    assert link.arrived_at[1] - begun < 2 * 16 * 1024 / 20e3


@pytest.mark.parametrize("link", [(200e6, WHOLE)], indirect=True)
async def test_blocks_go_whole_on_a_fast_link(link: Link) -> None:
    """After the first, by which that is found out: each is one write, and nothing is copied."""
    frames = [block(bytes(MIB), number) for number in range(8)]
    started(link, Handler(blocks=deque(frames)))
    await passing(link, 0.1)
    assert link.came == [bytes(MIB)] * 8
    assert link.sizes[-6:] == [len(frame) for frame in frames[-6:]]


@pytest.mark.parametrize("link", [(1e6, WHOLE)], indirect=True)
async def test_how_much_of_a_block_is_still_to_go(link: Link) -> None:
    frame = block(bytes(MIB))
    handler = Handler(blocks=deque([frame]))
    pump = started(link, handler)
    left = [pump.unwritten]
    while not handler.written:
        await passing(link, 0.01)
        left.append(pump.unwritten)
    assert left == sorted(left, reverse=True)
    assert len(set(left)) > 15
    assert MIB > left[0] > left[-1] == 0


# The limit.


@pytest.mark.parametrize(
    ("link", "rate"),
    [((1e9, WHOLE), 10_000), ((1e9, IN_PIECES), 300_000), ((1e9, WHOLE), 1_000_000), ((1e8, WHOLE), 20_000_000)],
    indirect=["link"],
)
async def test_blocks_go_as_fast_as_the_limit_lets_them(link: Link, rate: int) -> None:
    handler = Handler(blocks=deque(block(bytes(MIB), number) for number in range(80)))
    pump = started(link, handler, RateLimit(rate, link.now))
    for number in range(3):
        pump.send(encode(Ping(number)))
        sent_at = link.now
        await passing(link, 0.999)
        assert link.arrived_at[number] - sent_at < 0.02  # control frames do not wait for it
    assert link.written == pytest.approx(3 * rate, rel=0.05)


@pytest.mark.parametrize("link", [(1e9, WHOLE)], indirect=True)
async def test_a_limit_of_less_than_a_part_a_second(link: Link) -> None:
    handler = Handler(blocks=deque([block(bytes(1000)), block(bytes(500), 1)]))
    pump = started(link, handler, RateLimit(100, link.now))
    await passing(link, 6)
    assert handler.written == 0
    assert 500 < link.written < 1000
    pump.send(encode(Ping(1)))
    await passing(link, 0.002)
    assert link.came == [Ping(1)]
    await passing(link, 12)
    assert link.came == [Ping(1), bytes(1000), bytes(500)]


@pytest.mark.parametrize("link", [(1e9, WHOLE)], indirect=True)
async def test_another_channel_brings_nothing_extra(link: Link) -> None:
    """Else whoever's channels break often would not be held to the limit."""
    limit = RateLimit(100_000, link.now)
    total = 0
    for number in range(20):
        one = Link(1e9)
        one.now = link.now
        pump = started(one, Handler(blocks=deque([block(bytes(MIB), number)])), limit)
        for _ in range(100):
            link.run(0.001)
            one.run(0.001)
            await asyncio.sleep(0)
        pump.rest()
        total += one.written
    assert total == pytest.approx(200_000, rel=0.05)


async def test_an_end_does_not_wait_for_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "LINGER", 1000.0)
    channel, other = await channels()
    now = asyncio.get_running_loop().time()
    handlers = Handler(blocks=deque([block(bytes(MIB))])), Handler()
    ours = Pump(channel.stream, channel.reader, handlers[0], RateLimit(1000, now))
    theirs = Pump(other.stream, other.reader, handlers[1])
    ours.start()
    theirs.start()
    ours.send(encode(Ping(1)))
    closing = asyncio.create_task(ours.close())
    await until(lambda: handlers[1].lost == [None])
    assert handlers[1].came == [Ping(1)]
    theirs.abandon()
    await soon(closing)


# The end.


async def test_a_proper_end(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.pump.send(encode(Ping(1)))
    await soon(asyncio.gather(ours.pump.close(), theirs.pump.close()))
    assert theirs.handler.came == [Ping(1)]
    assert ours.channel.stream.socket.fileno() == theirs.channel.stream.socket.fileno() == -1
    assert ours.handler.lost == theirs.handler.lost == []  # both wanted it


async def test_the_other_side_ends_properly(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    closing = asyncio.create_task(ours.pump.close())
    await until(lambda: theirs.handler.lost == [None])
    theirs.pump.abandon()
    await soon(closing)


async def test_what_is_queued_goes_out_before_the_end(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    for number in range(3000):
        ours.pump.send(encode(Ping(number)))
    closing = asyncio.create_task(ours.pump.close())
    await until(lambda: theirs.handler.lost == [None])
    theirs.pump.abandon()
    await soon(closing)
    assert len(theirs.handler.came) == 3000


async def test_an_end_that_is_not_answered(ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "LINGER", 0.02)
    ours, theirs = ends
    await soon(ours.pump.close())
    assert ours.channel.stream.socket.fileno() == -1
    await until(lambda: theirs.handler.lost == [None])


async def test_an_end_towards_one_who_does_not_read(ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "LINGER", 0.02)
    ours, theirs = ends
    theirs.handler.gives_buffers = False
    ours.handler.blocks.extend(block(bytes(MIB), index) for index in range(64))
    ours.pump.kick()
    await until(lambda: theirs.pump.is_held_up)
    await soon(ours.pump.close())
    assert ours.channel.stream.socket.fileno() == -1


async def test_a_close_that_is_cancelled_closes_the_socket(ends: tuple[End, End]) -> None:
    closing = asyncio.create_task(ends[0].pump.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert ends[0].channel.stream.socket.fileno() == -1


@pytest.mark.parametrize("linger", [False, True])
async def test_the_connection_breaks(ends: tuple[End, End], linger: bool) -> None:
    ours, theirs = ends
    sock = theirs.channel.stream.socket
    if linger:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    theirs.pump.abandon()
    await until(lambda: bool(ours.handler.lost))
    assert isinstance(ours.handler.lost[0], ConnectionLost)
    assert len(ours.handler.lost) == 1
    ours.pump.send(encode(Ping(1)))  # to nobody: it is dropped
    ours.pump.kick()
    await soon(ours.pump.close())


async def test_writing_finds_the_break(ends: tuple[End, End]) -> None:
    """A break that shows itself to the writer first is told once."""
    ours, theirs = ends
    theirs.handler.gives_buffers = False
    ours.handler.blocks.extend(block(bytes(MIB), index) for index in range(64))
    ours.pump.kick()
    await until(lambda: theirs.pump.is_held_up)
    theirs.pump.abandon()  # with bytes unread: a reset
    await until(lambda: bool(ours.handler.lost))
    assert [type(error) for error in ours.handler.lost] == [ConnectionLost]


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x00\x7f",  # a kind nobody knows
        b"\x00\x02\x00\x01\x02",  # a control frame too long
        b"\x00\x00\x00\x00\x40",  # blocks without a header
        b"\x00\x00\x00\x02\x0b\xff\xff",  # a body that does not parse
        frame_header(Kind.PART, 1),  # of no blocks
    ],
)
async def test_broken_rules(ends: tuple[End, End], data: bytes) -> None:
    ours, theirs = ends
    ours.pump.send(data)
    await until(lambda: bool(theirs.handler.lost))
    assert [type(error) for error in theirs.handler.lost] == [Malformed]


async def test_a_kind_that_may_be_ignored(ends: tuple[End, End]) -> None:
    ours, theirs = ends
    ours.pump.send(b"\x00\x00\x00\x03\x80abc" + b"\x00\x00\x00\x00\xff" + encode(Ping(1)))
    await until(lambda: theirs.handler.came == [Ping(1)])
    assert not theirs.handler.lost
