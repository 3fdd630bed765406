"""A session moves from channel to channel: docs/protocol/session.md, Channels."""

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from p2p_core.errors import ConnectionLost, RemoteProtocolError, TransferFailed
from p2p_core.machines.events import (
    Closed,
    MessageReceived,
    ReceiptDelivered,
    StreamEnded,
    TransferAccepted,
    TransferArrived,
    TransferBroken,
    TransferOffered,
    TransferRefused,
    TransferRewound,
    TransferSent,
)
from p2p_core.machines.liveness import DEAD_AFTER
from p2p_core.machines.session import FAREWELL_TIME
from p2p_core.machines.transfers import MAX_UNHEARD
from p2p_core.manifest import TOP, Entry, EntryKind
from p2p_core.ranges import ranges_of
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Done,
    Entries,
    Frame,
    MessageAck,
    Ping,
    Pong,
    Resume,
    TextMessage,
    TransferAnswer,
    TransferEnd,
    TransferOffer,
    TransferReceipt,
)

from tests.core.contents import Content, content_of, file, folder, stream
from tests.core.conversation import BLOCK_SIZE, Conversation, Talker
from tests.core.resuming import End, Link

DATA = bytes(2 * BLOCK_SIZE + 1)
HEADERS = [header for header, _ in content_of(DATA).batches(1)]


def cut(talk: Conversation) -> None:
    """What is on its way is lost, and both sides are on a new channel."""
    for talker in (talk.initiator, talk.responder):
        talker.said(talk.now)
        talker.machine.channel_opened(talk.now)


# Cut anywhere: nothing is lost, and nothing comes twice.


def busy() -> Link:
    """Both sides talk and send files; all that is offered is accepted at once, but the second transfer is refused."""
    link = Link()
    for end, size in zip(link.ends, (2 * BLOCK_SIZE + 1, BLOCK_SIZE), strict=True):
        end.say("first")
        end.offer(Content.of(file("large", os.urandom(size)), file("empty", b""), file("b", b"b"), file("c", b"c")))
        end.offer(content_of(b"unwanted"))
        end.offer(Content.of(folder("none"), file("small", b"d"), stream(os.urandom(size))))
        end.say("second")
        end.machine.done()
    return link


def answer(link: Link) -> None:
    for end in link.ends:
        for transfer in tuple(end.offered):
            if transfer in (3, 4):
                end.refuse(transfer)
            else:
                end.accept(transfer, has={1} if transfer == 1 else ())


def run(link: Link, steps: int) -> int:
    """Take `steps` steps, each of which moves one frame; return how many there were to take."""
    taken = 0
    while taken < steps:
        before = taken
        for end in link.ends:
            answer(link)
            end.verify()
            end.store()
            end.write()
            if taken < steps:
                taken += end.read()
        if taken == before:
            break
    return taken


FRAMES = run(busy(), 10**6)


def test_without_a_cut() -> None:
    link = busy()
    run(link, FRAMES)
    link.settle()
    link.check()
    assert FRAMES > 30


def ended_as_planned(link: Link) -> None:
    link.check()
    for end, (first, second, third) in zip(link.ends, ((1, 3, 5), (2, 4, 6)), strict=True):
        assert dict(end.ends) == {first: TransferSent, second: TransferRefused, third: TransferSent}


@pytest.mark.parametrize("at", range(FRAMES))
@pytest.mark.parametrize("then", [0, 1, 7, 100])
def test_cut_after_every_frame_and_again(at: int, then: int) -> None:
    link = busy()
    for steps in (at, then):
        run(link, steps)
        for end in link.ends:
            end.read(at % 60)  # a piece of the next frame
        link.cut()
    while run(link, 10**6):
        pass
    link.settle()
    ended_as_planned(link)


ACTIONS = st.tuples(
    st.sampled_from(
        ["say", "offer", "accept", "refuse", "cancel", "lose", "verify", "store", "piece", "tick", "cut"]
        + 3 * ["write", "read"]
    ),
    st.integers(0, 1),  # which side
    st.integers(1, 5000),  # bytes
)


SIZES = [0, 0, 1, 50, 1000, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE]


def anything(dice: random.Random) -> Content:
    """Folders and files, some of them empty, some small enough to go together; sometimes a stream."""
    things = [folder("f")]
    sizes = (dice.choice(SIZES) for _ in range(dice.randrange(6)))
    things += [file(f"{n}", dice.randbytes(size), parent=dice.choice([TOP, 0])) for n, size in enumerate(sizes)]
    if dice.random() < 0.3:
        things.append(stream(dice.randbytes(dice.choice(SIZES))))
    return Content.of(*things)


