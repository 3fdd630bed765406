import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.errors import (
    ConnectionLost,
    LocalProtocolError,
    RemoteProtocolError,
)
from p2p_core.identity import PeerId
from p2p_core.machines import liveness as liveness_module
from p2p_core.machines import session as session_machine
from p2p_core.machines.transfers import MAX_OFFERED
from p2p_core.proof import PathKind, Role
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Done,
    Entries,
    FileFailed,
    Frame,
    Have,
    KeyProof,
    MessageAck,
    Ping,
    Pong,
    StreamEnd,
    TextMessage,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
    Verified,
    encode,
)
from p2p_peer import event_queue
from p2p_peer.channel import pump as pump_module
from p2p_peer.events import (
    MessageDelivered,
    MessageReceived,
    PeerDone,
    PeerLeaving,
    TransferOffered,
    TransferProgress,
    TransferReceived,
)
from p2p_peer.session import Session

from tests.peer.other_side import BLOCK_SIZE, OtherSide, block, offer_of, one_file
from tests.peer.pair import (
    INITIATOR_KEY,
    PATIENCE,
    RESPONDER_KEY,
    Clock,
    Pair,
    Peer,
    agreement,
    channels,
    leftovers,
    session_on,
    soon,
    until,
)

Honest = tuple[Peer, OtherSide]
Unread = tuple[Session, OtherSide]
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # SO_LINGER 0


def test_is_what_was_agreed(pair: Pair) -> None:
    ours, theirs = pair.sessions
    assert ours.peer == PeerId.of(RESPONDER_KEY.public_key())
    assert theirs.peer == PeerId.of(INITIATOR_KEY.public_key())
    assert (ours.role, theirs.role) == (Role.INITIATOR, Role.RESPONDER)
    assert ours.session_id == theirs.session_id == agreement(Role.INITIATOR).session_id
    assert ours.path is PathKind.TCP
    assert ours.address.host == "127.0.0.1"
    assert ours.key_exchange == "X25519MLKEM768"
    assert ours.farewell == ""
    assert not ours.is_over


# Messages.


async def test_messages_go_both_ways(pair: Pair) -> None:
    await soon(asyncio.gather(pair.initiator.session.send_message("ping"), pair.responder.session.send_message("pong")))
    assert (await pair.responder.wait_for(MessageReceived)).text == "ping"
    assert (await pair.initiator.wait_for(MessageReceived)).text == "pong"
    assert pair.initiator.all(MessageDelivered) == pair.responder.all(MessageDelivered) == [MessageDelivered(1)]


async def test_five_hundred_messages_in_order(pair: Pair) -> None:
    texts = [f"message {number}" for number in range(500)]
    deliveries = [pair.initiator.session.send_message(text) for text in texts]
    await soon(asyncio.gather(*deliveries))
    assert [message.text for message in pair.responder.all(MessageReceived)] == texts


@pytest.mark.parametrize("text", ["", "a\nb\x00\x1b[31m", "\U0001f52b" * 1000, "x" * limits.MAX_TEXT_BYTES])
async def test_any_text_arrives_as_it_was(pair: Pair, text: str) -> None:
    await soon(pair.initiator.session.send_message(text))
    assert (await pair.responder.wait_for(MessageReceived)).text == text


@pytest.mark.parametrize("text", ["x" * (limits.MAX_TEXT_BYTES + 1), "\udc80"])
async def test_a_text_that_cannot_be_sent(pair: Pair, text: str) -> None:
    with pytest.raises(LocalProtocolError):
        pair.initiator.session.send_message(text)
    await soon(pair.initiator.session.send_message("the session goes on"))


async def test_a_delivery_need_not_be_awaited(pair: Pair) -> None:
    pair.initiator.session.send_message("hello")
    await pair.responder.wait_for(MessageReceived)


async def test_a_delivery_that_nobody_waits_for_any_more(pair: Pair) -> None:
    waiting = asyncio.ensure_future(pair.initiator.session.send_message("hello"))
    waiting.cancel()
    await soon(pair.initiator.session.send_message("and again"))


