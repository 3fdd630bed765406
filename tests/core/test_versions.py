"""What is not known, row by row of docs/protocol/versions.md; the rows of the mediator and the peer are beside them."""

import json
import struct
from dataclasses import replace

import pytest
from p2p_core import limits, proof
from p2p_core.proof import Role
from p2p_core.receipt import read_receipt, receipt_lines
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.targets import dialable
from p2p_core.wire import entries, frames, journal, offer, punch_record, rejoin, relay, stun, token, token_text
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.frame_reader import FrameReader
from p2p_core.wire.offer import Mapping
from p2p_core.wire.preamble import Preamble
from p2p_core.wire.probe import Probe
from p2p_proto import frames_pb2, mediator_pb2, offer_pb2

from tests.core.signed_receipt import signed, transfer
from tests.keys import key
from tests.vectors import pages
from tests.vectors.made import introduction, session
from tests.vectors.made import transfer as made_transfer
from tests.vectors.made.key_proof import TRANSCRIPTS
from tests.vectors.made.offer import OFFER
from tests.vectors.unknowns import is_ignored, refused

KEY = bytes(32)
NONCE = bytes(16)
NEW_FIELD = bytes.fromhex("9a0603") + b"new"  # number 99
FRAMES = {**session.FRAMES, **made_transfer.FRAMES, **introduction.FRAMES}
PROTOBUF = [name for name, frame in FRAMES.items() if not isinstance(frame, frames.KeyProof | frames.Chosen)]


def first_frame(data: bytes, *, is_open: bool) -> object:
    """Return the first frame that a reader makes of `data` and does not pass over."""
    reader, at = FrameReader(), 0
    if is_open:
        reader.open()
    while at < len(data):
        space = reader.space()
        assert space is not None
        count = min(len(space), len(data) - at)
        space[:count] = data[at : at + count]
        at += count
        if (frame := reader.filled(count)) is not None:
            return frame
    return None


# Versions.


def test_proof_version() -> None:
    transcript = TRANSCRIPTS["transcript-tcp-initiator"]
    version = bytes.fromhex("000000020001")
    later = transcript.encode().replace(version, bytes.fromhex("000000020002"), 1)
    with refused("proof-version"):
        proof.verify(key(0).public_key(), transcript, proof.sign(key(0), later))


@pytest.mark.parametrize("version", [0, 2])
def test_seal_version(version: int) -> None:
    sealed = seal_offer(OFFER, key(0), key(1).public_key())
    with refused("seal-version"):
        open_offer(bytes([version]) + sealed[1:], key(1), key(0).public_key())


@pytest.mark.parametrize("version", [0, 2])
def test_offer_version(version: int) -> None:
    body = offer_pb2.OfferBody.FromString(offer.encode(OFFER))
    body.version = version
    with refused("offer-version"):
        offer.decode(body.SerializeToString())


@pytest.mark.parametrize("version", "29")
def test_token_version(version: str) -> None:
    with refused("token-version"):
        token_text.parse(version + pages.read_text("token-text")[1:])


def test_preamble_version() -> None:
    with refused("preamble-version"):
        Preamble.decode(punch_record.pack(b"PWT\x02", 1, Role.INITIATOR, NONCE, KEY), KEY)


def test_probe_version() -> None:
    with refused("probe-version"):
        Probe.decode(punch_record.pack(b"\x9fPW\x02", 1, Role.INITIATOR, NONCE, KEY), KEY)


def test_rejoin_version() -> None:
    content = b"PWR\x02" + bytes(4)
    with refused("rejoin-version"):
        rejoin.decode(content + rejoin._mac(KEY, content), KEY)


def test_introduction_version() -> None:
    later = frames_pb2.Introduction(version=2, nonce=bytes(32))
    with refused("introduction-version"):
        frames.decode(frames.Kind.INTRODUCTION, later.SerializeToString())


@pytest.mark.parametrize("version", [0, 2])
def test_journal_version(version: int) -> None:
    with refused("journal-version"):
        list(journal.JournalReader().receive(b"PWJ" + bytes([version]) + bytes(16)))