def accept_some(link: Link, end: End, transfer: int, dice: random.Random) -> None:
    """Take all of it or some of it, when we have all, some or none of it."""
    manifest = end.offered[transfer]
    wanted = [entry for entry in range(len(manifest)) if dice.random() < 0.7]
    has = [ordinal for ordinal in range(manifest.blocks) if dice.random() < 0.3]
    end.accept(transfer, ranges_of(wanted) if dice.random() < 0.5 else (), has if dice.random() < 0.5 else ())


def act(link: Link, what: str, end: End, size: int) -> None:
    match what:
        case "say":
            end.say("x" * size)
        case "offer":
            end.offer(anything(random.Random(size)))
        case "accept" if end.offered:
            accept_some(link, end, list(end.offered)[size % len(end.offered)], random.Random(size))
        case "refuse" if end.offered:
            end.refuse(list(end.offered)[size % len(end.offered)])
        case "lose":
            end.lose(size)
        case "cancel":
            ours = {transfer for transfer, _ in end.ends}
            going = [*(set(end.outgoing) - ours), *(set(end.incoming) - set(end.stored))]
            if going:
                end.machine.fail(going[size % len(going)], TransferFailed("enough"))
        case "verify":
            end.verify()
        case "store":
            end.store()
        case "write":
            end.write()
        case "read":
            end.read()
        case "piece":
            end.read(size)
        case "tick":
            link.now += 5.0
            for each in link.ends:
                each.machine.heard(link.now)
                each.machine.on_deadline(link.now)
        case "cut":
            link.cut()
    for each in link.ends:
        each.take_events()


def accept_and_go_on(link: Link, steps: int) -> None:
    for _ in range(steps):
        if not link.step():
            return
        for end in link.ends:
            for transfer in tuple(end.offered):
                end.accept(transfer)


@settings(deadline=None)
@given(st.lists(ACTIONS, min_size=60, max_size=200), st.lists(st.integers(0, 30), max_size=4))
def test_whatever_is_done_and_wherever_it_is_cut(actions: list[tuple[str, int, int]], cuts: list[int]) -> None:
    link = Link()
    for what, side, size in actions:
        act(link, what, link.ends[side], size)
    for end in link.ends:
        end.machine.done()
    for steps in cuts:
        accept_and_go_on(link, steps)
        link.cut()
    accept_and_go_on(link, 10**6)
    link.settle()
    link.check()


# The beginning of a channel.


def test_nothing_is_said_before_both_know_where_to_go_on() -> None:
    talk = Conversation()
    talk.initiator.machine.send_message("lost", 0)
    cut(talk)
    talk.initiator.machine.send_message("new", 0)
    assert not talk.initiator.machine.is_talking
    assert talk.initiator.said() == [Resume(0)]
    assert talk.initiator.said() == []
    talk.initiator.hears(Resume(0))
    assert talk.initiator.machine.is_talking
    assert [frame.text for frame in talk.initiator.said() if isinstance(frame, TextMessage)] == ["lost", "new"]


def test_a_message_whose_acknowledgement_was_lost_is_not_sent_again() -> None:
    talk = Conversation()
    talk.initiator.machine.send_message("hello", 0)
    talk.deliver(talk.initiator)
    cut(talk)
    assert talk.responder.said() == [Resume(1)]
    talk.initiator.hears(Resume(1))
    assert [type(frame) for frame in talk.initiator.said()] == [Resume]
    talk.responder.hears(Resume(0))
    assert talk.responder.said() == [MessageAck(1)]


def test_between_channels_everything_goes_on_but_the_talking() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    for talker in (talk.initiator, talk.responder):
        talker.machine.channel_lost(0.0)
        assert talker.machine.deadline() is None
    talk.responder.machine.accept(transfer)
    talk.responder.machine.send_message("hello", 0)
    talk.initiator.offer(DATA)
    assert talk.initiator.said() == talk.responder.said() == []
    for talker in (talk.initiator, talk.responder):
        talker.machine.channel_opened(0.0)
    talk.settle()
    assert any(isinstance(event, MessageReceived) for event in talk.initiator.drain())
    talk.send_blocks(talk.initiator, transfer, DATA)