async def test_a_message_overtakes_a_file(pair: Pair) -> None:
    """It arrives long before the file's end, whichever way."""
    sent = {}
    size = 64 * 1024 * 1024
    pair.responder.accept_all(pair.inbox)
    path = pair.outbox / "big"
    path.touch()
    os.truncate(path, size)
    sending = pair.start("big")
    await until(lambda: any(pair.inbox.iterdir()))
    for peer in (pair.initiator, pair.responder):
        sent[peer.session] = peer.session.send_message("meanwhile")
    await soon(asyncio.gather(*sent.values()))
    assert not sending.done()
    await soon(sending)
    await pair.responder.wait_for(TransferReceived)
    events = pair.responder.events
    at_message = next(index for index, event in enumerate(events) if isinstance(event, MessageReceived))
    at_file = next(index for index, event in enumerate(events) if isinstance(event, TransferReceived))
    assert at_message < at_file


# The end: every order, from either side, or from both at once.


async def close(session: Session) -> None:
    await session.close()


async def close_with_a_reason(session: Session) -> None:
    await session.close("that was all")


async def abort(session: Session) -> None:
    await session.abort("no time")


async def finish_and_close(session: Session) -> None:
    session.finish()
    await session.close()


async def close_twice(session: Session) -> None:
    await asyncio.gather(session.close(), session.close())
    await session.close()


async def close_and_abort(session: Session) -> None:
    await asyncio.gather(session.close(), session.abort("no time"))


async def wait(session: Session) -> None:
    await session.wait_closed()


ENDS = [close, close_with_a_reason, abort, finish_and_close, close_twice, close_and_abort]


@pytest.mark.parametrize("theirs", [*ENDS, wait])
@pytest.mark.parametrize("ours", ENDS)
async def test_every_end_with_every_other(pair: Pair, ours: object, theirs: object) -> None:
    await soon(asyncio.gather(*(end(session) for end, session in zip((ours, theirs), pair.sessions, strict=True))))  # type: ignore[operator]
    for peer in (pair.initiator, pair.responder):
        assert await peer.end() is None
        assert peer.session.is_over
        with pytest.raises(ConnectionLost):
            peer.session.send_message("anybody there?")
        with pytest.raises(ConnectionLost):
            await peer.session.send([pair.outbox / "nothing"])
        peer.session.finish()  # nothing happens
        await peer.session.close()
        await peer.session.abort("again")


async def test_the_reason_is_told(pair: Pair) -> None:
    await soon(asyncio.gather(pair.initiator.session.close("that was all"), pair.responder.session.wait_closed()))
    assert await pair.responder.wait_for(PeerLeaving) == PeerLeaving("that was all")
    assert pair.responder.session.farewell == "that was all"
    assert pair.initiator.session.farewell == ""


async def test_finish_leaves_the_other_direction_open(pair: Pair) -> None:
    ours, theirs = pair.sessions
    ours.finish()
    ours.finish()
    await pair.responder.wait_for(PeerDone)
    await soon(theirs.send_message("I have more to say"))
    with pytest.raises(LocalProtocolError):
        ours.send_message("so have I")
    assert len(pair.responder.all(PeerDone)) == 1
    await pair.close()


async def test_closing_waits_for_what_is_outstanding(pair: Pair) -> None:
    """Messages are acknowledged, and a file under way, in either direction, arrives whole."""
    pair.responder.accept_all(pair.inbox)
    ours, theirs = pair.sessions
    theirs.send_message("the last words")
    pair.file("a", 3 * 1024 * 1024)
    sending = pair.start("a")
    await pair.responder.wait_for(TransferOffered)
    await soon(asyncio.gather(theirs.close(), ours.close()))
    assert (await soon(sending)).size == 3 * 1024 * 1024
    assert pair.initiator.all(MessageReceived)
    assert (pair.inbox / "a").stat().st_size == 3 * 1024 * 1024