def receipt(**changed: object) -> list[bytes]:
    """Return the lines of a receipt that holds, whose first line is changed."""
    manifest, ledger = transfer()
    first, *rest = receipt_lines(signed(ledger.root()), manifest, ledger)
    return [line.encode() for line in (json.dumps(json.loads(first) | changed), *rest)]


def test_receipt_version() -> None:
    with refused("receipt-version"):
        read_receipt(receipt(version=2))


# Fields.


def test_relay_fields() -> None:
    assert is_ignored("relay-fields")
    assert relay.decode(pages.read("relay-data") + NEW_FIELD) == b"abc"
    assert relay.decode(pages.read("relay-end") + NEW_FIELD) is None


def test_offer_fields() -> None:
    assert is_ignored("offer-fields")
    candidate = offer_pb2.Candidate(
        kind=offer_pb2.MAPPED, transport=offer_pb2.OVER_UDP, ip=bytes([192, 0, 2, 9]), port=9
    )
    body = candidate.SerializeToString() + NEW_FIELD
    more = b"\x52" + bytes([len(body)]) + body
    read = offer.decode(offer.encode(OFFER) + more + NEW_FIELD)
    assert replace(read, candidates=read.candidates[:-1]) == OFFER
    assert read.candidates[-1].address == Address.of("192.0.2.9", 9)


@pytest.mark.parametrize("name", PROTOBUF)
def test_frame_fields(name: str) -> None:
    assert is_ignored("frame-fields")
    kind, _ = frames.parse_header(pages.read(name))
    assert frames.decode(kind, pages.read(name)[frames.HEADER_BYTES :] + NEW_FIELD) == FRAMES[name]


@pytest.mark.parametrize(("reader", "magic"), [(Preamble, b"PWT\x01"), (Probe, b"\x9fPW\x01")])
def test_record_zeros(reader: type[Preamble | Probe], magic: bytes) -> None:
    assert is_ignored("record-zeros")
    content = magic + b"\x01\x02\xff\xff" + NONCE
    read = reader.decode(content + punch_record._mac(KEY, content), KEY)
    assert (read.kind, read.role, read.nonce) == (1, Role.RESPONDER, NONCE)


@pytest.mark.parametrize("attribute", [0x0003, 0x7FFF, 0x8022, 0xFFFF])
@pytest.mark.parametrize("name", ["stun-request", "stun-response-ipv4"])
def test_stun_attributes(name: str, attribute: int) -> None:
    assert is_ignored("stun-attributes")
    known = pages.read(name)
    unknown = struct.pack(">HH", attribute, 3) + b"new\0"
    (length,) = struct.unpack_from(">H", known, 2)
    longer = known[:2] + struct.pack(">H", length + len(unknown)) + known[4:20] + unknown + known[20:]
    assert stun.decode(longer) == stun.decode(known)


def test_token_bytes() -> None:
    with refused("token-bytes"):
        token.decode(pages.read("token-content") + b"\0", 0)


def test_entries_bytes() -> None:
    frame = made_transfer.FRAMES["frame-entries"]
    assert isinstance(frame, frames.Entries)
    known = entries.pack(frame.entries)
    with refused("entries-bytes"):
        entries.unpack(known + b"new\0")


def test_chosen_body() -> None:
    with refused("chosen-body"):
        frames.parse_header(frames.frame_header(frames.Kind.CHOSEN, len(NEW_FIELD)))


def test_receipt_members() -> None:
    assert is_ignored("receipt-members")
    assert read_receipt(receipt(new=1)).leaves == read_receipt(receipt()).leaves


# Kinds and values.


def test_relay_step() -> None:
    with refused("relay-step"):
        relay.decode(NEW_FIELD)
    with refused("relay-step"):
        relay.decode(mediator_pb2.RelayMessage(ticket=bytes(32)).SerializeToString())


def test_candidate_kind() -> None:
    assert is_ignored("candidate-kind")
    assert offer.decode(pages.read("later-offer-body")).candidates == OFFER.candidates