def test_a_new_channel_is_asked_about_once_there_is_an_answer() -> None:
    talker = Conversation().initiator
    talker.machine.channel_opened(100.0)
    assert talker.machine.deadline() == 100.0 + DEAD_AFTER
    talker.machine.on_deadline(105.0)
    assert talker.said() == [Resume(0)]
    talker.hears(Resume(0), now=107.0)
    assert talker.machine.deadline() == 107.0
    talker.machine.on_deadline(107.0)
    assert talker.said() == [Ping(1)]
    talker.hears(Pong(1, 0), now=107.5)
    assert talker.machine.liveness.round_trip == 0.5


def test_a_new_channel_on_which_nothing_comes_is_lost() -> None:
    talker = Conversation().initiator
    talker.machine.channel_opened(100.0)
    with pytest.raises(ConnectionLost):
        talker.machine.on_deadline(100.0 + DEAD_AFTER)


# Files.


def test_a_file_goes_on_where_it_was() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    for index in range(3):
        talk.initiator.machine.blocks_sent(transfer, index, 1)
        if index < 2:
            talk.responder.machine.blocks_start(HEADERS[index])
        if index < 1:
            talk.responder.machine.blocks_end(transfer)  # block 1 is cut off, block 2 never came
            talk.responder.machine.verified(transfer, index + 1)
    talk.ended(talk.initiator, transfer, DATA)
    talk.initiator.drain()
    cut(talk)
    talk.settle()
    assert talk.initiator.drain() == [TransferRewound(transfer, 1)]
    for index in (1, 2):
        talk.initiator.machine.blocks_sent(transfer, index, 1)
        talk.responder.machine.blocks_start(HEADERS[index])
        talk.responder.machine.blocks_end(transfer)
        talk.responder.machine.verified(transfer, index + 1)
    talk.ended(talk.initiator, transfer, DATA)
    talk.settle()
    talk.stored(talk.responder, transfer, DATA)
    talk.settle()
    assert [(type(event), event.transfer) for event in talk.initiator.drain()] == [(TransferSent, transfer)]


def test_a_file_that_is_all_there_is_not_sent_again() -> None:
    """Though the other side has not yet verified it, and the end has to be said again."""
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.send_blocks(talk.initiator, transfer, DATA, verify=False)
    talk.ended(talk.initiator, transfer, DATA)
    talk.initiator.drain()
    cut(talk)
    talk.deliver(talk.responder)
    assert talk.initiator.drain() == []
    assert [type(frame) for frame in talk.initiator.said()] == [Resume, TransferEnd]


def test_a_file_given_up_after_its_end_was_lost() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.initiator.machine.blocks_sent(transfer, 0, 3)
    talk.ended(talk.initiator, transfer, DATA)
    talk.initiator.machine.fail(transfer, TransferFailed("enough"))
    cut(talk)
    talk.settle()
    assert any(isinstance(event, TransferBroken) for event in talk.responder.drain())


def test_an_end_that_says_the_same_again_is_not_signed_again() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    ends = []
    for absent in (set(), set(), {0}):
        talk.initiator.machine.blocks_sent(transfer, 0, 3)
        talk.ended(talk.initiator, transfer, DATA, absent)
        ends += [frame for frame in talk.initiator.said() if isinstance(frame, TransferEnd)]
        talk.initiator.machine.channel_opened(0.0)
        talk.initiator.hears(Resume(2, ((transfer, 0),)))
        assert talk.initiator.said() == [Resume(1)]
    assert ends[0] == ends[1]  # and a signature of the same would be another: it is randomised
    assert ends[1] != ends[2]


def test_a_transfer_whose_answer_was_lost_is_wanted_before_it_is_answered() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    talk.responder.machine.accept(transfer)
    cut(talk)
    talk.deliver(talk.responder)
    assert talk.initiator.drain() == []
    talk.settle()
    assert talk.initiator.drain() == [TransferAccepted(transfer, ())]


def test_what_has_been_offered_only_is_wanted_from_its_first_block_on() -> None:
    talk = Conversation()
    transfer = talk.offered(talk.initiator, DATA)
    cut(talk)
    with pytest.raises(RemoteProtocolError):
        talk.initiator.hears(Resume(2, ((transfer, 1),)))


def test_the_list_of_an_offer_goes_on_where_it_was() -> None:
    content = Content.of(*(file(f"{n:1000}", b"") for n in range(100)))
    talk = Conversation()
    talk.initiator.offer(content)
    talk.responder.hears(*talk.initiator.said()[:2])  # the offer, and the first names
    cut(talk)
    talk.settle()
    [offered] = talk.responder.drain()
    assert isinstance(offered, TransferOffered)
    assert list(offered.manifest) == list(content.manifest)


