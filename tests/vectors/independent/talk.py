"""A conversation read frame by frame, by the rules of channel.md and session.md: who may say what when."""

import hashlib
import struct
from collections.abc import Iterator

from tests.vectors import pages
from tests.vectors.independent.fields import VERSION, join, x
from tests.vectors.independent.identity import verify
from tests.vectors.independent.protobuf import records

__all__ = ["OTHER", "Talk", "bytes_in", "message_of", "number_in", "read"]

OTHER = {"initiator": "responder", "responder": "initiator"}
KEYS = {"initiator": 0, "responder": 1}
COUNTED = {0x02, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0E, 0x0F, 0x10, 0x11}
AFTER_CLOSE = {0x03, 0x05, 0x0B, 0x0C}  # what answers the other, and PING


def message_of(body: bytes) -> dict[int, int | bytes]:
    """The fields of a message that has none twice."""
    found = list(records(body))
    assert len({number for number, _ in found}) == len(found)
    return dict(found)


def number_in(message: dict[int, int | bytes], field: int) -> int:
    value = message.get(field, 0)
    assert isinstance(value, int)
    return value


def bytes_in(message: dict[int, int | bytes], field: int) -> bytes:
    value = message.get(field, b"")
    assert isinstance(value, bytes)
    return value


class Talk:
    """What is known of a session while its frames are read."""

    def __init__(self, *, proved: bool, resuming: bool = False) -> None:
        self.ids = {role: pages.read(f"peer-id-{n}") for role, n in KEYS.items()}
        pair = self.ids["initiator"], self.ids["responder"]
        self.session = hashlib.sha256(join("punchwire session id", VERSION, *pair, x(6), x(7))).digest()
        self.proved = set(KEYS) if proved else set()
        self.resuming = set(KEYS) if resuming else set()  # who has not said RESUME on this channel
        self.counted = dict.fromkeys(KEYS, 0)
        self.messages = dict.fromkeys(KEYS, 0)
        self.acknowledged = dict.fromkeys(KEYS, 0)  # of the messages of each
        self.last_ping = dict.fromkeys(KEYS, 0)
        self.pings: dict[str, dict[int, tuple[int, int]]] = {role: {} for role in KEYS}
        self.done: set[str] = set()
        self.closed: set[str] = set()
        self.acknowledgements: list[tuple[str, int]] = []
        self.texts: list[tuple[str, int, bytes]] = []

    def hear(self, role: str, kind: int, body: bytes) -> None:
        """Take a frame that the session's rules allow now; those of transfers are for somebody else."""
        if kind == 0x01:
            assert role not in self.proved
            assert role == "responder" or "responder" in self.proved  # it rides with the Finished, the other's behind
            verify(KEYS[role], self.transcript(role), body)
            self.proved.add(role)
            return
        assert self.proved == set(KEYS)
        if kind == 0x0D:
            self.resume(role, body)
            return
        assert not self.resuming
        assert role not in self.closed or kind in AFTER_CLOSE
        self.counted[role] += kind in COUNTED
        message = {} if kind in (0x40, 0x41) else message_of(body)
        match kind:
            case 0x02:
                self.take_message(role, message)
            case 0x03:
                assert number_in(message, 1) <= self.messages[OTHER[role]]
                self.acknowledged[OTHER[role]] = number_in(message, 1)
                self.acknowledgements.append((role, number_in(message, 1)))
            case 0x09:
                assert role not in self.done
                self.done.add(role)
            case 0x0A:
                assert self.acknowledged[role] == self.messages[role]  # nothing is outstanding
                self.closed.add(role)
            case 0x0B:
                assert number_in(message, 1) > self.last_ping[role]
                self.last_ping[role] = number_in(message, 1)
                self.pings[role][self.last_ping[role]] = self.counted[role], self.messages[role]
            case 0x0C:
                count, sequence = self.pings[OTHER[role]].pop(number_in(message, 1))
                assert count <= number_in(message, 2) <= self.counted[OTHER[role]]
                assert self.acknowledged[OTHER[role]] >= sequence

    def resume(self, role: str, body: bytes) -> None:
        assert role in self.resuming
        self.resuming.remove(role)
        self.counted[OTHER[role]] = number_in(message_of(body), 1)  # the rest goes out again

    def take_message(self, role: str, message: dict[int, int | bytes]) -> None:
        assert role not in self.done
        assert number_in(message, 1) == self.messages[role] + 1
        self.messages[role] += 1
        fields = number_in(message, 1).to_bytes(8, "big"), number_in(message, 2).to_bytes(8, "big")
        statement = self.statement(role, "punchwire message", *fields, bytes_in(message, 3))
        verify(KEYS[role], statement, bytes_in(message, 4))
        self.texts.append((role, number_in(message, 2), bytes_in(message, 3)))

    def statement(self, speaker: str, label: str, *fields: bytes) -> bytes:
        parties = self.ids[speaker], self.ids[OTHER[speaker]]
        return join(label, VERSION, self.session, *parties, speaker.encode(), *fields)

    def check_statement(self, speaker: str, label: str, fields: tuple[bytes, ...], signature: bytes) -> None:
        verify(KEYS[speaker], self.statement(speaker, label, *fields), signature)

    def transcript(self, role: str) -> bytes:
        how = b"peer-to-peer", role.encode(), b"tcp", b"exporter+certificate", x(8) + x(9)
        who = self.ids["initiator"], self.ids["responder"], x(3), x(4), self.session, x(6), x(7), bytes(4)
        return join("punchwire key proof", VERSION, *how, *who)


def read(name: str) -> Iterator[tuple[str, int, bytes]]:
    """Yield who says it, kind and body of each frame of a conversation."""
    for role, frame in pages.read_talk(name):
        length, kind = struct.unpack_from(">IB", frame)
        assert length == len(frame) - 5
        yield role, kind, frame[5:]
