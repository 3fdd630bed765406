"""Frames of a session, its statements, the rejoin signal and a conversation (session.md)."""

from collections.abc import Callable, Iterator

from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose
from p2p_core.statements import Speaker
from p2p_core.wire import frames, rejoin

from tests.vectors.made.inputs import INITIATOR, MILLISECONDS, RESPONDER, SESSION, Blocks, of
from tests.vectors.made.punch_keys import punch_key
from tests.vectors.made.talks import Side, Steps, talk

_SIGNATURE = of(0x05, 256)


FRAMES: dict[str, frames.Frame] = {
    "frame-message": frames.TextMessage(1, MILLISECONDS, "hello", _SIGNATURE),
    "frame-message-ack": frames.MessageAck(1),
    "frame-done": frames.Done(),
    "frame-close": frames.Close("bye"),
    "frame-ping": frames.Ping(7),
    "frame-pong": frames.Pong(7, 300),
    "frame-resume": frames.Resume(300, ((1, 5), (2, 0))),
}


SPEAKERS = {
    Role.INITIATOR: Speaker(SESSION, INITIATOR, RESPONDER, Role.INITIATOR),
    Role.RESPONDER: Speaker(SESSION, RESPONDER, INITIATOR, Role.RESPONDER),
}


def blocks() -> Blocks:
    return {
        **{name: frames.encode(frame) for name, frame in FRAMES.items()},
        "statement-message": SPEAKERS[Role.INITIATOR].message(1, MILLISECONDS, "hello"),
        "rejoin-initiator": rejoin.encode(7, punch_key(Role.INITIATOR, PunchPurpose.REJOIN)),
    }


def _greet(initiator: Side) -> Iterator[bytes]:
    initiator.machine.on_deadline(0.0)
    initiator.machine.send_message("hello", MILLISECONDS)
    return initiator.says()


def _answer(responder: Side) -> Iterator[bytes]:
    responder.machine.on_deadline(0.0)
    return responder.says()


def _leave(side: Side) -> Iterator[bytes]:
    side.machine.done()
    return side.says()


CONVERSATION: Steps = (
    (Role.RESPONDER, Side.proves),
    (Role.INITIATOR, Side.proves),
    (Role.INITIATOR, _greet),
    (Role.RESPONDER, _answer),
    (Role.INITIATOR, _leave),
    (Role.RESPONDER, _leave),
    (Role.INITIATOR, Side.says),
)


# On the first channel one message has arrived and its acknowledgement has not, nor has a second message.


def _says(text: str) -> Callable[[Side], Iterator[bytes]]:
    def act(side: Side) -> Iterator[bytes]:
        side.machine.send_message(text, MILLISECONDS)
        return side.says()

    return act


def _says_in_vain(side: Side) -> Iterator[bytes]:
    side.machine.send_message("again", MILLISECONDS)
    return side.loses()


def _asks(side: Side) -> Iterator[bytes]:
    side.machine.on_deadline(0.0)
    return side.says()


BEFORE: Steps = (
    (Role.INITIATOR, _says("hello")),
    (Role.RESPONDER, Side.loses),
    (Role.INITIATOR, _says_in_vain),
)
RESUMED: Steps = (
    (Role.INITIATOR, Side.says),
    (Role.RESPONDER, _asks),
    (Role.INITIATOR, _asks),
    (Role.RESPONDER, Side.says),
)

RANDOMISED = {
    "talk-session": talk(CONVERSATION),
    "talk-resumed": talk(RESUMED, before=BEFORE, proved=True),
}
