"""The golden bytes of the pages are what p2p_core makes and reads, and what a second implementation reads."""

import ast
from pathlib import Path

import pytest
from p2p_core.errors import ProofFailed
from p2p_core.identity import PeerId, public_der, public_from_der
from p2p_core.ledger import block_digest
from p2p_core.proof import verify
from p2p_core.sealing import open_offer
from p2p_core.token_sealing import open_token
from p2p_core.wire import frames, offer, stun, token, token_text
from p2p_core.wire.frame_reader import BlocksEnd, BlocksStart, FrameReader
from p2p_core.wire.journal import JournalReader
from p2p_core.wire.preamble import Preamble
from p2p_core.wire.probe import Probe

from tests.keys import key
from tests.vectors import generate, independent, pages

OWN_PAGES = tuple(
    f"{name}.md"
    for name in ("identity", "key-proof", "offer", "punching", "session", "transfer", "token", "introduction")
)
GOLDEN = [name for page in OWN_PAGES for name in pages.names(page)]


def test_every_block_is_made_and_checked() -> None:
    made = [*generate.deterministic(), *generate.RANDOMISED]
    assert sorted(GOLDEN) == sorted(made) == sorted(independent.CHECKS)
    assert len(GOLDEN) == len(set(GOLDEN))


def test_the_pages_hold_what_p2p_core_makes() -> None:
    assert generate.differences() == {}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_second_implementation_agrees(name: str) -> None:
    independent.CHECKS[name]()


def test_the_second_implementation_shares_nothing_with_punchwire() -> None:
    tree = ast.parse(Path(independent.__file__).read_text("utf-8"))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in imported if name is None or name.startswith("p2p_") or name == "tests.keys"]


def test_identities_are_read_from_the_page() -> None:
    public = public_from_der(pages.read("public-key-0"))
    assert public_der(public) == public_der(key(0).public_key())
    peer = PeerId.of(public)
    assert peer == pages.read("peer-id-0")
    assert PeerId.parse(pages.read_text("peer-id-0-printed")) == peer
    assert peer.short == pages.read_text("peer-id-0-short")
    assert " ".join(peer.words) == pages.read_text("peer-id-0-words")


def test_the_proof_of_the_page_verifies_and_no_other() -> None:
    proof = pages.read("proof-tcp-initiator")
    verify(key(0).public_key(), generate.TRANSCRIPTS["transcript-tcp-initiator"], proof)
    for name in ("transcript-tcp-responder", "transcript-mediator-certificate", "transcript-mediator-none"):
        with pytest.raises(ProofFailed):
            verify(key(0).public_key(), generate.TRANSCRIPTS[name], proof)


def test_offers_are_read_from_the_page() -> None:
    assert offer.decode(pages.read("offer-body")) == generate.OFFER
    sealed = pages.read("offer-sealed")
    assert open_offer(sealed, key(1), key(0).public_key()) == generate.OFFER


def test_tokens_are_read_from_the_page() -> None:
    sealed = token_text.parse(pages.read_text("token-text"))
    assert open_token(sealed, pages.read("token-key")) == generate.TOKEN
    assert sealed.digest == pages.read("token-hash")
    assert token.decode(pages.read("token-content"), generate.ISSUED) == generate.TOKEN
    assert token.decode(pages.read("token-content-ports"), generate.ISSUED) == generate.TOKEN_OF_PORTS


@pytest.mark.parametrize("name", generate.PREAMBLES)
def test_preambles_are_read_from_the_page(name: str) -> None:
    preamble = generate.PREAMBLES[name]
    punch_key = pages.read(f"punch-key-{preamble.role.value}-tcp-preamble")
    assert Preamble.decode(pages.read(name), punch_key) == preamble


@pytest.mark.parametrize("name", generate.PROBES)
def test_probes_are_read_from_the_page(name: str) -> None:
    probe = generate.PROBES[name]
    assert Probe.decode(pages.read(name), pages.read(f"punch-key-{probe.role.value}-udp-probe")) == probe


@pytest.mark.parametrize("name", generate.STUN)
def test_stun_is_read_from_the_page(name: str) -> None:
    assert stun.decode(pages.read(name)) == generate.STUN[name]


@pytest.mark.parametrize("name", generate.FRAMES)
def test_frames_are_read_from_the_page(name: str) -> None:
    data = pages.read(name)
    kind, length = frames.parse_header(data)
    assert length == len(data) - frames.HEADER_BYTES
    assert frames.decode(kind, data[frames.HEADER_BYTES :]) == generate.FRAMES[name]


def test_a_journal_is_read_from_the_page() -> None:
    reader = JournalReader()
    assert tuple(reader.receive(pages.read("journal-received"))) == generate.JOURNAL
    assert reader.end == len(pages.read("journal-received"))


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
    digests = b"".join(map(block_digest, generate.BLOCKS))
    start, *between, end = [event for event in events if event]
    assert (start, end) == (BlocksStart(frames.BlocksHeader(1, 0, 12, digests)), BlocksEnd())
    assert between == [generate.FRAMES[name] for name in names[1:-1]]
    assert buffer == b"".join(generate.BLOCKS)
