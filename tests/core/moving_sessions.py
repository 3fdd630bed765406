"""Two sessions whose channels come and go, and which notice it each in its own time: no network, a clock of its own.

A channel is two streams of bytes. Whatever the network below it does, loss, reordering and duplication too, a session
sees one thing of it: a channel ends, with any part of what was written on it read, in either direction for itself. One
side may go over to a new channel, or none, long before the other, and write on one that nobody reads any more.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_core.errors import ConnectionLost, TransferFailed
from p2p_core.machines.duties import RECEIPT_TIME
from p2p_core.machines.events import TransferRefused, TransferSent
from p2p_core.machines.liveness import ANSWER_TIME, PING_EVERY
from p2p_core.machines.outbox import is_counted
from p2p_core.machines.receiver import ReceiverState
from p2p_core.proof import Role
from p2p_core.wire.frames import Cancel, TransferAnswer, TransferReceipt
from p2p_core.wire.parts import Parts

from tests.core.contents import Content
from tests.core.resuming import End, Link, check_content

__all__ = ["Channel", "Party", "Sessions"]

_NO_RECEIPT = f"did not say within {RECEIPT_TIME:g} s"
_ROUNDS = 100  # deadlines that are met until all is said and known: pings, answers, a farewell


@dataclass(eq=False, slots=True)
class Channel:
    """One way for both sides; `streams` is what each has written, and the other has not read."""

    number: int
    streams: dict["Party", deque[bytes]] = field(default_factory=dict)


class Party(End):
    """One side. As the driver does, it hands on what the machine has to say after whatever happens."""

    def __init__(self, role: Role, sessions: "Sessions") -> None:
        super().__init__(role, sessions)
        self.sessions = sessions
        self.channel: Channel | None = None
        self.number = 0  # of the channel it went over to last
        self.is_given_up = False  # the session is over for it, without a farewell
        self.may_begin = True  # it has not said that it starts nothing more
        self.has_aborted = False
        self.kinds: dict[int, int] = {}  # of content, by transfer of ours
        self.refused: set[int] = set()
        self.failed: set[int] = set()  # transfers that we have given up
        self._parts: Parts | None = None  # of the frame of blocks that is being written

    @property
    def is_over(self) -> bool:
        return self.is_given_up or self.machine.is_closed

    def ended(self) -> set[int]:
        """All transfers of which something has become: none has two outcomes."""
        ends = Counter([*(transfer for transfer, _ in self.ends), *self.stored, *self.refused])
        assert ends.total() == len(ends)
        return set(ends)

    # What the user does.

    def send(self, content: Content, kind: int) -> None:
        self.offer(content)
        self.kinds[next(reversed(self.outgoing))] = kind

    def refuse(self, transfer: int) -> None:
        super().refuse(transfer)
        self.refused.add(transfer)

    @property
    def going(self) -> set[int]:
        """Transfers that are not over, in either direction."""
        return {*self.outgoing, *self.incoming, *self.offered} - self.ended()

    def give_up_transfer(self, number: int) -> None:
        if going := sorted(self.going):
            transfer = going[number % len(going)]
            self.failed.add(transfer)
            self.machine.fail(transfer, TransferFailed("enough"))

    def gave_up(self, transfer: int) -> bool:
        """Whether it came to nothing by our own will, or because we had waited for long enough."""
        return transfer in self.errors and (transfer in self.failed or _NO_RECEIPT in str(self.errors[transfer]))

    def done(self) -> None:
        self.may_begin = False
        self.machine.done()

    def close(self, reason: str) -> None:
        self.may_begin = False
        self.machine.close(reason)

    def abort(self) -> None:
        self.may_begin, self.has_aborted = False, True
        self.failed |= self.going
        self.machine.abort("in a hurry")

    # What the driver does.

    def go_over(self, channel: Channel) -> None:
        """The keys are proved on a new channel: the one before counts as lost, whether or not it works."""
        self.lose_channel()
        self._new_channel()
        self.channel, self.number, self.wire = channel, channel.number, channel.streams[self]
        self.machine.channel_opened(self.sessions.now)

    def lose_channel(self) -> None:
        """There is no channel any more, for all that this side knows."""
        self.channel, self._parts = None, None
        self.wire = deque()
        self.machine.channel_lost(self.sessions.now)

    def give_up(self) -> None:
        """Nobody looks for another channel any more."""
        if not self.machine.lost():
            self.is_given_up = True
        self.take_events()

    def hand_on(self) -> None:
        """Tell the user, say what there is to say, and do what is due by now."""
        for _ in range(10):
            self.take_events()
            while self.channel is not None and self.write_frame():
                pass
            if self.channel is None:
                self.machine.close_cannot_go_out(self.sessions.now)
            deadline = self.machine.deadline()
            if deadline is None or deadline > self.sessions.now:
                return
            try:
                self.machine.on_deadline(self.sessions.now)
            except ConnectionLost:
                self.lose_channel()
        raise AssertionError("a deadline in the past is never met")

    def write_blocks(self, size: int) -> bool:
        """Write about `size` bytes of blocks, behind all frames there are; return whether there was anything."""
        if self.channel is None:
            return False
        if self._parts is None:
            blocks = self.next_blocks()
            if blocks is None:
                return self.machine.has_frames
            self._parts = Parts(memoryview(blocks))
        self.wire.append(bytes(self._parts.next(size)))
        if not self._parts.left:
            self._parts = None
        return True

    def read_some(self, size: int) -> bool:
        """Read up to `size` bytes; return whether there were any."""
        left = size
        while left > 0 and self.channel is not None and not self.machine.is_closed:
            stream = self.sessions.towards(self)
            if not stream:
                break
            count = min(left, len(stream[0]))
            left -= count
            self.read(count)
            self.hand_on()
        return left < size

    def check(self) -> None:
        """What holds at any time."""
        other = self.sessions.other(self)
        assert other.shown == self.said[: len(other.shown)]  # once each, in order
        assert self.delivered <= len(other.shown)
        assert [message.text for message in self.machine._messages.unacknowledged] == self.said[self.delivered :]
        self.ended()
        assert len(self.receipts) == len(set(self.receipts))
        assert {*self.errors} & self.all_arrived <= self.failed  # what is all there is stored, whoever leaves
        self._check_what_is_kept(other)

    def _check_what_is_kept(self, other: "Party") -> None:
        """The machine's memory has what is not over, and nothing else."""
        channels, transfers = self.machine._channels, self.machine._transfers
        outbox = channels.outbox
        kept = [*outbox._sent, *filter(is_counted, outbox._waiting)]
        assert outbox.answers == sum(isinstance(frame, TransferAnswer | TransferReceipt | Cancel) for frame in kept)
        assert outbox._arrived <= other.machine._channels._received <= outbox._arrived + len(outbox._sent)
        assert len(channels.duties._marks) <= ANSWER_TIME / PING_EVERY + 1
        assert not outbox.receipts
        assert set(transfers._outgoing) == set(self.outgoing) - self.ended()
        known = {n for n, files in transfers._incoming.items() if files.state is not ReceiverState.LISTING}
        assert known == {*self.offered, *self.incoming} - self.ended()
        if self.channel is not None:
            assert not self.machine.has_frames
        if not self.is_over:
            deadline = self.machine.deadline()
            assert deadline is None or deadline > self.sessions.now

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is to be said, answered, or known any more."""
        outbox = self.machine._channels.outbox
        return self.machine.is_talking and not (
            outbox._sent or outbox._waiting or self.machine._messages.unacknowledged or self.machine._transfers
        )


class Sessions(Link):
    """Both sides, the clock, and the channels that are being made."""

    initiator: Party
    responder: Party
    ends: tuple[Party, Party]

    def __init__(self) -> None:
        self.now = 0.0
        self.channels: list[Channel] = []  # that a side may go over to
        self._raised = 0
        self.initiator, self.responder = (Party(role, self) for role in Role)
        self.ends = self.initiator, self.responder
        first = self.raise_channel()
        self.channels.clear()
        for party in self.ends:
            party.channel, party.number, party.wire = first, first.number, first.streams[party]
        self.hand_on()

    def towards(self, end: End) -> deque[bytes]:
        assert isinstance(end, Party)
        return deque() if end.channel is None else end.channel.streams[self.other(end)]

    def other(self, end: End) -> Party:
        return self.responder if end is self.initiator else self.initiator

    def hand_on(self) -> None:
        for party in self.ends:
            if not party.is_given_up:
                party.hand_on()

    def raise_channel(self) -> Channel:
        """A channel comes up; each side goes over to it when it knows, or never does."""
        self._raised += 1
        channel = Channel(self._raised, {party: deque() for party in self.ends})
        oldest = min(party.number for party in self.ends)
        self.channels = [*(older for older in self.channels if older.number > oldest), channel]
        return channel

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.hand_on()

    def check_all(self) -> None:
        for party in self.ends:
            party.check()

    # In the end.

    def heal(self, answer: Callable[[Party, int], None]) -> None:
        """From now on nothing is lost: until all is said and known, or one side is left alone and gives up.

        `answer` takes or refuses what a side was offered.
        """
        for _ in range(_ROUNDS):
            self._rejoin()
            while self._work(answer):
                pass
            self.check_all()
            if all(party.is_over or party.is_quiet for party in self.ends):
                return
            due = [when for party in self.ends if not party.is_over and (when := party.machine.deadline()) is not None]
            if due:
                assert min(due) > self.now
                self.pass_time(min(due) - self.now)
        raise AssertionError("it never comes to an end")

    def _rejoin(self) -> None:
        open_ones = [party for party in self.ends if not party.is_over]
        if len(open_ones) == 2 and (open_ones[0].channel is None or open_ones[0].channel is not open_ones[1].channel):
            channel = self.raise_channel()
            for party in open_ones:
                party.go_over(channel)
        elif len(open_ones) == 1 and not self.towards(open_ones[0]):  # all that the other has said is read
            if open_ones[0].channel is not None:
                open_ones[0].lose_channel()
                open_ones[0].hand_on()
            if open_ones[0].machine.deadline() is None and not open_ones[0].machine.is_closed:
                open_ones[0].give_up()
        self.hand_on()

    def _work(self, answer: Callable[[Party, int], None]) -> bool:
        worked = []
        for party in self.ends:
            if party.is_given_up:
                continue
            for transfer in tuple(party.offered):
                answer(party, transfer)
            worked += [party.verify(), party.store(), party.write_blocks(2**20)]
            party.hand_on()
            worked.append(party.read_some(2**20))
        return any(worked)

    def check_end(self) -> None:
        """What both sides know in the end."""
        self.check_all()
        for party in self.ends:
            other = self.other(party)
            if party.machine.is_closed and not party.has_aborted:
                assert party.delivered == len(party.said)  # and so shown
            if party.machine.is_closed:
                assert not party.going
                assert not party.machine._transfers
            self._check_transfers(party, other)

    def _check_transfers(self, sender: Party, receiver: Party) -> None:
        outcomes = dict(sender.ends)
        for transfer, outgoing in sender.outgoing.items():
            outcome = outcomes.get(transfer)
            if transfer in receiver.stored:
                check_content(outgoing, receiver.incoming[transfer])
                assert outcome in (TransferSent, None) or sender.gave_up(transfer)  # too late, which it cannot know
            if transfer in receiver.refused:
                assert outcome in (TransferRefused, None) or sender.gave_up(transfer)
            if outcome is TransferSent:
                assert transfer in receiver.stored
                assert receiver.incoming[transfer].missing == sender.missing[transfer]
            if outcome is TransferRefused:
                assert transfer not in receiver.stored
            if outcome is None:
                assert sender.is_given_up or not sender.is_over
        for transfer in receiver.receipts:
            assert transfer in receiver.stored
            assert outcomes.get(transfer) is not None
        assert set(receiver.stored) <= set(sender.outgoing)
