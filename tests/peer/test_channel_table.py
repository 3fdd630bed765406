"""Every cell of the table of docs/protocol/channel.md that says which frame may come in which state of a channel."""

from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, RemoteProtocolError
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.frames import Chosen, Introduction, KeyProof, Kind
from p2p_peer.channel.channel import read_frame
from p2p_peer.channel.stream import StreamEnded

from tests.core.conversation import Conversation
from tests.vectors import tables

ROWS = tables.read("channel.md", "frame", "proving")
SAID = {
    Kind.KEY_PROOF: frames.encode(KeyProof(bytes(256))),
    Kind.INTRODUCTION: frames.encode(Introduction(b"key", bytes(32))),
    Kind.CHOSEN: frames.encode(Chosen()),
    Kind.BLOCKS: frames.frame_header(Kind.BLOCKS, 47) + b"\0\0\0\1" + bytes(7) + b"\1\0\1" + bytes(33),
}
DUE: dict[str, Any] = {
    "proving": KeyProof,
    "introducing": Introduction,
    "introduced": KeyProof,
    "awaiting CHOSEN": Chosen,
}


def kinds_of(row: str) -> list[int]:
    if row == "any other known kind":
        return [kind for kind in Kind if kind.name not in {row["frame"] for row in ROWS}]
    if row in Kind.__members__:
        return [Kind[row]]
    spans = [[int(end, 16) for end in span.split("–")] for span in row.split(", ")]
    return [kind for span in spans for kind in range(span[0], span[-1] + 1)]


def said(kind: int) -> bytes:
    return SAID.get(Kind(kind), b"") if kind in set(Kind) else frames.frame_header(kind, 0)


class Heard:
    """A stream on which some bytes come, and then its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_into(self, space: memoryview) -> int:
        if not self._data:
            raise StreamEnded
        count = min(len(space), len(self._data))
        space[:count], self._data = self._data[:count], self._data[count:]
        return count


async def hear(state: str, data: bytes) -> None:
    """Hear `data` in a state before a session has the channel. Raises `ConnectionLost` when nothing came of it."""
    reader = FrameReader(introduced=state == "proving")
    if state == "awaiting CHOSEN":
        reader.open()
    stream: Any = Heard(data)
    await read_frame(stream, reader, DUE[state])


def open_session_hears(data: bytes) -> None:
    reader = FrameReader()
    reader.open()
    while data:
        space = reader.space()
        assert space is not None
        count = min(len(space), len(data))
        space[:count], data = data[:count], data[count:]
        event: Any = reader.filled(count)
        if event is not None:
            Conversation().initiator.machine.receive(event, 0.0)


def test_all_kinds_are_in_the_table() -> None:
    assert sorted(kind for row in ROWS for kind in kinds_of(row["frame"])) == list(range(0x100))


@pytest.mark.parametrize("state", DUE)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["frame"])
async def test_a_frame_before_the_session_has_the_channel(row: tables.Row, state: str) -> None:
    for kind in kinds_of(row["frame"]):
        data = said(kind) or frames.frame_header(kind, 1) + b"x"
        match row[state]:
            case "taken":
                await hear(state, data)
            case "passed over":
                with pytest.raises(ConnectionLost):
                    await hear(state, data)
                await hear(state, data + SAID[Kind.CHOSEN])
            case _:
                with pytest.raises(RemoteProtocolError):
                    await hear(state, data)


@pytest.mark.parametrize("row", [row for row in ROWS if row["open"] == "error"], ids=lambda row: row["frame"])
def test_what_no_session_takes(row: tables.Row) -> None:
    for kind in kinds_of(row["frame"]):
        with pytest.raises(RemoteProtocolError):
            open_session_hears(said(kind))
