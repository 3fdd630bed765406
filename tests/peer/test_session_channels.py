"""A live session moves from channel to channel; the channels are real, and break."""

import asyncio
import os
import random
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, NoPath, RemoteProtocolError, SourceChanged, TransferFailed
from p2p_core.machines.channels import FellSilent
from p2p_core.machines.liveness import DEAD_AFTER
from p2p_core.machines.session import FAREWELL_TIME
from p2p_core.proof import PathKind, Role
from p2p_core.wire.frames import Frame, MessageAck, Ping, Resume, TextMessage
from p2p_peer import event_queue
from p2p_peer.events import (
    FileFailed,
    MessageReceived,
    PathChanged,
    PathLost,
    SessionEvent,
    StillLooking,
    TransferOffered,
    TransferProgress,
    TransferReceived,
    TransferSent,
)
from p2p_peer.transfer.block_writer import BlockWriter

from tests.peer.breaking import FakeKeeper, Moving
from tests.peer.other_side import OtherSide, block
from tests.peer.pair import PATIENCE, Clock, Peer, channels, leftovers, session_on, soon, until
from tests.peer.quic_pair import udp_paths
from tests.peer.receiving import contents
from tests.peer.slow_disk import closed_gate
from tests.peer.tries import Blocks, standard_input

MIB = 1024 * 1024


@pytest.fixture
async def moving(tmp_path: Path) -> AsyncIterator[Moving]:
    made = await Moving.begin(tmp_path)
    yield made
    await made.end()


# Bulk, both ways.


class Traffic:
    """Files and chat in both directions at once."""

    def __init__(self, moving: Moving, size: int) -> None:
        self._moving = moving
        self.paths = [moving.pair.file(name, size) for name in ("a", "b")]
        self._texts: list[list[str]] = [[], []]
        for peer in moving.peers:
            peer.accept_all(moving.pair.inbox)
        sessions = moving.pair.sessions
        self._sendings = [
            asyncio.create_task(session.send([path])) for session, path in zip(sessions, self.paths, strict=True)
        ]

    def chat(self, count: int) -> None:
        """Let both sides write."""
        for session, texts in zip(self._moving.pair.sessions, self._texts, strict=True):
            for _ in range(count):
                texts.append(f"line {len(texts)}")
                session.send_message(texts[-1])

    async def check(self) -> None:
        """Wait for all of it: once, whole and in order. Then leave."""
        await asyncio.wait_for(asyncio.gather(*self._sendings), 60)
        for peer, other in (self._moving.peers, self._moving.peers[::-1]):
            received = await other.wait_for(TransferReceived)
            texts = self._texts[self._moving.peers.index(peer)]
            if texts:
                await other.wait_for(MessageReceived, len(texts))
            assert [event.text for event in other.all(MessageReceived)] == texts
            assert len(peer.all(TransferSent)) == len(other.all(TransferReceived)) == 1
            path = self.paths[self._moving.peers.index(peer)]
            assert received.paths[0].read_bytes() == path.read_bytes()
            assert received.moved == peer.all(TransferSent)[0].moved == path.stat().st_size
            for transfer in (1, 2):
                told = [event.bytes for event in peer.all(TransferProgress) if event.transfer == transfer]
                assert told == sorted(told)
        await self._moving.pair.close()
        assert leftovers(self._moving.pair.inbox) == []


async def test_a_connection_that_breaks_ten_times(tmp_path: Path) -> None:
    dice = random.Random(1)
    cuts = [dice.randrange(50_000, 12 * MIB) for _ in range(10)]
    moving = await Moving.begin(tmp_path, most=cuts[0])
    traffic = Traffic(moving, 64 * MIB)
    for count, most in enumerate([*cuts[1:], float("inf")], 1):
        traffic.chat(10)
        await moving.lost(count)
        traffic.chat(10)
        await moving.move(most)
    await traffic.check()
    for peer in moving.peers:
        assert len(peer.all(PathLost)) <= 10
        assert len(peer.all(PathChanged)) == len(peer.all(PathLost))
    await moving.end()


