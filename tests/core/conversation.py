"""Two session machines that talk through lists: a channel without a network, with a clock that somebody moves."""

from collections.abc import Collection
from dataclasses import dataclass, field

from p2p_core.machines.events import Event
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import Role
from p2p_core.ranges import Ranges
from p2p_core.wire import frames
from p2p_core.wire.frames import HEADER_BYTES, Close, Entries, Frame, TransferAnswer

from tests.core.contents import BLOCK_SIZE, Content, content_of
from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement

__all__ = ["BLOCK_SIZE", "Conversation", "Talker"]

_KEYS = {Role.INITIATOR: INITIATOR_KEY, Role.RESPONDER: RESPONDER_KEY}


@dataclass(slots=True)
class Talker:
    """One side: its machine, and what came out of it."""

    machine: SessionMachine
    events: list[Event] = field(default_factory=list)

    def drain(self) -> list[Event]:
        """Return the events since the last time."""
        found = []
        while (event := self.machine.next_event()) is not None:
            found.append(event)
        self.events += found
        return found

    def told(self, kind: type[Event]) -> list[int]:
        """The transfers of all events of a kind, those from before `drain` too."""
        self.drain()
        return [event.transfer for event in self.events if isinstance(event, kind)]  # type: ignore[union-attr]

    def said(self, now: float = 0.0) -> list[Frame]:
        """Return the frames that go out now, read and written as on a channel."""
        found = []
        while (frame := self.machine.next_frame()) is not None:
            if isinstance(frame, Close):
                self.machine.close_went_out(now)
            data = frames.encode(frame)
            kind, _ = frames.parse_header(data)
            found.append(frames.decode(kind, data[HEADER_BYTES:]))
        return found

    def hears(self, *said: Frame, now: float = 0.0) -> None:
        for frame in said:
            self.machine.heard(now)
            self.machine.receive(frame, now)

    def offer(self, what: Content | bytes) -> int:
        return self.machine.offer(content_of(what).manifest)


class Conversation:
    """Both sides."""

    def __init__(self) -> None:
        self.initiator, self.responder = (
            Talker(SessionMachine(agreement(role), _KEYS[role], _KEYS[role.other].public_key(), 0.0)) for role in Role
        )
        self.now = 0.0

    def other(self, talker: Talker) -> Talker:
        return self.responder if talker is self.initiator else self.initiator

    def deliver(self, talker: Talker) -> list[Frame]:
        """Take what `talker` says to the other side."""
        said = talker.said(self.now)
        self.other(talker).hears(*said, now=self.now)
        return said

    def settle(self) -> None:
        """Deliver until nobody has anything to say."""
        while self.deliver(self.initiator) or self.deliver(self.responder):
            pass

    def offered(self, sender: Talker, what: Content | bytes) -> int:
        """Offer a transfer, and deliver the offer."""
        transfer = sender.offer(what)
        assert isinstance(self.deliver(sender)[-1], Entries)
        return transfer

    def accepted(self, sender: Talker, what: Content | bytes, wanted: Ranges = ()) -> int:
        """Bring a transfer to where its blocks may be sent."""
        transfer = self.offered(sender, what)
        self.other(sender).machine.accept(transfer, wanted)
        assert TransferAnswer(transfer, accepted=True, wanted=wanted) in self.deliver(self.other(sender))
        return transfer

    def send_blocks(
        self,
        sender: Talker,
        transfer: int,
        what: Content | bytes,
        *,
        first: int = 0,
        without: Collection[int] = (),
        verify: bool = True,
    ) -> None:
        """Send all blocks but those of the entries `without`; the receiver verifies each, unless it is not to."""
        content, receiver = content_of(what), self.other(sender).machine
        for header, _ in content.batches(transfer, first, without):
            sender.machine.blocks_sent(transfer, header.first, header.count)
            if receiver.blocks_start(header):
                receiver.blocks_end(transfer)
                if verify:
                    receiver.verified(transfer, header.first + header.count)
        if content.stream_size is not None and content.manifest.stream not in without:
            sender.machine.stream_ended(transfer, content.stream_size)

    def ended(self, sender: Talker, transfer: int, what: Content | bytes, absent: Collection[int] = ()) -> None:
        """Let the sender sign for all that it has sent, which is all but `absent`."""
        ledger = content_of(what).ledger(absent=absent)
        sender.machine.all_sent(transfer, ledger.root(), ledger.absent())

    def arrived(self, sender: Talker, what: Content | bytes) -> int:
        """Bring a transfer to where it is verified and only has to be stored."""
        transfer = self.accepted(sender, what)
        self.send_blocks(sender, transfer, what)
        self.ended(sender, transfer, what)
        self.deliver(sender)
        return transfer

    def stored(
        self,
        receiver: Talker,
        transfer: int,
        what: Content | bytes,
        missing: Ranges = (),
        absent: Collection[int] = (),
    ) -> None:
        """Let the receiver sign for what it has stored, which is all but `missing`; `absent` was never sent."""
        receiver.machine.stored(transfer, content_of(what).ledger(absent=absent).root(), missing, 7)
