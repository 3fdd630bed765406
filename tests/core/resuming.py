"""Two session machines, files and all, on channels of bytes that somebody cuts off: no network, a clock of its own."""

from collections import deque

from p2p_core.file_root import block_digest
from p2p_core.machines.events import (
    Closed,
    Event,
    FileAccepted,
    FileArrived,
    FileFailed,
    FileOffered,
    FileRefused,
    FileRewound,
    FileSent,
    MessageDelivered,
    MessageReceived,
)
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import Role
from p2p_core.wire.frame_reader import BlockEnds, BlockStarts, FrameReader
from p2p_core.wire.frames import BLOCK_HEADER_BYTES, HEADER_BYTES, BlockHeader, Close, encode

from tests.core.conversation import BLOCK_SIZE, blocks_of
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement

__all__ = ["End", "Link"]

_KEYS = {Role.INITIATOR: INITIATOR_KEY, Role.RESPONDER: RESPONDER_KEY}
_ROOM = HEADER_BYTES + BLOCK_HEADER_BYTES


class End:
    """One side: its machine, a user who takes note of everything, and a driver that moves one step at a time."""

    def __init__(self, role: Role, link: "Link") -> None:
        self.machine = SessionMachine(agreement(role), _KEYS[role], _KEYS[role.other].public_key(), 0.0)
        self._link = link
        self.said: list[str] = []
        self.shown: list[str] = []
        self.delivered = 0  # messages
        self.content: dict[int, bytes] = {}  # of our files
        self._sending: dict[int, int] = {}  # next block, by transfer
        self.offered: list[int] = []  # by the other side, and not answered
        self.unverified: deque[tuple[int, bytes]] = deque()
        self.received: dict[int, bytes] = {}  # and verified
        self.arrived: list[int] = []  # and not stored
        self.stored: list[int] = []
        self.ends: list[tuple[int, type[Event]]] = []  # of transfers
        self.farewells: list[str] = []
        self._new_channel()

    def _new_channel(self) -> None:
        self.wire: deque[bytes] = deque()  # frames on their way to the other side
        self._reader = FrameReader()
        self._reader.open()
        self._arriving: BlockHeader | None = None
        self._buffer = memoryview(b"")

    def move(self) -> None:
        """Go over to a new channel."""
        self._new_channel()
        self.machine.channel_opened(self._link.now)

    # What a user does.

    def say(self, text: str) -> None:
        self.machine.send_message(text, 0)
        self.said.append(text)

    def offer(self, content: bytes) -> None:
        transfer = self.machine.offer_file("a.txt", len(content), 0o644, 0, BLOCK_SIZE)
        self.content[transfer] = content

    def accept(self, transfer: int) -> None:
        self.machine.accept_file(transfer)
        self.offered.remove(transfer)
        self.received[transfer] = b""

    def refuse(self, transfer: int) -> None:
        self.machine.refuse_file(transfer, "no")
        self.offered.remove(transfer)

    # What a driver does.

    def write(self) -> bool:
        """Write a frame, or else a block; return whether there was any."""
        if (frame := self.machine.next_frame()) is not None:
            if isinstance(frame, Close):
                self.machine.close_went_out(self._link.now)
            self.wire.append(encode(frame))
            return True
        if not self._sending or not self.machine.is_talking:
            return False
        transfer, index = next(iter(self._sending.items()))
        blocks = blocks_of(self.content[transfer])
        if index == len(blocks):
            del self._sending[transfer]
            self.machine.file_ended(transfer)
            return self.write()
        digest = block_digest(blocks[index])
        assert self.machine.block_sent(transfer, digest, len(blocks[index])) == index
        self._sending[transfer] += 1
        header = memoryview(bytearray(_ROOM))
        BlockHeader(transfer, 0, index, digest).write(header, len(blocks[index]))
        self.wire.append(bytes(header) + blocks[index])
        return True

    def read(self, most: int | None = None) -> bool:
        """Read the next frame, or `most` bytes of it; return whether there was any."""
        wire = self._link.other(self).wire
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
            case BlockStarts(header, length):
                self._arriving = header if self.machine.block_starts(header, length) else None
                self._buffer = memoryview(bytearray(length))
                self._reader.provide(self._buffer)
            case BlockEnds():
                if self._arriving is not None:
                    assert block_digest(self._buffer) == self._arriving.digest
                    self.machine.block_ends(self._arriving.transfer)
                    self.unverified.append((self._arriving.transfer, bytes(self._buffer)))
            case frame:
                self.machine.receive(frame, self._link.now)

    def verify(self) -> bool:
        """Verify the block that came first; return whether there was any."""
        if not self.unverified:
            return False
        transfer, data = self.unverified.popleft()
        if transfer in self.received:
            self.received[transfer] += data
            self.machine.block_verified(transfer, block_digest(data))
            self.take_events()
        return True

    def store(self) -> bool:
        """Give the file that arrived first its name; return whether there was any."""
        if not self.arrived:
            return False
        self.stored.append(self.arrived.pop(0))
        self.machine.file_stored(self.stored[-1], 0)
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
                case FileOffered(offer):
                    self.offered.append(offer.transfer)
                case FileAccepted(transfer):
                    self._sending[transfer] = 0
                case FileRewound(transfer, block):
                    self._sending[transfer] = block
                case FileArrived(transfer):
                    self.arrived.append(transfer)
                case FileSent(transfer) | FileRefused(transfer) | FileFailed(transfer):
                    self.ends.append((transfer, type(event)))
                    self._sending.pop(transfer, None)
                    self.received.pop(transfer, None)
                    for waiting in (self.offered, self.arrived):
                        if transfer in waiting:
                            waiting.remove(transfer)
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
                    assert end.machine.lost()  # nobody is left to make a channel with
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
            kinds = dict(end.ends)
            for transfer, content in end.content.items():
                if kinds[transfer] is FileSent:
                    assert other.received[transfer] == content
                    assert transfer in other.stored
                elif transfer in other.stored:  # given up when it was too late, and nobody else could know
                    assert kinds[transfer] is FileFailed
                    assert other.received[transfer] == content
            for transfer in other.stored:
                assert transfer in end.content
