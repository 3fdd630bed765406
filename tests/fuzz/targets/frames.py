"""Frames: each control frame's body, and the reader that cuts a stream into frames wherever it was cut before."""

import itertools
from collections.abc import Iterator
from typing import Any

from p2p_core import limits
from p2p_core.errors import Malformed, RemoteProtocolError
from p2p_core.wire import frames
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.frames import HEADER_BYTES, BlocksHeader, Kind

from tests.fuzz.shapes import chosen, shown
from tests.fuzz.target import Target
from tests.vectors import pages

_PAGES = ("channel.md", "direct.md", "introduction.md", "session.md", "transfer.md", "versions.md")


def _frame(data: bytes) -> frames.Frame | None:
    """Read one frame whose length is right."""
    kind, body = chosen(data, 256)
    body = body[: limits.MAX_CONTROL_FRAME]
    assert frames.parse_header(frames.frame_header(kind, len(body))) == (kind, len(body))
    return None if frames.may_be_ignored(kind) else frames.decode(kind, body)


def _frame_holds(read: frames.Frame | None) -> None:
    if read is None:
        return
    said = frames.encode(read)
    kind, length = frames.parse_header(said[:HEADER_BYTES])
    assert length == len(said) - HEADER_BYTES
    assert frames.decode(kind, said[HEADER_BYTES:]) == read
    for text in (getattr(read, name, "") for name in ("reason", "text")):
        shown(text)
        assert len(text.encode()) <= limits.MAX_TEXT_BYTES
    if isinstance(read, frames.TransferOffer):
        frames.check_offer(read)


def _events(stream: bytes, pieces: Iterator[int], *, introduced: bool, opens: bool) -> list[Any]:
    """Read a stream in pieces; return what came of it, with the data of blocks, and the error it ended with."""
    reader, events, at = FrameReader(introduced=introduced), list[Any](), 0
    if opens:
        reader.open()
    buffer = bytearray()
    while at < len(stream):
        space = reader.space()
        assert space, "nowhere to put what comes"
        count = min(len(space), next(pieces), len(stream) - at)
        space[:count] = stream[at : at + count]
        at += count
        try:
            event = reader.filled(count)
        except (Malformed, RemoteProtocolError) as error:
            return [*events, (type(error), str(error))]
        assert 0 <= reader.unread <= limits.MAX_BLOCK_SIZE
        if isinstance(event, BlocksStart):
            assert 0 < event.header.count <= event.header.length <= limits.MAX_BLOCK_SIZE
            assert reader.space() is None
            buffer = bytearray(event.header.length)
            reader.provide(memoryview(buffer))
        if event is not None:
            events.append(bytes(buffer) if isinstance(event, BlocksEnd) else event)
    return events


def _stream(data: bytes) -> list[Any]:
    """Read a stream as it was cut, and whole: how it was cut makes no difference."""
    way, data = chosen(data, 4)
    cuts, stream = data[:8], data[8:]
    how = {"introduced": bool(way & 1), "opens": bool(way & 2)}
    pieces = itertools.cycle([1 + cut for cut in cuts] or [1])
    events = _events(stream, pieces, **how)
    assert events == _events(stream, itertools.repeat(limits.MAX_BLOCK_SIZE), **how)
    return events


def _stream_holds(events: list[Any]) -> None:
    for event in events:
        if isinstance(event, frames.Frame):
            _frame_holds(event)


def _blocks_header(data: bytes) -> BlocksHeader:
    fixed = data[: frames.BLOCKS_FIXED_BYTES].ljust(frames.BLOCKS_FIXED_BYTES, b"\0")
    count = BlocksHeader.count_in(fixed)
    return BlocksHeader.read(fixed, bytes(count * limits.HASH_BYTES))


def _blocks_header_holds(read: BlocksHeader) -> None:
    frame = memoryview(bytearray(read.room + 1))
    read.write(frame)
    assert frames.parse_header(frame[:HEADER_BYTES]) == (Kind.BLOCKS, len(frame) - HEADER_BYTES)
    assert BlocksHeader.read(frame[HEADER_BYTES:], read.digests) == read
    assert read.first + read.count <= limits.MAX_BLOCKS


def _whole_frames() -> list[bytes]:
    names = [name for page in _PAGES for name in pages.names(page) if name.startswith("frame-")]
    return [pages.read(name) for name in names]


def _streams() -> list[bytes]:
    talks = [frame for name in ("talk-session", "talk-transfer", "talk-resumed") for _, frame in pages.read_talk(name)]
    said = [b"".join(frame for role, frame in pages.read_talk("talk-transfer") if role == "initiator")]
    blocks = b"".join(map(pages.read, ("frame-blocks-begun", "frame-ping", "frame-part", "frame-done")))
    return [b"\3" + bytes([9, 200, 3, 1, 77, 5, 255, 0]) + one for one in (*talks, *said, blocks, *_whole_frames())]


TARGETS = (
    Target(
        name="frame",
        of=("p2p_core.wire.frames.decode", "p2p_core.wire.entries.unpack", "p2p_core.ranges.from_bits"),
        parse=_frame,
        raises=(Malformed,),
        seeds=lambda: [frame[4:] for frame in _whole_frames() if frame[4] not in (Kind.BLOCKS, Kind.PART)],
        holds=_frame_holds,
    ),
    Target(
        name="frame-reader",
        of=("p2p_core.wire.frame_reader.FrameReader", "p2p_core.wire.frames.parse_header"),
        parse=_stream,
        seeds=_streams,
        holds=_stream_holds,
    ),
    Target(
        name="blocks-header",
        of=("p2p_core.wire.frames.BlocksHeader.count_in", "p2p_core.wire.frames.BlocksHeader.read"),
        parse=_blocks_header,
        raises=(Malformed,),
        seeds=lambda: [pages.read("frame-blocks")[HEADER_BYTES:]],
        holds=_blocks_header_holds,
    ),
)
