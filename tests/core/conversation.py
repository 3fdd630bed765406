"""Two session machines that talk through lists: a channel without a network, with a clock that somebody moves."""

from dataclasses import dataclass, field

from p2p_core.file_root import block_digest
from p2p_core.machines.events import Event
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import Role
from p2p_core.wire import frames
from p2p_core.wire.frames import HEADER_BYTES, BlockHeader, Close, FileAnswer, FileOffer, Frame

from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement

__all__ = ["BLOCK_SIZE", "Conversation", "Talker", "blocks_of"]

BLOCK_SIZE = 4096
_KEYS = {Role.INITIATOR: INITIATOR_KEY, Role.RESPONDER: RESPONDER_KEY}


def blocks_of(data: bytes) -> list[bytes]:
    return [data[at : at + BLOCK_SIZE] for at in range(0, len(data), BLOCK_SIZE)]


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

    def offer(self, data: bytes, name: str = "a.txt") -> int:
        return self.machine.offer_file(name, len(data), 0o644, 0, BLOCK_SIZE)


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

    def offered(self, sender: Talker, data: bytes, name: str = "a.txt") -> int:
        """Offer a file, and deliver the offer."""
        transfer = sender.offer(data, name)
        assert isinstance(self.deliver(sender)[-1], FileOffer)
        return transfer

    def accepted(self, sender: Talker, data: bytes, name: str = "a.txt") -> int:
        """Bring a file to where its blocks may be sent."""
        transfer = self.offered(sender, data, name)
        self.other(sender).machine.accept_file(transfer)
        assert FileAnswer(transfer, accepted=True) in self.deliver(self.other(sender))
        return transfer

    def send_blocks(self, sender: Talker, transfer: int, data: bytes, *, verify: bool = True) -> None:
        """Send all of a file's blocks; the receiver verifies each as it comes, unless it is not to."""
        receiver = self.other(sender).machine
        for block in blocks_of(data):
            digest = block_digest(block)
            index = sender.machine.block_sent(transfer, digest, len(block))
            if receiver.block_starts(BlockHeader(transfer, 0, index, digest), len(block)):
                receiver.block_ends(transfer)
                if verify:
                    receiver.block_verified(transfer, digest)

    def arrived(self, sender: Talker, data: bytes, name: str = "a.txt") -> int:
        """Bring a file to where it is verified and only has to be stored."""
        transfer = self.accepted(sender, data, name)
        self.send_blocks(sender, transfer, data)
        sender.machine.file_ended(transfer)
        self.deliver(sender)
        return transfer
