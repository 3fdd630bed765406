"""Whole conversations: two session machines, and what each says to the other step by step (session.md, transfer.md).

Signatures are randomised, so a conversation is made once, and kept as long as the machines would say it again.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace

from p2p_core.agreement import Agreement
from p2p_core.agreement import Side as Party
from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_core.ledger import Ledger, block_digest
from p2p_core.machines.events import Event, StreamEnded, TransferOffered
from p2p_core.machines.session import SessionMachine
from p2p_core.proof import BindingType, ChannelBinding, PathKind, Role, prove, verify
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.offer import Offer

from tests.keys import key
from tests.vectors.made.inputs import ISSUED, NONCES, OFFER_HASHES, SHARES, of
from tests.vectors.made.randomised import Randomised
from tests.vectors.pages import Talk

__all__ = ["AGREEMENTS", "Side", "Steps", "play", "talk"]

_BINDING = ChannelBinding(BindingType.EXPORTER_AND_CERTIFICATE, of(0x08) + of(0x09))
_PARTIES = [
    Party(PeerId.of(key(n).public_key()), Offer(ISSUED, ISSUED + 600, NONCES[n], SHARES[n], ()), OFFER_HASHES[n])
    for n in range(2)
]
AGREEMENTS = {role: Agreement(role, *_PARTIES) for role in Role}
_KEYS = {Role.INITIATOR: key(0), Role.RESPONDER: key(1)}


class Side:
    """One side: its machine, and what has come to it."""

    def __init__(self, role: Role, *, proved: bool) -> None:
        """`proved`: the proofs have passed already."""
        self._key, self._other_key = _KEYS[role], _KEYS[role.other].public_key()
        self._transcript = AGREEMENTS[role].transcript(PathKind.TCP, _BINDING)
        self.machine = SessionMachine(AGREEMENTS[role], self._key, self._other_key, 0.0)
        self.events: list[Event] = []
        self.ledger: Ledger | None = None  # of what is offered to it
        self._reader = FrameReader()
        if proved:
            self._reader.open()
        self._header: frames.BlocksHeader | None = None
        self._buffer = bytearray()

    def proves(self) -> Iterator[bytes]:
        """Say the key proof."""
        yield frames.encode(frames.KeyProof(prove(self._key, self._transcript)))

    def says(self) -> Iterator[bytes]:
        """Say what the machine has to say now."""
        while (frame := self.machine.next_frame()) is not None:
            yield frames.encode(frame)

    def loses(self) -> Iterator[bytes]:
        """Say what there is to say on a channel on which it does not arrive, and go over to another one."""
        for _ in self.says():
            pass
        self.machine.channel_opened(0.0)
        return iter(())

    def hears(self, frame: bytes) -> None:
        """Raises `ProofFailed` or `RemoteProtocolError` for what may not come."""
        while frame:
            if (space := self._reader.space()) is None:
                self._reader.provide(memoryview(self._buffer))
                continue
            count = min(len(space), len(frame))
            space[:count], frame = frame[:count], frame[count:]
            event = self._reader.filled(count)
            if event is not None:
                self._take(event)
        while (happened := self.machine.next_event()) is not None:
            self.events.append(happened)
            self._note(happened)

    def _take(self, event: frames.Frame | BlocksStart | BlocksEnd) -> None:
        match event:
            case frames.KeyProof(signature):
                verify(self._other_key, self._transcript.by(self._transcript.prover.other), signature)
                self._reader.open()
            case BlocksStart(header):
                assert self.machine.blocks_start(header)
                self._header, self._buffer = header, bytearray(header.length)
            case BlocksEnd():
                self._stored()
            case _:
                self.machine.receive(event, 0.0)

    def _stored(self) -> None:
        """The blocks of one frame have come: here each has a single one."""
        assert self._header is not None
        assert self.ledger is not None
        if block_digest(self._buffer) != self._header.digests:
            raise Malformed("a block of another hash")
        self.ledger.put(self._header.first, self._header.digests)
        self.machine.blocks_end(self._header.transfer)
        self.machine.verified(self._header.transfer, self._header.first + self._header.count)

    def _note(self, event: Event) -> None:
        match event:
            case TransferOffered(_, manifest):
                self.ledger = Ledger(manifest)
            case StreamEnded(_, size):
                assert self.ledger is not None
                self.ledger.end_stream(size)


Steps = tuple[tuple[Role, Callable[[Side], Iterable[bytes]]], ...]


def play(
    steps: Steps, *, before: Steps = (), proved: bool = False, said: Talk | None = None
) -> tuple[Talk, dict[Role, Side]]:
    """Let both sides talk; return what they said, without what they said `before`.

    Where there is `said`, that is heard, if it is the same but for signatures: raises `Malformed` if not, and what a
    machine raises.
    """
    sides = {role: Side(role, proved=proved) for role in Role}
    for role, act in before:
        for frame in act(sides[role]):
            sides[role.other].hears(frame)
    recorded = None if said is None else deque(said)
    talked: list[tuple[str, bytes]] = []
    for role, act in steps:
        for made in act(sides[role]):
            frame = made if recorded is None else _same(role, made, recorded)
            talked.append((role.value, frame))
            sides[role.other].hears(frame)
    if recorded:
        raise Malformed("more was said than there is to say")
    return tuple(talked), sides


def talk(steps: Steps, *, before: Steps = (), proved: bool = False) -> Randomised:
    """Return how the conversation of these steps is made, and checked."""
    return Randomised(
        lambda: play(steps, before=before, proved=proved)[0],
        lambda said: play(steps, before=before, proved=proved, said=said),
    )


def _same(role: Role, made: bytes, recorded: "deque[tuple[str, bytes]]") -> bytes:
    speaker, frame = recorded.popleft() if recorded else ("", b"")
    if speaker != role.value or _unsigned(frame) != _unsigned(made):
        raise Malformed("something else was said")
    return frame


def _unsigned(data: bytes) -> object:
    """What a frame says, without its signature; of blocks the bytes."""
    if len(data) < frames.HEADER_BYTES or data[4] in (frames.Kind.BLOCKS, frames.Kind.PART):
        return data
    frame = frames.decode(data[4], data[frames.HEADER_BYTES :])
    if any(field.name == "signature" for field in fields(frame)):
        return replace(frame, signature=b"")  # type: ignore[call-arg]
    return frame