def test_a_block_that_was_cut_off_does_not_hold_up_the_end() -> None:
    """Its file has failed meanwhile, so it does not come again."""
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.initiator.machine.blocks_sent(transfer, 0, 1)
    talk.responder.machine.blocks_start(HEADERS[0])
    cut(talk)
    talk.settle()
    talk.initiator.machine.file_failed(transfer, 0, "it cannot be read any more")
    talk.ended(talk.initiator, transfer, DATA, {0})
    talk.settle()
    assert talk.responder.told(TransferArrived) == [transfer]


def test_the_end_of_a_stream_may_come_before_blocks_that_were_lost() -> None:
    content = Content.of(stream(DATA))
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, content)
    talk.initiator.machine.blocks_sent(transfer, 0, 3)
    talk.initiator.machine.stream_ended(transfer, len(DATA))
    cut(talk)
    talk.settle()
    assert StreamEnded(transfer, len(DATA)) in talk.responder.drain()
    talk.send_blocks(talk.initiator, transfer, content)
    talk.ended(talk.initiator, transfer, content)
    talk.settle()
    assert talk.responder.told(TransferArrived) == [transfer]


# The farewell.


def test_a_farewell_that_was_lost_is_said_again() -> None:
    talk = Conversation()
    talk.initiator.machine.close("bye")
    talk.initiator.said()
    cut(talk)
    talk.settle()
    assert Closed("bye") in talk.responder.drain()
    assert talk.initiator.machine.is_closed


def test_who_leaves_between_channels_waits_a_little_for_one() -> None:
    talker = Conversation().initiator
    talker.machine.channel_lost(100.0)
    talker.machine.close()
    talker.machine.close_cannot_go_out(101.0)
    talker.machine.close_cannot_go_out(103.0)
    assert talker.machine.deadline() == 101.0 + FAREWELL_TIME
    talker.machine.on_deadline(105.0)
    assert not talker.machine.is_closed
    talker.machine.on_deadline(101.0 + FAREWELL_TIME)
    assert talker.drain() == [Closed("")]


@pytest.mark.parametrize("arrived", [0, 1])
def test_the_wait_begins_again_with_a_new_channel(arrived: int) -> None:
    """Whether the farewell goes out again, or has arrived and only its answer is missing."""
    talk = Conversation()
    talk.initiator.machine.close()
    talk.initiator.said(100.0)
    talk.initiator.machine.channel_lost(104.0)
    assert talk.initiator.machine.deadline() == 104.0 + FAREWELL_TIME
    talk.initiator.machine.channel_opened(108.0)
    assert talk.initiator.machine.deadline() == 108.0 + DEAD_AFTER
    talk.initiator.hears(Resume(arrived), now=109.0)
    assert [frame for frame in talk.initiator.said(109.0) if isinstance(frame, Close)] == [Close()] * (1 - arrived)
    talk.initiator.machine.on_deadline(109.0 + FAREWELL_TIME - 0.1)
    assert not talk.initiator.machine.is_closed
    talk.initiator.machine.on_deadline(109.0 + FAREWELL_TIME)
    assert talk.initiator.machine.is_closed


def test_nobody_leaves_with_a_receipt_that_may_be_lost() -> None:
    talk = Conversation()
    transfer = talk.arrived(talk.initiator, DATA)
    talk.responder.drain()
    talk.stored(talk.responder, transfer, DATA)
    talk.responder.machine.close()
    assert [type(frame) for frame in talk.responder.said()] == [TransferReceipt, Close]
    talk.responder.machine.heard(FAREWELL_TIME)
    with pytest.raises(ConnectionLost, match="did not answer our farewell"):
        talk.responder.machine.on_deadline(FAREWELL_TIME)
    talk.responder.machine.channel_lost(FAREWELL_TIME)
    assert talk.responder.machine.deadline() is None
    talk.now = 100.0
    cut(talk)
    talk.settle()
    assert [event.transfer for event in talk.initiator.drain() if isinstance(event, TransferSent)] == [transfer]
    assert talk.responder.drain() == [ReceiptDelivered(transfer), Closed("")]


