"""Two session machines, files and all, on channels of bytes that somebody cuts off: no network, a clock of its own."""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from p2p_core.ledger import Ledger, block_digest
from p2p_core.machines.events import (
    Closed,
    Event,
    FileLost,
    HaveTold,
    MessageDelivered,
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
from p2p_core.machines.session import SessionMachine
from p2p_core.manifest import Manifest
from p2p_core.proof import Role
from p2p_core.ranges import Ranges, each, ranges_of
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.frames import BlocksHeader, Close, encode

from tests.core.contents import Content
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement

__all__ = ["End", "Link", "check_content"]

_KEYS = {Role.INITIATOR: INITIATOR_KEY, Role.RESPONDER: RESPONDER_KEY}


@dataclass(slots=True)
class _Outgoing:
    """A transfer of ours."""

    content: Content
    wanted: Ranges = ()
    next: int = 0
    theirs: set[int] = field(default_factory=set)  # blocks that the other side has
    absent: set[int] = field(default_factory=set)  # entries that came to nothing
    stream_ended: bool = False


@dataclass(slots=True)
class _Incoming:
    """A transfer of the other side's that was accepted."""

    manifest: Manifest
    ledger: Ledger
    had: frozenset[int]  # blocks
    blocks: dict[int, bytes] = field(default_factory=dict)  # that came, and are verified
    lost: set[int] = field(default_factory=set)  # entries that could not be stored
    missing: Ranges = ()  # as we signed for it


class End:
    """One side: its machine, a user who takes note of everything, and a driver that moves one step at a time."""

    def __init__(self, role: Role, link: "Link") -> None:
        self.machine = SessionMachine(agreement(role), _KEYS[role], _KEYS[role.other].public_key(), 0.0)
        self._link = link
        self.said: list[str] = []
        self.shown: list[str] = []
        self.delivered = 0  # messages
        self.outgoing: dict[int, _Outgoing] = {}
        self.sending: list[int] = []  # transfers that have blocks to send
        self.offered: dict[int, Manifest] = {}  # by the other side, and not answered
        self.incoming: dict[int, _Incoming] = {}
        self.unverified: deque[tuple[BlocksHeader, bytes]] = deque()
        self.arrived: list[int] = []  # and not stored
        self.all_arrived: set[int] = set()
        self.stored: list[int] = []
        self.ends: list[tuple[int, type[Event]]] = []  # of transfers
        self.errors: dict[int, Exception] = {}  # why transfers came to nothing
        self.missing: dict[int, Ranges] = {}  # as the other side signed for it
        self.receipts: list[int] = []  # of ours that have arrived
        self.farewells: list[str] = []
        self.was_left_alone = False  # the other side was gone, and no farewell of its came
        self._new_channel()

    def _new_channel(self) -> None:
        self.wire: deque[bytes] = deque()  # frames on their way to the other side
        self._reader = FrameReader()
        self._reader.open()
        self._arriving: BlocksHeader | None = None
        self._buffer = memoryview(b"")

    def move(self) -> None:
        """Go over to a new channel."""
        self._new_channel()
        self.machine.channel_opened(self._link.now)

    # What a user does.

    def say(self, text: str) -> None:
        self.machine.send_message(text, 0)
        self.said.append(text)

    def offer(self, content: Content) -> None:
        self.outgoing[self.machine.offer(content.manifest)] = _Outgoing(content)

    def accept(self, transfer: int, wanted: Ranges = (), has: Collection[int] = ()) -> None:
        """Take a transfer, or some of it; we have some of its blocks already."""
        manifest = self.offered.pop(transfer)
        incoming = _Incoming(manifest, Ledger(manifest), frozenset(has))
        content = self._link.other(self).outgoing[transfer].content
        for ordinal in has:
            incoming.ledger.put(ordinal, block_digest(content.blocks[ordinal]))
        self.machine.accept(transfer, wanted, incoming.ledger.known_runs())
        self.incoming[transfer] = incoming

    def refuse(self, transfer: int) -> None:
        self.machine.refuse(transfer, "no")
        del self.offered[transfer]

    def lose(self, number: int) -> None:
        """Nothing comes of some file of those that are under way."""
        if number % 2 and self.sending:
            transfer = self.sending[0]
            outgoing = self.outgoing[transfer]
            entry = number // 2 % len(outgoing.content.manifest)
            if not (outgoing.stream_ended and entry == outgoing.content.manifest.stream):
                outgoing.absent.add(entry)
                self.machine.file_failed(transfer, entry, "gone")
        elif (going := [*(set(self.incoming) - set(self.stored))]) and not number % 2:
            transfer = going[number // 2 % len(going)]
            entry = number // 2 % len(self.incoming[transfer].manifest)
            self.incoming[transfer].lost.add(entry)
            self.machine.file_failed(transfer, entry, "too long a name")

    # What a driver does.

    def write(self) -> bool:
        """Write a frame, or else one of blocks; return whether there was any."""
        if self.write_frame():
            return True
        if (blocks := self.next_blocks()) is None:
            return self.write_frame()
        self.wire.append(blocks)
        return True

    def write_frame(self) -> bool:
        """Write a control frame; return whether there was any."""
        frame = self.machine.next_frame()
        if frame is None:
            return False
        if isinstance(frame, Close):
            self.machine.close_went_out(self._link.now)
        self.wire.append(encode(frame))
        return True

    def next_blocks(self) -> bytes | None:
        """Return the next frame of blocks. None if there is none now; then the end of a transfer may be to be said."""
        if not self.sending or not self.machine.is_talking:
            return None
        transfer = self.sending[0]
        outgoing = self.outgoing[transfer]
        content, without = outgoing.content, outgoing.content.left_out(outgoing.wanted, outgoing.absent)
        batch = content.batch(transfer, outgoing.next, without, outgoing.theirs)
        if batch is None:
            self.sending.remove(transfer)
            if content.stream_size is not None and content.manifest.stream not in without:
                outgoing.stream_ended = True
                self.machine.stream_ended(transfer, content.stream_size)
            ledger = content.ledger(outgoing.wanted, outgoing.absent)
            self.machine.all_sent(transfer, ledger.root(), ledger.absent())
            return None
        header, data = batch
        outgoing.next = header.first + header.count
        self.machine.blocks_sent(transfer, header.first, header.count)
        written = bytearray(header.room) + data
        header.write(memoryview(written))
        return bytes(written)

    def read(self, most: int | None = None) -> bool:
        """Read the next frame, or `most` bytes of it; return whether there was any."""
        wire = self._link.towards(self)
        if not wire:
            return False
        frame = wire.popleft()
        data, rest = (frame, b"") if most is None else (frame[:most], frame[most:])
        if rest:
            wire.appendleft(rest)
        while data and not self.machine.is_closed:
            space = self._reader.space()
            assert space is not None
            count = min(len(space), len(data))
            space[:count], data = data[:count], data[count:]
            self._filled(count)
            self.take_events()
        return True

    def _filled(self, count: int) -> None:
        self.machine.heard(self._link.now)
        match self._reader.filled(count):
            case None:
                return
            case BlocksStart(header):
                self._arriving = header if self.machine.blocks_start(header) else None
                self._buffer = memoryview(bytearray(header.length))
                self._reader.provide(self._buffer)
            case BlocksEnd():
                if self._arriving is not None:
                    self.machine.blocks_end(self._arriving.transfer)
                    self.unverified.append((self._arriving, bytes(self._buffer)))
            case frame:
                self.machine.receive(frame, self._link.now)

    def verify(self) -> bool:
        """Verify the blocks that came first; return whether there were any."""
        if not self.unverified:
            return False
        header, data = self.unverified.popleft()
        incoming = self.incoming.get(header.transfer)
        if incoming is None:
            return True
        content = self._link.other(self).outgoing[header.transfer].content
        for ordinal in range(header.first, header.first + header.count):
            assert ordinal not in incoming.blocks  # nothing that has come is sent again
            assert ordinal not in incoming.had
            size = len(content.blocks[ordinal])
            incoming.blocks[ordinal], data = data[:size], data[size:]
            incoming.ledger.put(ordinal, block_digest(incoming.blocks[ordinal]))
        self.machine.verified(header.transfer, header.first + header.count)
        self.take_events()
        return True

    def store(self) -> bool:
        """Store what arrived first, if it is verified; return whether there was any."""
        if not self.arrived or any(header.transfer == self.arrived[0] for header, _ in self.unverified):
            return False
        transfer = self.arrived.pop(0)
        self.stored.append(transfer)
        incoming = self.incoming[transfer]
        incoming.missing = ranges_of(sorted(incoming.lost))
        self.machine.stored(transfer, incoming.ledger.root(), incoming.missing, 0)
        self.take_events()
        return True

    def work(self) -> bool:
        """Do all that can be done here without the other side; return whether there was any."""
        return any([self.verify(), self.store(), self.write()])

    def take_events(self) -> None:
        while (event := self.machine.next_event()) is not None:
            match event:
                case MessageReceived(_, _, text):
                    self.shown.append(text)
                case MessageDelivered(sequence):
                    assert sequence > self.delivered
                    self.delivered = sequence
                case TransferOffered(transfer, manifest):
                    self.offered[transfer] = manifest
                case HaveTold(transfer, first, digests):
                    self.outgoing[transfer].theirs |= set(range(first, first + len(digests) // 32))
                case TransferAccepted(transfer, wanted):
                    self.outgoing[transfer].wanted = wanted
                    self.sending.append(transfer)
                case TransferRewound(transfer, block):
                    assert block < self.outgoing[transfer].next
                    self.outgoing[transfer].next = block
                    if transfer not in self.sending:
                        self.sending.append(transfer)
                case FileLost(transfer, entry):
                    if transfer in self.sending and not self.outgoing[transfer].stream_ended:
                        self.outgoing[transfer].absent.add(entry)
                case StreamEnded(transfer, size):
                    self.incoming[transfer].ledger.end_stream(size)
                case TransferArrived(transfer, end):
                    self.arrived.append(transfer)
                    self.all_arrived.add(transfer)
                    for entry in each(end.absent):
                        self.incoming[transfer].ledger.leave_out(entry)
                case ReceiptDelivered(transfer):
                    self.receipts.append(transfer)
                case TransferSent(transfer) | TransferRefused(transfer) | TransferBroken(transfer):
                    self.ends.append((transfer, type(event)))
                    if isinstance(event, TransferBroken):
                        self.errors[transfer] = event.error
                    if isinstance(event, TransferSent):
                        self.missing[transfer] = event.receipt.missing
                    if transfer in self.sending:
                        self.sending.remove(transfer)
                    if transfer in self.arrived:
                        self.arrived.remove(transfer)
                    self.incoming.pop(transfer, None)
                    self.offered.pop(transfer, None)
                case Closed(reason):
                    self.farewells.append(reason)


class Link:
    """Both sides, and the clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.initiator, self.responder = (End(role, self) for role in Role)
        self.ends = self.initiator, self.responder

    def other(self, end: End) -> End:
        return self.responder if end is self.initiator else self.initiator

    def towards(self, end: End) -> deque[bytes]:
        """What is on its way to `end`."""
        return self.other(end).wire

    def cut(self) -> None:
        """What is on its way is lost; there is a new channel, unless one side has left already."""
        has_left = any(end.machine.is_closed for end in self.ends)
        for end in self.ends:
            end.wire.clear()
            if has_left:
                end.machine.channel_lost(self.now)
            else:
                end.move()

    def step(self) -> bool:
        """Let each side do what it can; return whether anything happened."""
        happened = [end.work() for end in self.ends] + [end.read() for end in self.ends]
        return any(happened)

    def settle(self) -> None:
        """Let time pass until both sides are closed."""
        while not all(end.machine.is_closed for end in self.ends):
            if self.step():
                continue
            open_ends = [end for end in self.ends if not end.machine.is_closed]
            due = [when for end in open_ends if (when := end.machine.deadline()) is not None]
            self.now = max(self.now, min(due, default=self.now))
            for end in open_ends:
                if due:
                    end.machine.on_deadline(self.now)
                else:
                    end.was_left_alone = True  # nobody is left to make a channel with
                    assert end.machine.lost()
                end.take_events()

    def check(self) -> None:
        """Nothing was lost, and nothing came twice."""
        for end in self.ends:
            other = self.other(end)
            assert other.shown == end.said
            assert end.delivered == len(end.said)
            assert end.farewells == [""]
            names = [transfer for transfer, _ in end.ends]
            assert len(names) == len(set(names))  # each transfer ends once
            assert len(end.stored) == len(set(end.stored))
            assert len(end.receipts) == len(set(end.receipts))
            assert set(end.receipts) <= set(end.stored)
            kinds = dict(end.ends)
            for transfer, outgoing in end.outgoing.items():
                if transfer in other.stored:  # when it was given up it was too late, and nobody else could know
                    assert kinds[transfer] in (TransferSent, TransferBroken)
                    check_content(outgoing, other.incoming[transfer])
                if kinds[transfer] is TransferSent:
                    assert other.incoming[transfer].missing == end.missing[transfer]
                    assert transfer in other.receipts or other.was_left_alone
            assert set(other.stored) <= set(end.outgoing)


def check_content(outgoing: _Outgoing, incoming: _Incoming) -> None:
    """All that was wanted and could be sent is there."""
    left_out = outgoing.content.left_out(outgoing.wanted, outgoing.absent)
    for ordinal, block in enumerate(outgoing.content.blocks):
        if outgoing.content.manifest.entry_of(ordinal) not in left_out and ordinal not in incoming.had:
            assert incoming.blocks[ordinal] == block
