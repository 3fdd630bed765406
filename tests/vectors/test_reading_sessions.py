"""p2p_core reads the golden bytes of punching, sessions and transfers."""

import pytest
from p2p_core.ledger import block_digest
from p2p_core.wire import frames, nat_pmp, pcp, stun
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.journal import JournalReader, Record
from p2p_core.wire.preamble import Preamble
from p2p_core.wire.probe import Probe

from tests.vectors import pages
from tests.vectors.made import channel, direct, introduction, punching, session, transfer

FRAMES = {**channel.FRAMES, **session.FRAMES, **transfer.FRAMES, **introduction.FRAMES, **direct.FRAMES}


@pytest.mark.parametrize("name", punching.PREAMBLES)
def test_preambles_are_read_from_the_page(name: str) -> None:
    preamble = punching.PREAMBLES[name]
    punch_key = pages.read(f"punch-key-{preamble.role.value}-tcp-preamble")
    assert Preamble.decode(pages.read(name), punch_key) == preamble


@pytest.mark.parametrize("name", punching.PROBES)
def test_probes_are_read_from_the_page(name: str) -> None:
    probe = punching.PROBES[name]
    assert Probe.decode(pages.read(name), pages.read(f"punch-key-{probe.role.value}-udp-probe")) == probe


@pytest.mark.parametrize("name", punching.STUN)
def test_stun_is_read_from_the_page(name: str) -> None:
    assert stun.decode(pages.read(name)) == punching.STUN[name]


@pytest.mark.parametrize("name", punching.GATEWAY_ANSWERS)
def test_the_answers_of_gateways_are_read_from_the_page(name: str) -> None:
    decode = pcp.decode if name.startswith("pcp") else nat_pmp.decode
    assert decode(pages.read(name)) == punching.GATEWAY_ANSWERS[name]


@pytest.mark.parametrize("name", FRAMES)
def test_frames_are_read_from_the_page(name: str) -> None:
    data = pages.read(name)
    kind, length = frames.parse_header(data)
    assert length == len(data) - frames.HEADER_BYTES
    assert frames.decode(kind, data[frames.HEADER_BYTES :]) == FRAMES[name]


@pytest.mark.parametrize(
    ("name", "records"), [("journal-received", transfer.JOURNAL), ("journal-sent", transfer.SENT_JOURNAL)]
)
def test_journals_are_read_from_the_page(name: str, records: tuple[Record, ...]) -> None:
    reader = JournalReader()
    assert tuple(reader.receive(pages.read(name))) == records
    assert reader.end == len(pages.read(name))


@pytest.mark.parametrize("names", [["frame-blocks"], ["frame-blocks-begun", "frame-ping", "frame-part"]])
def test_blocks_are_read_from_the_page(names: list[str]) -> None:
    reader, data = FrameReader(), b"".join(map(pages.read, names))
    reader.open()
    at, buffer, events = 0, bytearray(12), []
    while at < len(data):
        if (space := reader.space()) is None:
            reader.provide(memoryview(buffer))
            continue
        count = min(len(space), len(data) - at)
        space[:count] = data[at : at + count]
        at += count
        events.append(reader.filled(count))
    digests = b"".join(map(block_digest, transfer.BLOCKS))
    start, *between, end = [event for event in events if event]
    assert (start, end) == (BlocksStart(frames.BlocksHeader(1, 0, 12, digests)), BlocksEnd())
    assert between == [FRAMES[name] for name in names[1:-1]]
    assert buffer == b"".join(transfer.BLOCKS)