async def test_nothing_can_be_begun_while_the_session_is_closed(pair: Pair) -> None:
    pair.file("a", 1)
    sending = pair.start("a")  # keeps the session open
    offered = await pair.responder.wait_for(TransferOffered)
    closing = asyncio.create_task(pair.initiator.session.close())
    await asyncio.sleep(0)
    with pytest.raises(LocalProtocolError):
        pair.initiator.session.send_message("one more thing")
    with pytest.raises(LocalProtocolError):
        await pair.initiator.session.send([pair.file("b", 1)])
    pair.responder.session.accept(offered, pair.inbox)
    await soon(asyncio.gather(sending, closing, pair.responder.session.close()))


async def test_nothing_can_be_begun_when_the_other_side_leaves(honest: Honest) -> None:
    """That is no mistake of this program: it says what happened."""
    peer, other = honest
    delivery = peer.session.send_message("unacknowledged")
    other.send(Close("bye"))
    await peer.wait_for(PeerLeaving)
    for text in ("too late", "and again"):
        with pytest.raises(ConnectionLost, match="the other side is leaving"):
            peer.session.send_message(text)
    with pytest.raises(ConnectionLost, match="the other side is leaving"):
        await peer.session.send(["nothing"])
    other.send(MessageAck(1))
    await soon(delivery)
    await other.wait_for(Close)
    assert await peer.end() is None


async def test_a_farewell_nobody_answers(honest: Honest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_machine, "FAREWELL_TIME", 0.02)
    monkeypatch.setattr(pump_module, "LINGER", 0.02)
    peer, other = honest
    await soon(peer.session.close())
    assert await peer.end() is None
    assert [frame for frame in other.came if not isinstance(frame, Ping)] == [Close("")]


async def test_leaving_the_block_closes(pair: Pair) -> None:
    async def hold(session: Session, text: str) -> None:
        async with session as held:
            assert held is session
            await held.send_message(text)

    await soon(asyncio.gather(*(hold(session, "hello") for session in pair.sessions)))
    assert await pair.initiator.end() is None
    assert pair.initiator.all(MessageReceived)
    assert pair.responder.all(MessageReceived)


async def test_an_error_in_the_block_ends_it_at_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.responder.accept_all(pair.inbox)
    path = pair.outbox / "big"
    path.touch()
    os.truncate(path, 10**9)

    async def hold() -> None:
        async with pair.initiator.session as session:
            sending = asyncio.create_task(session.send([path]))
            await until(lambda: any(event.moved for event in pair.initiator.all(TransferProgress)))
            sending.cancel()
            raise KeyError("mine")

    monkeypatch.setattr(pump_module, "LINGER", PATIENCE)
    closed = asyncio.create_task(pair.responder.session.wait_closed())
    with pytest.raises(KeyError):
        await soon(hold())
    await soon(closed)
    assert await pair.responder.end() is None
    assert pair.responder.session.farewell == "the other side ended early"
    assert [path.name for path in pair.inbox.iterdir()] == leftovers(pair.inbox)  # for another try