def test_a_session_without_a_further_channel_ends_as_its_farewell_says() -> None:
    for says_farewell in (True, False):
        talker = Conversation().initiator
        if says_farewell:
            talker.machine.close()
            talker.said()
        talker.machine.channel_lost(0.0)
        assert talker.machine.lost() is says_farewell


# What a hostile peer might say. Each line is heard on a new channel, after transfer 1 has had two blocks sent.


def hostile_scene() -> Talker:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, DATA)
    talk.initiator.machine.blocks_sent(transfer, 0, 2)
    talk.initiator.machine.send_message("hello", 0)
    talk.deliver(talk.initiator)
    talk.deliver(talk.responder)
    talk.initiator.machine.on_deadline(0.0)
    talk.settle()  # now it is known that three frames have arrived
    talk.initiator.machine.send_message("lost", 0)
    cut(talk)
    talk.initiator.said()
    return talk.initiator


HOSTILE: dict[str, list[Frame]] = {
    "twice": [Resume(3), Resume(3)],
    "twice, and more": [Resume(3), Resume(4)],
    "backwards": [Resume(2)],
    "nothing": [Resume(0)],
    "more than was sent": [Resume(5)],
    "far more than was sent": [Resume(2**64 - 1)],
    "a block too many": [Resume(4, ((1, 3),))],
    "a far block": [Resume(4, ((1, 2**32 - 1),))],
    "a file twice": [Resume(4, ((1, 1), (1, 1)))],
    "a file twice, in two ways": [Resume(4, ((1, 2), (1, 0)))],
    "a file never offered": [Resume(4, ((3, 0),))],
    "transfer 0": [Resume(4, ((0, 0),))],
    "a file of its own": [Resume(4, ((2, 0),))],
    **{
        f"{type(frame).__name__} first": [frame]
        for frame in (
            Ping(1),
            Pong(1, 2),
            MessageAck(1),
            Done(),
            Close(),
            Cancel(1, ""),
            TransferAnswer(1, accepted=True),
        )
    },
}


def test_the_scene_without_hostility() -> None:
    talker = hostile_scene()
    talker.hears(Resume(3, ((1, 1),)))
    assert TransferRewound(1, 1) in talker.drain()


@pytest.mark.parametrize("said", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_resumption(said: list[Frame]) -> None:
    talker = hostile_scene()
    with pytest.raises(RemoteProtocolError):
        talker.hears(*said)


def test_a_resumption_on_the_first_channel() -> None:
    with pytest.raises(RemoteProtocolError, match="on its first"):
        Conversation().initiator.hears(Resume(0))


def test_a_block_before_the_resumption() -> None:
    talk = Conversation()
    talk.accepted(talk.initiator, DATA)
    cut(talk)
    with pytest.raises(RemoteProtocolError, match="before the session was resumed"):
        talk.responder.machine.blocks_start(HEADERS[0])


def test_the_end_of_a_transfer_received_and_not_its_blocks() -> None:
    talk = Conversation()
    transfer = talk.accepted(talk.initiator, b"x")
    talk.initiator.machine.blocks_sent(transfer, 0, 1)
    talk.ended(talk.initiator, transfer, b"x")
    cut(talk)
    with pytest.raises(RemoteProtocolError, match="the end of a transfer was received"):
        talk.initiator.hears(Resume(3, ((transfer, 0),)))


@pytest.mark.parametrize("count", [0, 1, 3, 2**64 - 1])
def test_a_pong_that_counts_wrong(count: int) -> None:
    talk = Conversation()
    talk.offered(talk.initiator, DATA)
    talk.offered(talk.initiator, DATA)
    talk.initiator.machine.on_deadline(0.0)
    talk.initiator.said()
    with pytest.raises(RemoteProtocolError):
        talk.initiator.hears(Pong(1, count))


def test_answers_that_are_never_heard_of_come_to_an_end() -> None:
    """One who offers and takes back, and never says what has come, would have us keep our refusals for ever."""
    talker = Conversation().initiator
    for number in range(2, 2 * MAX_UNHEARD + 2, 2):
        talker.hears(TransferOffer(number, 1, 0, BLOCK_SIZE), Entries(number, (Entry(EntryKind.FILE, TOP, "a"),)))
        talker.machine.refuse(number, "no")
        talker.machine.next_frame()
    with pytest.raises(RemoteProtocolError, match=f"{MAX_UNHEARD} answers"):
        talker.hears(TransferOffer(2 * MAX_UNHEARD + 2, 1, 0, BLOCK_SIZE))
