"""Frames of a session, its statements, the rejoin signal and a conversation (session.md)."""

import hashlib
import hmac
import struct

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import VERSION, fields_of, x
from tests.vectors.independent.frames import check_control
from tests.vectors.independent.talk import Talk, read

MILLISECONDS = 1_700_000_000_123
SIGNATURE = x(5, 256)


check_control(
    {
        "frame-message": (0x02, [(1, 1), (2, MILLISECONDS), (3, b"hello"), (4, SIGNATURE)]),
        "frame-message-ack": (0x03, [(1, 1)]),
        "frame-done": (0x09, []),
        "frame-close": (0x0A, [(1, b"bye")]),
        "frame-ping": (0x0B, [(1, 7)]),
        "frame-pong": (0x0C, [(1, 7), (2, 300)]),
        "frame-resume": (0x0D, [(1, 300), (2, b"\x08\x01\x10\x05"), (2, b"\x08\x02")]),
    }
)


@check("statement-message")
def _statement(name: str) -> None:
    spoken = [x(5), x(1), x(2), b"initiator", (1).to_bytes(8, "big"), MILLISECONDS.to_bytes(8, "big"), b"hello"]
    assert fields_of(pages.read(name)) == [b"punchwire message", VERSION, *spoken]


@check("rejoin-initiator")
def _rejoin(name: str) -> None:
    signal = pages.read(name)
    assert len(signal) == 24
    assert signal[:8] == b"PWR\x01" + struct.pack(">I", 7)
    key = pages.read("punch-key-initiator-rejoin")
    assert signal[8:] == hmac.new(key, signal[:8], hashlib.sha256).digest()[:16]


@check("talk-session")
def _conversation(name: str) -> None:
    talk = Talk(proved=False)
    for role, kind, body in read(name):
        talk.hear(role, kind, body)
    assert talk.texts == [("initiator", MILLISECONDS, b"hello")]
    assert talk.acknowledged == talk.messages
    assert talk.done == talk.closed == {"initiator", "responder"}
    assert talk.pings == {"initiator": {}, "responder": {}}


@check("talk-resumed")
def _resumed(name: str) -> None:
    talk = Talk(proved=True, resuming=True)
    talk.messages["initiator"] = 1  # has arrived on the channel before
    for role, kind, body in read(name):
        talk.hear(role, kind, body)
    assert talk.texts == [("initiator", MILLISECONDS, b"again")]
    assert talk.messages == {"initiator": 2, "responder": 0}
    assert talk.acknowledgements == [("responder", 1), ("responder", 2)]  # the first one again
    assert talk.counted == {"initiator": 2, "responder": 0}
    assert talk.pings == {"initiator": {}, "responder": {}}
    assert not talk.resuming