async def test_a_connection_that_is_left_while_it_works(moving: Moving) -> None:
    """What is on its way over the old one is lost, however much it is."""
    made = [await moving.new_channels() for _ in range(10)]
    traffic = Traffic(moving, 64 * MIB)
    for wire, both in zip(moving.wires, made, strict=False):
        traffic.chat(10)
        await wire.has_carried(3 * MIB)
        for session, channel in zip(moving.pair.sessions, both, strict=True):
            session.move_to(channel)
    await traffic.check()
    for peer in moving.peers:
        assert len(peer.all(PathChanged)) == 10
        assert not peer.all(PathLost)
    assert [peer.ended for peer in moving.peers] == [None, None]


# Between two channels.


async def lose(moving: Moving) -> None:
    moving.wires[-1].cut()
    await moving.lost(1)
    await asyncio.gather(*(peer.wait_for(PathLost) for peer in moving.peers))


async def test_what_is_said_between_two_channels_goes_out_on_the_next(moving: Moving) -> None:
    ours, theirs = moving.peers
    await lose(moving)
    deliveries = [ours.session.send_message(text) for text in ("one", "two")]
    theirs.accept_all(moving.pair.inbox)
    moving.pair.file("a", 3 * MIB)
    sending = moving.pair.start("a")
    await until(lambda: bool(ours.all(TransferProgress)))  # it is offered
    assert not any(delivery.done() for delivery in deliveries)
    await moving.move()
    await soon(asyncio.gather(*deliveries, sending))
    assert [event.text for event in theirs.all(MessageReceived)] == ["one", "two"]
    assert ours.all(PathLost) == [PathLost(moving.keepers[0].lost[0])]
    await moving.pair.close()
    assert [peer.ended for peer in moving.peers] == [None, None]
    assert [len(keeper.lost) for keeper in moving.keepers] == [1, 1]  # a proper end is no loss


async def test_why_there_is_no_channel_yet_is_told(moving: Moving) -> None:
    ours = moving.pair.initiator
    ours.session.still_looking("there is a channel")
    await lose(moving)
    ours.session.still_looking("the other side did not come")
    await ours.wait_for(StillLooking)
    assert ours.all(StillLooking) == [StillLooking("the other side did not come")]
    ours.session.give_up(ConnectionLost("too long"))
    ours.session.still_looking("nobody wants to know")
    assert str(await ours.end()) == "too long"
    assert len(ours.all(StillLooking)) == 1


async def test_the_path_is_the_one_it_runs_on(moving: Moving) -> None:
    session = moving.pair.initiator.session
    before = session.address
    await moving.move()
    await moving.moved()
    assert session.address != before
    assert moving.pair.initiator.all(PathChanged) == [PathChanged(PathKind.TCP, session.address, "")]
    assert session.key_exchange == "X25519MLKEM768"


async def test_why_there_is_no_better_path_is_told(moving: Moving) -> None:
    for session, channel in zip(moving.pair.sessions, await moving.new_channels(), strict=True):
        session.move_to(channel, "no TCP came through")
    assert (await moving.pair.initiator.wait_for(PathChanged)).why_no_better == "no TCP came through"


async def test_one_side_moves_first(moving: Moving) -> None:
    """The other side does not take that for a loss."""
    ours, theirs = moving.pair.sessions
    first, second = await moving.new_channels()
    first_message = theirs.send_message("on the old one")
    ours.move_to(first)
    second_message = theirs.send_message("still on the old one")
    answer = ours.send_message("on the new one")
    for _ in range(20):
        await asyncio.sleep(0)
    assert not second_message.done()
    assert not moving.keepers[1].lost
    theirs.move_to(second)
    await soon(asyncio.gather(first_message, second_message, answer))
    assert [event.text for event in moving.pair.initiator.all(MessageReceived)] == [
        "on the old one",
        "still on the old one",
    ]
    assert not any(peer.all(PathLost) for peer in moving.peers)


async def test_a_new_channel_that_breaks_before_a_word_is_one_loss_with_the_old_one(moving: Moving) -> None:
    await lose(moving)
    moving.pair.initiator.session.send_message("hello")
    ours, theirs = await moving.new_channels()
    moving.pair.initiator.session.move_to(ours)
    moving.wires[-1].cut()
    theirs.stream.close()
    await until(lambda: len(moving.keepers[0].lost) == 2)
    await moving.move()
    await moving.moved()
    await moving.pair.responder.wait_for(MessageReceived)
    assert len(moving.pair.initiator.all(PathLost)) == 1