def test_relay_candidate() -> None:
    assert is_ignored("relay-candidate")
    relayed = Candidate(CandidateKind.RELAY, Transport.TCP, Address.of("192.0.2.9", 9))
    read = offer.decode(offer.encode(replace(OFFER, candidates=(relayed,))))
    assert read.candidates == (relayed,)
    assert dialable(read.candidates, Transport.TCP, own=()) == []


def test_mapping() -> None:
    assert is_ignored("mapping")
    assert offer.decode(pages.read("later-offer-body")).udp_mapping is Mapping.UNKNOWN
    assert offer.decode(pages.read("later-offer-body")) == OFFER


@pytest.mark.parametrize("bits", [0xC8, 0x18, 0x09])
def test_token_kind(bits: int) -> None:
    """A reserved kind, TCP port code, and last bit."""
    known = pages.read("token-content-ports")[:30]
    with refused("token-kind"):
        token.decode(known + bytes([bits]) + bytes([192, 0, 2, 9, 0, 9]), 0)


@pytest.mark.parametrize(("reader", "magic", "last"), [(Preamble, b"PWT\x01", 2), (Probe, b"\x9fPW\x01", 3)])
def test_record_kind(reader: type[Preamble | Probe], magic: bytes, last: int) -> None:
    reader.decode(punch_record.pack(magic, last, Role.INITIATOR, NONCE, KEY), KEY)
    for kind in (0, last + 1):
        with refused("record-kind"):
            reader.decode(punch_record.pack(magic, kind, Role.INITIATOR, NONCE, KEY), KEY)
    for role in (0, 3):
        content = magic + bytes([1, role, 0, 0]) + NONCE
        with refused("record-kind"):
            reader.decode(content + punch_record._mac(KEY, content), KEY)


def test_frame_kind_low() -> None:
    for kind in set(range(0x80)) - set(frames.Kind):
        with refused("frame-kind-low"):
            first_frame(frames.frame_header(kind, 3) + b"new", is_open=True)


@pytest.mark.parametrize("kind", [0x80, 0xFF])
@pytest.mark.parametrize("body", [b"", b"new"])
def test_frame_kind_high(kind: int, body: bytes) -> None:
    assert is_ignored("frame-kind-high")
    later = frames.frame_header(kind, len(body)) + body
    assert first_frame(later + pages.read("frame-ping"), is_open=True) == FRAMES["frame-ping"]
    assert first_frame(pages.read("later-frame") + pages.read("frame-ping"), is_open=True) == FRAMES["frame-ping"]


@pytest.mark.parametrize("kind", [frames.Kind.PING, 0x00, 0x7F, 0x80, 0xFF])
def test_frame_kind_before_proof(kind: int) -> None:
    with refused("frame-kind-before-proof"):
        first_frame(frames.frame_header(kind, 3) + b"new", is_open=False)


@pytest.mark.parametrize("kind", [4, 255])
def test_entry_kind(kind: int) -> None:
    row = struct.pack(">HBiQHQ", 1, kind, -1, 0, 0, 0)
    with refused("entry-kind"):
        entries.unpack(row + b"name\0")


@pytest.mark.parametrize("kind", [0, 9, 0x80, 255])
def test_journal_kind(kind: int) -> None:
    salt = bytes(16)
    record = struct.pack(">IB", 3, kind) + b"new" + journal._link(salt, kind, b"new")
    with refused("journal-kind"):
        list(journal.JournalReader().receive(journal.JournalWriter.start(salt) + record))


@pytest.mark.parametrize("kind", [0x0003, 0x0011, 0x0111, 0x0113])
def test_stun_kind(kind: int) -> None:
    known = pages.read("stun-response-ipv4")
    with refused("stun-kind"):
        stun.decode(struct.pack(">H", kind) + known[2:])


def test_limits_of_what_is_ignored() -> None:
    """What is ignored counts in full."""
    frames.parse_header(frames.frame_header(0x80, limits.MAX_CONTROL_FRAME))
    with refused("frame-kind-low"):  # which is malformed, too
        frames.parse_header(frames.frame_header(0x80, limits.MAX_CONTROL_FRAME + 1))