async def test_cancelled_while_the_block_is_left(honest: Honest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side takes its time to leave; whoever does not want to wait leaves nothing behind either."""
    monkeypatch.setattr(pump_module, "LINGER", 0.05)
    peer, other = honest

    async def hold() -> None:
        async with peer.session as session:
            session.send_message("you will not acknowledge this")

    holding = asyncio.create_task(hold())
    await other.wait_for(TextMessage)
    holding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(holding)
    assert peer.session.is_over
    await until(lambda: bool(other.handler.lost))
    assert Close("the other side ended early") in other.came


async def test_what_has_to_stay_open_is_closed_last() -> None:
    ours, theirs = await channels()
    resources, order = AsyncExitStack(), []
    resources.callback(lambda: order.append(ours.stream.socket.fileno()))
    session = Session(ours, agreement(Role.INITIATOR), INITIATOR_KEY, RESPONDER_KEY.public_key(), resources=resources)
    other = session_on(theirs, Role.RESPONDER)
    await soon(asyncio.gather(session.close(), other.close()))
    assert order == [-1]


async def test_whoever_waits_for_the_end_waits_for_all_of_it(pair: Pair, tmp_path: Path) -> None:
    """Several may wait; none is let go before nothing is left."""
    released = asyncio.Event()
    let_go: list[str] = []

    async def hold() -> None:
        await released.wait()
        let_go.append("resources")

    pair.initiator.session._resources.push_async_callback(hold)

    async def wait_closed() -> None:
        await pair.initiator.session.wait_closed()
        let_go.append("waiter")

    waiters = [asyncio.create_task(wait_closed()) for _ in range(3)]
    await soon(asyncio.gather(pair.responder.session.close(), until(lambda: pair.initiator.session.is_over)))
    await asyncio.sleep(0)
    assert let_go == []
    released.set()
    await soon(asyncio.gather(*waiters))
    assert let_go == ["resources", "waiter", "waiter", "waiter"]


async def test_events_end_for_everyone_who_reads_them(pair: Pair) -> None:
    await pair.close()
    async for event in pair.initiator.session:
        pytest.fail(f"after the end: {event}")


# The connection is lost.


@pytest.mark.parametrize("how", ["reset", "end of stream", "cut"])
async def test_the_connection_is_cut(honest: Honest, how: str) -> None:
    peer, other = honest
    delivery = asyncio.ensure_future(peer.session.send_message("hello"))
    sending = asyncio.create_task(peer.session.send([__file__]))
    await other.wait_for(TransferOffer)
    sock = other.channel.stream.socket
    if how == "reset":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        other.pump.abandon()
    elif how == "end of stream":
        sock.shutdown(socket.SHUT_WR)
    else:
        peer.session._driver.channel.stream.socket.shutdown(socket.SHUT_RDWR)
    error = await peer.end()
    assert isinstance(error, ConnectionLost)
    for waiting in (delivery, sending):
        with pytest.raises(ConnectionLost):
            await soon(waiting)
    with pytest.raises(ConnectionLost):
        peer.session.send_message("too late")
    await soon(peer.session.wait_closed())


async def test_the_other_side_goes_without_a_word(honest: Honest) -> None:
    """A proper end of TLS, but no farewell."""
    peer, other = honest
    delivery = asyncio.ensure_future(peer.session.send_message("hello"))
    await other.wait_for(TextMessage)
    await soon(asyncio.gather(other.pump.close(), until(lambda: peer.session.is_over)))
    error = await peer.end()
    assert isinstance(error, ConnectionLost)
    assert str(error) == "the other side ended the connection without a word"
    with pytest.raises(ConnectionLost):
        await delivery


async def test_the_other_side_goes_when_all_is_said(honest: Honest) -> None:
    """Its farewell is lost, but ours went out and nothing was outstanding."""
    peer, other = honest
    closing = asyncio.create_task(peer.session.close())
    await other.wait_for(Close)
    other.channel.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    other.pump.abandon()
    await soon(closing)
    assert await peer.end() is None


async def test_a_silent_peer_is_asked_and_then_lost(honest: Honest, clock: Clock) -> None:
    peer, other = honest
    delivery = asyncio.ensure_future(peer.session.send_message("anybody there?"))
    for count in (1, 2):
        clock.advance(liveness_module.PING_EVERY)
        assert await other.wait_for(Ping, count) == Ping(count)
        assert not peer.session.is_over
    clock.advance(liveness_module.PING_EVERY)
    error = await peer.end()
    assert isinstance(error, ConnectionLost)
    assert str(error) == "the other side has gone silent"
    with pytest.raises(ConnectionLost):
        await delivery


async def test_a_quiet_peer_that_answers_is_not_lost(honest: Honest, clock: Clock) -> None:
    peer, other = honest
    assert peer.session.round_trip is None
    for count in range(1, 10):
        clock.advance(liveness_module.PING_EVERY)
        ping, now = await other.wait_for(Ping, count), clock()
        other.send(other.pong(ping))
        await until(lambda now=now: peer.session._machine.liveness._heard >= now)
    assert peer.session.round_trip is not None
    assert not peer.session.is_over


async def test_a_ping_is_answered(honest: Honest) -> None:
    _, other = honest
    other.send(Ping(77))
    assert await other.wait_for(Pong) == Pong(77, 0)


# The other side breaks the rules, after its proof has passed.

RULES_BROKEN: list[Frame | bytes] = [
    KeyProof(bytes(256)),
    b"\x00\x00\x00\x00\x0d",
    b"\x00\x00\x00\x00\x7f",
    b"\x00\x02\x00\x01\x02",  # a control frame that is too long
    b"\xff\xff\xff\xff\x02",
    b"\x00\x00\x00\x10\x40" + bytes(16),  # a block shorter than its header
    b"\x00\x00\x00\x02\x02\xff\xff",
    TextMessage(1, 0, "not signed", b""),
    TextMessage(2, 0, "one is missing", bytes(256)),
    MessageAck(1),
    TransferOffer(0, 1, 1, BLOCK_SIZE),
    *(
        said
        for transfer in (1, 2)  # never offered
        for said in (
            TransferOffer(transfer, 1, 1, 1),  # in blocks of one byte
            TransferOffer(transfer, 0, 0, BLOCK_SIZE),
            Entries(transfer, tuple(one_file(1).manifest)),
            Have(transfer, 0, bytes(32)),
            TransferAnswer(transfer, accepted=True),
            FileFailed(transfer, 0, "no"),
            StreamEnd(transfer, 0),
            Verified(transfer, 0),
            TransferEnd(transfer, bytes(32), (), b""),
            TransferReceipt(transfer, 0, (), b""),
            bytes(block(b"a", transfer=transfer)),
        )
    ),
]


@pytest.mark.parametrize("frame", RULES_BROKEN, ids=lambda frame: repr(frame)[:40])
async def test_broken_rules_end_the_session(honest: Honest, frame: Frame | bytes) -> None:
    peer, other = honest
    other.send(frame)
    error = await peer.end()
    assert isinstance(error, RemoteProtocolError)
    assert peer.events == []
    await until(lambda: bool(other.handler.lost))
    await soon(peer.session.wait_closed())


async def test_a_message_shown_twice(honest: Honest) -> None:
    """Sent again, as after a lost channel: acknowledged again, shown once."""
    peer, other = honest
    other.send(other.message(1, "hello"), other.message(1, "hello"))
    await other.wait_for(MessageAck, 2)
    assert [event.text for event in peer.all(MessageReceived)] == ["hello"]


async def test_a_message_somebody_else_signed(honest: Honest) -> None:
    peer, other = honest
    honest_one = other.message(1, "hello")
    other.send(TextMessage(1, 0, "hullo", honest_one.signature))
    assert isinstance(await peer.end(), RemoteProtocolError)
    assert peer.events == []


@pytest.mark.parametrize(
    "frame", [Done(), Close("again"), TransferOffer(1, 1, 0, BLOCK_SIZE), TransferOffer(2, 1, 0, BLOCK_SIZE)]
)
async def test_something_new_after_the_farewell(honest: Honest, frame: Frame) -> None:
    peer, other = honest
    peer.session.send_message("this keeps us here")
    other.send(Close(), frame)
    assert isinstance(await peer.end(), RemoteProtocolError)


@pytest.mark.parametrize(
    "frame", [b"\x00\x00\x00\x03\x80abc", b"\x00\x00\x00\x00\xff", Cancel(1, "what?"), Cancel(2, "")]
)
async def test_what_may_be_ignored(honest: Honest, frame: Frame | bytes) -> None:
    peer, other = honest
    other.send(frame, Ping(1))
    await other.wait_for(Pong)
    assert peer.events == []
    assert not peer.session.is_over


async def test_too_many_offers(honest: Honest) -> None:
    peer, other = honest
    first = 2 if peer.session.role is Role.INITIATOR else 1
    for number in range(MAX_OFFERED + 1):
        other.send(*offer_of(one_file(0), first + 2 * number))
    assert isinstance(await peer.end(), RemoteProtocolError)
    assert len(peer.all(TransferOffered)) == MAX_OFFERED


@pytest.fixture(params=[Role.INITIATOR, Role.RESPONDER], ids=["initiator", "responder"])
async def unread(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Unread]:
    """A live session whose events nobody reads, with little patience for that, and the other side's end."""
    monkeypatch.setattr(event_queue, "MAX_UNREAD", 20_000)
    monkeypatch.setattr(pump_module, "LINGER", 0.01)
    role: Role = request.param
    made = dict(zip((Role.INITIATOR, Role.RESPONDER), await channels(), strict=True))
    session, other = session_on(made[role], role), OtherSide(made[role.other], role.other)
    yield session, other
    other.pump.abandon()
    await soon(session.abort("the test is over"))


async def test_offers_that_are_taken_back_count_as_well(unread: Unread) -> None:
    session, other = unread
    first = 2 if session.role is Role.INITIATOR else 1
    for number in range(first, first + 200, 2):
        other.send(*offer_of(one_file(0), number), Cancel(number, "x" * 900))
    await until(lambda: session._driver._pump.is_held_up)
    assert len(session._driver.events) < 30


async def test_what_nobody_takes_is_read_no_further(unread: Unread, clock: Clock) -> None:
    session, other = unread
    texts = [f"message {number}" for number in range(100)]
    other.send(*(other.message(number, text) for number, text in enumerate(texts, 1)))
    await until(lambda: session._driver._pump.is_held_up)
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(session._driver.events) < 30
    clock.advance(2 * liveness_module.ANSWER_TIME)  # it is nobody's fault but ours
    session._driver._on_deadline()
    assert not session.is_over
    got = []
    async for event in session:
        assert isinstance(event, MessageReceived)
        got.append(event.text)
        if len(got) == len(texts):
            break
    assert got == texts
    assert not session._driver._pump.is_held_up


async def test_offers_that_nobody_takes_are_read_no_further(unread: Unread) -> None:
    session, other = unread
    first = 2 if session.role is Role.INITIATOR else 1
    for number in range(first, 1000 + first, 2):
        other.send(*offer_of(one_file(0), number), Cancel(number, "never mind"))
    await until(lambda: session._driver._pump.is_held_up)
    assert len(session._driver.events) < 100


async def test_who_leaves_reads_what_the_end_needs(unread: Unread) -> None:
    session, other = unread
    session.send_message("are you there?")
    other.send(*(other.message(number, "blah " * 100) for number in range(1, 20)))
    await until(lambda: session._driver._pump.is_held_up)
    other.send(MessageAck(1), Close())
    await soon(session.close())
    await other.wait_for(Close)


async def test_who_leaves_is_not_talked_to_for_ever(unread: Unread) -> None:
    """The other side acknowledges nothing and goes on talking, and nobody takes events any more."""
    session, other = unread
    session.send_message("are you there?")
    closing = asyncio.create_task(session.close())
    other.send(*(other.message(number, "blah " * 100) for number in range(1, 100)))
    await soon(closing)
    assert len(session._driver.events) < 50
    with pytest.raises(ConnectionLost, match="went on talking"):
        async for _ in session:
            pass


async def test_a_flood_of_nothing(honest: Honest) -> None:
    """Answered as fast as the other side reads, or passed over, and forgotten."""
    peer, other = honest
    other.send(encode(Ping(7)) * 5000, b"\x00\x00\x00\x00\x80" * 20_000, encode(Pong(99, 0)) * 5000, Ping(8))
    await until(lambda: Pong(8, 0) in other.came[-2:])
    assert sum(isinstance(frame, Pong) for frame in other.came) == 5001
    assert peer.events == []
    assert not peer.session.is_over


async def test_a_flood_puts_no_deadline_off(honest: Honest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every turn of the loop something comes; still the farewell that nobody answers has its end."""
    monkeypatch.setattr(session_machine, "FAREWELL_TIME", 0.02)
    monkeypatch.setattr(pump_module, "LINGER", 0.02)
    peer, _ = honest

    def flood() -> None:
        if not peer.session.is_over:
            peer.session._driver.frame_received(Pong(99, 0))
            asyncio.get_running_loop().call_soon(flood)

    flood()
    await soon(peer.session.close())
    assert await peer.end() is None


async def test_a_peer_that_reads_and_never_acknowledges(honest: Honest) -> None:
    peer, other = honest
    delivery = peer.session.send_message("hello?")
    await other.wait_for(TextMessage)
    peer.session._machine.liveness._asked -= liveness_module.PING_EVERY
    peer.session._driver._on_deadline()
    await until(lambda: any(isinstance(frame, Ping) and frame.id > 1 for frame in other.came))
    other.send(*(other.pong(frame) for frame in other.came if isinstance(frame, Ping)))
    error = await peer.end()
    assert isinstance(error, RemoteProtocolError)
    assert "not the message before it" in str(error)
    assert isinstance(delivery.exception(), RemoteProtocolError)


@pytest.mark.parametrize("busy", ["asks", "talks", "offers", "sends what nobody wants"])
async def test_a_peer_that_is_alive_and_never_answers(honest: Honest, clock: Clock, busy: str) -> None:
    """It goes on saying things of its own, and reads nothing; however it is done, that has an end."""
    peer, other = honest
    first = 2 if peer.session.role is Role.INITIATOR else 1
    steps = 0
    if busy == "sends what nobody wants":
        other.send(*offer_of(one_file(BLOCK_SIZE), first))
        peer.session.refuse(await peer.wait_for(TransferOffered))
    while not peer.session.is_over:
        steps += 1
        assert steps < 1000
        clock.advance(liveness_module.PING_EVERY)
        heard = peer.session._machine.liveness._heard
        match busy:
            case "asks":
                other.send(Ping(steps))
            case "talks":
                other.send(other.message(steps, "and another thing"))
            case "sends what nobody wants":
                other.send(block(bytes(BLOCK_SIZE), transfer=first))
            case "offers":
                number = first + 2 * steps
                other.send(*offer_of(one_file(0), number), Cancel(number, ""))
        await until(lambda heard=heard: peer.session.is_over or peer.session._machine.liveness._heard > heard)
    assert str(await peer.end()) == "the other side has answered nothing for 300 s"


async def test_noise(honest: Honest) -> None:
    """Whatever comes ends in one of our own errors, or in nothing."""
    peer, other = honest
    other.send(random.Random(peer.session.role.value).randbytes(100_000))
    assert isinstance(await peer.end(), RemoteProtocolError | ConnectionLost)


# At a rate that is limited.


async def test_blocks_go_no_faster_than_they_may(tmp_path: Path, clock: Clock) -> None:
    """And get there."""
    rate = 100_000
    pair = Pair.on(await channels(), tmp_path, limit_rate=rate)
    pair.responder.accept_all(pair.inbox)
    size = pair.file("a", 500_000).stat().st_size
    sending = pair.start("a")
    pump = pair.initiator.session._driver._pump
    await until(lambda: pump.unwritten > 0)
    began = clock()
    while not sending.done():
        clock.advance(0.01)
        await asyncio.sleep(0)
        written = size - pump.unwritten if pump.unwritten else 0
        assert written <= rate * (clock() - began + 0.2)
    assert clock() - began > size / rate - 0.2
    assert (await sending).moved == size
    await pair.close()


async def test_a_message_does_not_wait_for_a_block(tmp_path: Path) -> None:
    """Each way it goes between the parts of one that takes a quarter of an hour."""
    pair = Pair.on(await channels(), tmp_path, limit_rate=1000)
    for peer in (pair.initiator, pair.responder):
        peer.accept_all(pair.inbox)
    for name in ("a", "b"):
        pair.file(name, 1024 * 1024)
    ours, theirs = pair.sessions
    sendings = [pair.start("a"), asyncio.create_task(theirs.send([pair.outbox / "b"]))]
    for session in pair.sessions:
        await until(lambda session=session: session._driver._pump.unwritten > 0)  # type: ignore[misc]
    for _ in range(5):
        await soon(asyncio.gather(ours.send_message("hello"), theirs.send_message("hello")))
    assert all(session._driver._pump.unwritten > 1_000_000 for session in pair.sessions)
    await pair.leave()
    await asyncio.gather(*sendings, return_exceptions=True)


async def test_a_limit_holds_on_the_next_channel_too(tmp_path: Path) -> None:
    pair = Pair.on(await channels(), tmp_path, limit_rate=1000)
    ours = pair.initiator.session._driver
    assert ours._pump._limit is not None
    assert ours._new_pump(ours.channel)._limit is ours._pump._limit
    await pair.leave()