async def test_a_channel_that_has_gone_silent_is_lost(moving: Moving, clock: Clock) -> None:
    session = moving.pair.initiator.session
    session._driver._pump._stop_reading()
    clock.advance(DEAD_AFTER)
    session._driver._on_deadline()
    assert isinstance(moving.keepers[0].lost[0], FellSilent)
    assert str(moving.keepers[0].lost[0]) == "the other side has gone silent"
    await moving.move()
    await soon(session.send_message("hello"))


# The end.


async def test_a_keeper_that_does_not_keep(moving: Moving) -> None:
    for keeper in moving.keepers:
        keeper.willing = False
    moving.wires[-1].cut()
    for peer in moving.peers:
        assert isinstance(await peer.end(), ConnectionLost)
        assert not peer.all(PathLost)


async def test_a_keeper_that_gives_up(moving: Moving) -> None:
    session = moving.pair.initiator.session
    session.give_up(NoPath("too early"))
    assert not session.is_over
    await lose(moving)
    delivery = session.send_message("never")
    error = NoPath("nothing came through")
    session.give_up(error)
    assert await moving.pair.initiator.end() is error
    with pytest.raises(NoPath):
        await delivery


async def test_leaving_between_channels_waits_for_what_is_outstanding(moving: Moving) -> None:
    await lose(moving)
    delivery = moving.pair.initiator.session.send_message("hello")
    closing = asyncio.gather(*(session.close() for session in moving.pair.sessions))
    await asyncio.sleep(0)
    assert not closing.done()
    await moving.move()
    await soon(closing)
    assert delivery.exception() is None
    assert [await peer.end() for peer in moving.peers] == [None, None]


async def test_leaving_between_channels_with_nothing_outstanding_takes_no_longer_than_a_farewell(
    moving: Moving, clock: Clock
) -> None:
    await lose(moving)
    session = moving.pair.initiator.session
    closing = asyncio.create_task(session.close())
    await asyncio.sleep(0)
    assert not session.is_over
    clock.advance(FAREWELL_TIME)
    await soon(closing)
    assert await moving.pair.initiator.end() is None


async def test_leaving_at_once_between_channels(moving: Moving) -> None:
    await lose(moving)
    moving.pair.initiator.session.send_message("never mind")
    await soon(moving.pair.initiator.session.abort("no time"))
    assert await moving.pair.initiator.end() is None


@pytest.mark.parametrize("then", ["abort", "close"])
async def test_the_session_ends_while_it_moves(moving: Moving, then: str) -> None:
    """Neither the old channel nor the new one is left behind."""
    ours, theirs = await moving.new_channels()
    session = moving.pair.initiator.session
    session.move_to(ours)
    ending = asyncio.create_task(session.abort("no time") if then == "abort" else session.close())
    await asyncio.sleep(0)
    moving.pair.responder.session.move_to(theirs)
    await soon(ending)


async def test_a_channel_that_comes_too_late_is_closed(moving: Moving) -> None:
    ours, theirs = await moving.new_channels()
    await moving.pair.close()
    for session, channel in zip(moving.pair.sessions, (ours, theirs), strict=True):
        session.move_to(channel)
    assert [channel.stream.socket.fileno() for channel in (ours, theirs)] == [-1, -1]  # type: ignore[attr-defined]


# Files, at awkward moments.


@pytest.mark.parametrize("until_when", ["both have moved", "one has moved"])
async def test_lost_while_a_disk_holds_it_up(
    moving: Moving, until_when: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A block waits for a buffer, and the other four wait for the disk."""
    with closed_gate(monkeypatch) as gate:
        ours, theirs = moving.peers
        theirs.accept_all(moving.pair.inbox)
        path = moving.pair.file("a", 8 * MIB)
        sending = moving.pair.start("a")
        await until(lambda: theirs.session._driver._pump.is_held_up)
        moving.wires[-1].cut()
        await ours.wait_for(PathLost)
        first, second = await moving.new_channels()
        theirs.session.move_to(second)
        if until_when == "one has moved":
            gate.set()
            await until(lambda: theirs.session._driver.incoming._transfers[1].progress.moved == 4 * MIB)
        ours.session.move_to(first)
        await moving.moved()
        gate.set()
        await soon(sending)
    received = await theirs.wait_for(TransferReceived)
    assert received.paths[0].read_bytes() == path.read_bytes()
    assert not [record for record in caplog.records if record.name == "asyncio"]  # no callback failed


async def test_lost_in_the_middle_of_a_block(moving: Moving) -> None:
    """Its buffer is free again: there are four, and this happens more often."""
    theirs = moving.pair.responder
    theirs.accept_all(moving.pair.inbox)
    path = moving.pair.file("a", 8 * MIB)
    made = [await moving.new_channels(most=1024 * 1024 + 300_000) for _ in range(6)]
    sending = moving.pair.start("a")
    for count, both in enumerate(made):
        for session, channel in zip(moving.pair.sessions, both, strict=True):
            session.move_to(channel)
        await moving.lost(count + 1)
    await moving.move()
    await soon(sending)
    received = await theirs.wait_for(TransferReceived)
    assert received.paths[0].read_bytes() == path.read_bytes()


async def test_given_up_between_channels(moving: Moving) -> None:
    """By either side; the next files are not held up."""
    ours, theirs = moving.peers
    theirs.accept_all(moving.pair.inbox)
    sendings = []
    for name in ("a", "b", "c"):
        moving.pair.file(name, 40 * MIB)
        sendings.append(moving.pair.start(name))
        await until(lambda: len(theirs.session._driver.incoming._transfers) == len(sendings))
    await moving.wires[-1].has_carried(3 * MIB)
    await lose(moving)
    ours.session.cancel(1)
    theirs.session.cancel(3)
    await moving.move()
    first, second, third = await soon(asyncio.gather(*sendings, return_exceptions=True))
    assert isinstance(first, TransferFailed)
    assert isinstance(second, TransferFailed)
    assert isinstance(third, TransferSent)
    await soon(moving.pair.close())
    assert len(leftovers(moving.pair.inbox)) == 1  # of what the sender gave up: the receiver may want it yet


async def test_a_file_that_changed_while_there_was_no_channel(moving: Moving) -> None:
    ours, theirs = moving.peers
    theirs.accept_all(moving.pair.inbox)
    path = moving.pair.file("a", 40 * MIB)
    moving.pair.file("b", 1)
    sending = moving.pair.start("a", "b")
    await moving.wires[-1].has_carried(MIB)
    await lose(moving)
    path.write_bytes(bytes(40 * MIB))
    await moving.move()
    sent = await soon(sending)
    assert (sent.files, sent.failed) == (1, 1)
    assert isinstance((await ours.wait_for(FileFailed)).error, SourceChanged)
    failed = await theirs.wait_for(FileFailed)
    assert (failed.path, str(failed.error)) == ("a", "the other side cannot send it: it changed while it was sent")
    await moving.pair.close()
    assert [path.name for path in moving.pair.inbox.iterdir()] == ["b"]


async def through_cuts(
    tmp_path: Path, cuts: list[int], send: Callable[[Moving], "asyncio.Task[TransferSent]"]
) -> Moving:
    """Have something sent on wires that break after so many bytes each; the last one does not."""
    moving = await Moving.begin(tmp_path, most=cuts[0])
    moving.pair.responder.accept_all(moving.pair.inbox)
    sending = send(moving)
    for count, most in enumerate([*cuts[1:], float("inf")], 1):
        await moving.lost(count)
        assert not sending.done()
        await moving.move(most)
    sent = await soon(sending)
    received = await moving.pair.responder.wait_for(TransferReceived)
    assert (sent.size, sent.moved, sent.failed) == (received.size, received.moved, 0)
    assert sent.moved == sent.size
    await moving.pair.close()
    await moving.end()
    return moving


@pytest.mark.parametrize("seed", range(5))
async def test_small_files_on_a_connection_that_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """In the middle of batches; nothing that was verified comes twice, and each file is there once."""
    dice, blocks = random.Random(seed), Blocks(monkeypatch)
    verified: list[int] = []
    real = BlockWriter._verify

    def verify(writer: BlockWriter, buffer: memoryview, first: int, digests: bytes, length: int) -> None:
        real(writer, buffer, first, digests, length)
        verified.extend(range(first, first + len(digests) // 32))

    monkeypatch.setattr(BlockWriter, "_verify", verify)

    def send(moving: Moving) -> "asyncio.Task[TransferSent]":
        for number in range(1500):
            moving.pair.file(f"it/{number % 7}/{number}", 1000 + number)
        return moving.pair.start("it")

    cuts = [dice.randrange(150_000, 400_000) for _ in range(6)]
    moving = await through_cuts(tmp_path, cuts, send)
    assert verified == list(range(1500))
    assert blocks.stored == set(range(1500))
    assert contents(moving.pair.inbox) == contents(moving.pair.outbox), f"seed {seed}"


@pytest.mark.parametrize("seed", range(5))
async def test_a_stream_on_a_connection_that_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Standard input cannot be read again: what was not verified is kept."""
    dice = random.Random(seed)
    content = dice.randbytes(20 * MIB + 5)

    def send(moving: Moving) -> "asyncio.Task[TransferSent]":
        moving.pair.file("a", 2 * MIB)
        return asyncio.create_task(moving.pair.initiator.session.send([moving.pair.outbox / "a", "-"]))

    with standard_input(monkeypatch, content):
        moving = await through_cuts(tmp_path, [dice.randrange(60_000, 4 * MIB) for _ in range(5)], send)
    there = contents(moving.pair.inbox)
    assert there == {"a": (moving.pair.outbox / "a").read_bytes(), "stdin": content}, f"seed {seed}"


async def test_lost_when_all_is_sent_and_before_the_receipt(moving: Moving, monkeypatch: pytest.MonkeyPatch) -> None:
    """The receipt comes over the next channel."""
    theirs = moving.pair.responder
    theirs.accept_all(moving.pair.inbox)
    moving.pair.file("a", 2 * MIB)
    with closed_gate(monkeypatch) as gate:
        sending = moving.pair.start("a")
        await until(lambda: bool(theirs.session._driver.unfinished._held))
        await lose(moving)
        gate.set()
        await theirs.wait_for(TransferReceived)
    assert not sending.done()
    await moving.move()
    assert (await soon(sending)).moved == 2 * MIB


async def test_answered_between_channels(moving: Moving) -> None:
    theirs = moving.pair.responder
    moving.pair.file("a", MIB)
    sending = moving.pair.start("a")
    offered = await theirs.wait_for(TransferOffered)
    await lose(moving)
    theirs.session.accept(offered, moving.pair.inbox)
    await until(lambda: not theirs.session._driver.incoming.opening)
    await moving.move()
    assert (await soon(sending)).files == 1


async def test_a_file_that_cannot_be_stored_is_told_over_the_next_channel(
    moving: Moving, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = moving.peers
    theirs.accept_all(moving.pair.inbox)
    (moving.pair.outbox / "a").write_bytes(b"bad")
    moving.pair.file("b", 3 * MIB)
    real = os.pwrite
    gate = threading.Event()

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        if bytes(data[:3]) == b"bad":
            assert gate.wait(PATIENCE)
            raise PermissionError(13, "Permission denied")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    sending = moving.pair.start("a", "b")
    await moving.wires[-1].has_carried(MIB)
    await lose(moving)
    gate.set()
    await theirs.wait_for(FileFailed)
    assert not ours.all(FileFailed)
    await moving.move()
    sent = await soon(sending)
    assert (sent.files, sent.failed) == (1, 1)
    assert ours.all(FileFailed)[0].path == "a"


# A user who does not read.


async def test_a_full_session_still_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_queue, "MAX_UNREAD", 1024)
    moving = await Moving.begin(tmp_path)
    peer = moving.pair.responder
    reading = asyncio.Event()
    real_get = peer.session._driver.events.get

    async def get() -> SessionEvent | None:
        await reading.wait()
        return await real_get()

    monkeypatch.setattr(peer.session._driver.events, "get", get)
    session = moving.pair.initiator.session
    moving.pair.file("a", 1)
    sending = moving.pair.start("a")
    await until(lambda: bool(session._driver.sendings._futures))
    deliveries = [session.send_message("x" * 2000) for _ in range(2)]
    await until(lambda: peer.session._driver._pump.is_held_up)
    await moving.move()
    peer.session.cancel(1)  # one event more
    await until(lambda: peer.session._machine.is_talking and peer.session._driver._pump.is_held_up)
    deliveries.append(session.send_message("more"))
    reading.set()
    await soon(asyncio.gather(*deliveries))
    assert isinstance((await soon(asyncio.gather(sending, return_exceptions=True)))[0], TransferFailed)
    await moving.end()
    assert [event.text for event in peer.all(MessageReceived)] == ["x" * 2000, "x" * 2000, "more"]


# A hostile other side.


HOSTILE: dict[str, Callable[[OtherSide], list[Frame | memoryview]]] = {
    "a count of what was never sent": lambda other: [Resume(other.received + 1)],
    "twice": lambda other: [Resume(other.received), Resume(other.received)],
    "a file never offered": lambda other: [Resume(other.received, ((2, 0), (1, 0)))],
    "something else first": lambda other: [Ping(1), Resume(other.received)],
    "a block first": lambda other: [block(b"x"), Resume(other.received)],
    "a body that does not parse": lambda other: [memoryview(b"\0\0\0\1\x0d\xff")],
}


@pytest.mark.parametrize("says", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_resumption(says: Callable[[OtherSide], list[Frame | memoryview]]) -> None:
    keeper = FakeKeeper()
    ours, theirs = await channels()
    peer = Peer(session_on(ours, Role.INITIATOR, keeper))
    first = OtherSide(theirs, Role.RESPONDER)
    peer.session.send_message("hello")
    await first.wait_for(TextMessage)
    ours, theirs = await channels()
    peer.session.move_to(ours)
    second = OtherSide(theirs, Role.RESPONDER)
    assert await second.wait_for(Resume) == Resume(0)
    second.send(*says(first))
    assert isinstance(await peer.end(), RemoteProtocolError)
    assert keeper.lost == []  # nothing better is to be expected of it
    await peer.session.wait_closed()
    for other in (first, second):
        other.pump.abandon()


async def test_a_resumption_on_the_first_channel(honest: tuple[Peer, OtherSide]) -> None:
    peer, other = honest
    other.send(Resume(0))
    assert isinstance(await peer.end(), RemoteProtocolError)


async def test_nothing_is_said_on_a_new_channel_before_the_other_side_has_spoken() -> None:
    ours, theirs = await channels()
    peer = Peer(session_on(ours, Role.INITIATOR, FakeKeeper()))
    first = OtherSide(theirs, Role.RESPONDER)
    ours, theirs = await channels()
    peer.session.move_to(ours)
    second = OtherSide(theirs, Role.RESPONDER)
    delivery = peer.session.send_message("hello")
    await second.wait_for(Resume)
    for _ in range(20):
        await asyncio.sleep(0)
    assert second.came == [Resume(0)]
    second.send(Resume(0))
    await second.wait_for(TextMessage)
    second.send(MessageAck(1))
    await soon(delivery)
    for other in (first, second):
        other.pump.abandon()
    await soon(peer.session.abort("the test is over"))
    await peer.end()


# From one kind of path to another.


async def test_from_tcp_to_quic_and_back(moving: Moving) -> None:
    traffic = Traffic(moving, 24 * MIB)
    quic, tcp = await channels(udp_paths()), await moving.new_channels()
    await moving.wires[0].has_carried(3 * MIB)
    for count, (both, kind) in enumerate(((quic, PathKind.QUIC), (tcp, PathKind.TCP)), 1):
        for session, channel in zip(moving.pair.sessions, both, strict=True):
            session.move_to(channel)
        traffic.chat(10)
        await moving.moved(count)
        assert [session.path for session in moving.pair.sessions] == [kind, kind]
        for peer in moving.peers:
            await peer.wait_for(MessageReceived, 10 * count)
    await traffic.check()
