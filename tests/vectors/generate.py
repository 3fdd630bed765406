"""Makes the golden blocks from p2p_core: `python -m tests.vectors.generate`.

What is randomised (a PSS signature, a sealed offer) is made once and kept as long as it holds.
`--check` writes nothing, names what differs, and exits 1 if anything does.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from p2p_core import fields, unmediated, word_list
from p2p_core.agreement import session_id
from p2p_core.errors import PunchwireError
from p2p_core.identity import PeerId, public_der
from p2p_core.ledger import Ledger, block_digest, file_root
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.proof import BindingType, ChannelBinding, PathKind, Purpose, Role, Transcript, prove, verify
from p2p_core.punching import PunchPurpose, PunchSecret
from p2p_core.sealing import open_offer, seal_offer
from p2p_core.statements import Speaker
from p2p_core.token_sealing import seal_token, token_key
from p2p_core.wire import frames, journal, offer, rejoin, stun, token
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.probe import Probe, ProbeKind

from tests.keys import key
from tests.vectors import pages

__all__ = [
    "BLOCKS",
    "FRAMES",
    "JOURNAL",
    "OFFER",
    "PREAMBLES",
    "PROBES",
    "RANDOMISED",
    "STATEMENTS",
    "STUN",
    "TOKEN",
    "TOKEN_OF_PORTS",
    "TRANSCRIPTS",
    "deterministic",
]

ISSUED = 1_700_000_000
MILLISECONDS = 1_700_000_000_123


def of(byte: int, count: int = 32) -> bytes:
    """`byte×count`, as the pages write it."""
    return bytes([byte]) * count


INITIATOR, RESPONDER, SESSION = of(0x01), of(0x02), of(0x05)
OFFER_HASHES = of(0x06), of(0x07)
NONCES = of(0x03), of(0x04)
SHARES = of(0x11), of(0x12)


def _to_mediator(binding: ChannelBinding, mediator: bytes) -> Transcript:
    return Transcript(
        Purpose.PEER_TO_MEDIATOR,
        Role.INITIATOR,
        PathKind.MEDIATOR,
        binding,
        INITIATOR,
        mediator,
        of(0x03),
        of(0x04),
    )


_TO_PEER = Transcript(
    Purpose.PEER_TO_PEER,
    Role.INITIATOR,
    PathKind.TCP,
    ChannelBinding(BindingType.EXPORTER_AND_CERTIFICATE, of(0x08) + of(0x09)),
    INITIATOR,
    RESPONDER,
    of(0x03),
    of(0x04),
    SESSION,
    *OFFER_HASHES,
)

TRANSCRIPTS = {
    "transcript-mediator-certificate": _to_mediator(ChannelBinding(BindingType.CERTIFICATE, of(0x09)), RESPONDER),
    "transcript-mediator-none": _to_mediator(ChannelBinding(BindingType.NONE, b""), b""),
    "transcript-tcp-initiator": _TO_PEER,
    "transcript-tcp-responder": _TO_PEER.by(Role.RESPONDER),
}

OFFER = offer.Offer(
    issued=ISSUED,
    expires=ISSUED + 600,
    nonce=of(0x03),
    punch_share=of(0x11),
    candidates=(
        Candidate(CandidateKind.HOST, Transport.TCP, Address.of("192.0.2.1", 50000)),
        Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, Address.of("198.51.100.7", 61000)),
        Candidate(CandidateKind.HOST, Transport.TCP, Address.of("2001:db8::1", 50000)),
    ),
    tcp_mapping=offer.Mapping.INDEPENDENT,
)

PREAMBLES = {
    "preamble-hello-initiator": Preamble(PreambleKind.HELLO, Role.INITIATOR, of(0x21, 16)),
    "preamble-hello-responder": Preamble(PreambleKind.HELLO, Role.RESPONDER, of(0x22, 16)),
    "preamble-nominate": Preamble(PreambleKind.NOMINATE, Role.INITIATOR, of(0x22, 16)),
}

PROBES = {
    "probe-initiator": Probe(ProbeKind.PROBE, Role.INITIATOR, of(0x31, 16)),
    "probe-answer-responder": Probe(ProbeKind.ANSWER, Role.RESPONDER, of(0x31, 16)),
    "probe-nominate": Probe(ProbeKind.NOMINATE, Role.INITIATOR, of(0x32, 16)),
}

_TRANSACTION = bytes.fromhex("b7e7a701bc34d686fa87dfae")
STUN: dict[str, stun.BindingRequest | stun.BindingResponse] = {
    "stun-request": stun.BindingRequest(_TRANSACTION),
    "stun-response-ipv4": stun.BindingResponse(_TRANSACTION, Address.of("192.0.2.1", 32853)),
    "stun-response-ipv6": stun.BindingResponse(_TRANSACTION, Address.of("2001:db8:1234:5678:11:2233:4455:6677", 32853)),
}

_SIGNATURE, _HASH, _MISSING = of(0x05, 256), of(0x07), ((1, 1), (4, 1))
_ENTRIES = (
    Entry(EntryKind.FOLDER, TOP, "photos", mode=0o755),
    Entry(EntryKind.FILE, 0, "a.txt", 5, 0o644, ISSUED * 10**9),
    Entry(EntryKind.LINK, 0, "latest", target="a.txt"),
    Entry(EntryKind.FILE, 0, "b.txt", 7),
    Entry(EntryKind.STREAM, TOP, "stdin"),
)
FRAMES: dict[str, frames.Frame] = {
    "frame-key-proof": frames.KeyProof(_SIGNATURE),
    "frame-message": frames.TextMessage(1, MILLISECONDS, "hello", _SIGNATURE),
    "frame-message-ack": frames.MessageAck(1),
    "frame-transfer-offer": frames.TransferOffer(1, len(_ENTRIES), 12, 4096),
    "frame-entries": frames.Entries(1, _ENTRIES),
    "frame-have": frames.Have(1, 0, _HASH + of(0x08)),
    "frame-transfer-answer-all": frames.TransferAnswer(1, accepted=True),
    "frame-transfer-answer-some": frames.TransferAnswer(1, accepted=True, wanted=((0, 3), (4, 1))),
    "frame-transfer-answer-refused": frames.TransferAnswer(1, accepted=False, reason="no"),
    "frame-file-failed": frames.FileFailed(1, 3, "gone"),
    "frame-stream-end": frames.StreamEnd(1, 4097),
    "frame-verified": frames.Verified(1, 2),
    "frame-transfer-end": frames.TransferEnd(1, _HASH, ((3, 1),), _SIGNATURE),
    "frame-transfer-receipt": frames.TransferReceipt(1, MILLISECONDS, _MISSING, _SIGNATURE),
    "frame-cancel": frames.Cancel(1, "disk full"),
    "frame-done": frames.Done(),
    "frame-close": frames.Close("bye"),
    "frame-ping": frames.Ping(7),
    "frame-pong": frames.Pong(7, 300),
    "frame-resume": frames.Resume(300, ((1, 5), (2, 0))),
    "frame-introduction": frames.Introduction(b"\x0a\x0b\x0c", NONCES[0]),
    "frame-introduction-token-read": frames.Introduction(b"\x0a\x0b\x0c", NONCES[0], OFFER_HASHES[0]),
    "frame-chosen": frames.Chosen(),
}
BLOCKS = b"hello", b"goodbye"


def _blocks(carried: int) -> bytes:
    """The frame of both blocks, with the first `carried` bytes of their data."""
    data = b"".join(BLOCKS)
    header = frames.BlocksHeader(1, 0, len(data), b"".join(map(block_digest, BLOCKS)))
    frame = bytearray(header.room) + data[:carried]
    header.write(memoryview(frame))
    return bytes(frame)


def _part(sent: int) -> bytes:
    """The frame with the rest of their data, behind the first `sent` bytes."""
    rest = b"".join(BLOCKS)[sent:]
    return frames.frame_header(frames.Kind.PART, len(rest)) + rest


def _root(*blocks: bytes) -> bytes:
    return file_root(map(block_digest, blocks), sum(map(len, blocks)), 4096)


def _transfer_root() -> bytes:
    manifest = Manifest(4096)
    for entry in _ENTRIES:
        manifest.add(entry)
    ledger = Ledger(manifest)
    ledger.put(0, block_digest(b"hello"))
    ledger.leave_out(3)
    ledger.put(2, block_digest(bytes(4096)) + block_digest(b"x"))
    ledger.end_stream(4097)
    return ledger.root()


def _journaled() -> Manifest:
    manifest = Manifest()
    manifest.add(Entry(EntryKind.FOLDER, TOP, "b", mode=0o755, mtime_ns=ISSUED * 10**9))
    manifest.add(Entry(EntryKind.FILE, 0, "f", 3, 0o644, ISSUED * 10**9))
    return manifest


JOURNAL: tuple[journal.Record, ...] = (
    journal.Begin(journal.Side.RECEIVED, PeerId(INITIATOR), 2**20),
    journal.Boot(b"a boot"),
    *journal.entries_of(_journaled()),
    journal.Name(0, "b (1)"),
    journal.Files(((1, journal.file_id(1000, 3, ISSUED * 10**9)),)),
    journal.Blocks(0, block_digest(b"abc")),
    journal.Synced(274),
    journal.Forgotten(0, 1),
)


def _journal() -> bytes:
    salt = bytes(range(16))
    return journal.JournalWriter.start(salt) + journal.JournalWriter(salt).encode(*JOURNAL)


_SPEAKERS = {
    Role.INITIATOR: Speaker(SESSION, INITIATOR, RESPONDER, Role.INITIATOR),
    Role.RESPONDER: Speaker(SESSION, RESPONDER, INITIATOR, Role.RESPONDER),
}
STATEMENTS = {
    "statement-message": _SPEAKERS[Role.INITIATOR].message(1, MILLISECONDS, "hello"),
    "statement-transfer-root": _SPEAKERS[Role.INITIATOR].transfer_root(1, _transfer_root()),
    "statement-transfer-receipt": _SPEAKERS[Role.RESPONDER].transfer_receipt(
        1, _transfer_root(), _MISSING, MILLISECONDS
    ),
}


def _identities() -> dict[str, bytes | str]:
    public = [key(n).public_key() for n in range(2)]
    peer = PeerId.of(public[0])
    words = word_list.spell(bytes(byte for value in range(256) for byte in (value, value)))
    return {
        "fields": fields.encode("punchwire example", b"", b"a", b"\x00\xff"),
        "public-key-0": public_der(public[0]),
        "public-key-1": public_der(public[1]),
        "peer-id-0": bytes(peer),
        "peer-id-1": bytes(PeerId.of(public[1])),
        "peer-id-0-printed": str(peer),
        "peer-id-0-short": peer.short,
        "peer-id-0-words": " ".join(peer.words),
        "words-even": " ".join(words[0::2]),
        "words-odd": " ".join(words[1::2]),
    }


def _offers() -> dict[str, bytes | str]:
    body = offer.encode(OFFER)
    pair = PeerId.of(key(0).public_key()), PeerId.of(key(1).public_key())
    keys = {
        f"punch-key-{role.value}-{purpose.value}": PunchSecret(b"".join(SHARES), SESSION).key(role, purpose)
        for purpose in PunchPurpose
        for role in Role
    }
    return {
        "offer-body": body,
        "offer-signed": fields.encode("punchwire offer", fields.u16(1), *pair, body),
        "offer-context": fields.encode("punchwire sealed offer", fields.u16(1), *pair),
        "session-id": session_id(INITIATOR, RESPONDER, *OFFER_HASHES),
        **keys,
    }


def _unmediated() -> dict[str, bytes | str]:
    """Session ids of those who have introduced themselves."""
    initiator, responder = (
        unmediated.Newcomer(PeerId(peer), nonce) for peer, nonce in zip((INITIATOR, RESPONDER), NONCES, strict=True)
    )
    token_read = replace(initiator, token_hash=OFFER_HASHES[0])
    return {
        "session-id-unmediated": unmediated.session_id(initiator, responder),
        "session-id-unmediated-token": unmediated.session_id(token_read, responder),
    }


def _preambles() -> dict[str, bytes | str]:
    shares = b"".join(SHARES)
    return {
        name: preamble.encode(PunchSecret(shares, SESSION).key(preamble.role, PunchPurpose.TCP_PREAMBLE))
        for name, preamble in PREAMBLES.items()
    }


def _probes() -> dict[str, bytes | str]:
    shares = b"".join(SHARES)
    return {
        name: probe.encode(PunchSecret(shares, SESSION).key(probe.role, PunchPurpose.UDP_PROBE))
        for name, probe in PROBES.items()
    }


def _rejoin() -> dict[str, bytes | str]:
    return {
        "rejoin-initiator": rejoin.encode(
            7, PunchSecret(b"".join(SHARES), SESSION).key(Role.INITIATOR, PunchPurpose.REJOIN)
        )
    }


def _at(kind: CandidateKind, ip: str, tcp: int | None, udp: int | None) -> tuple[Candidate, ...]:
    ports = ((Transport.TCP, tcp), (Transport.UDP, udp))
    return tuple(Candidate(kind, transport, Address.of(ip, port)) for transport, port in ports if port)


PHRASE = "blue cat"
TOKEN = token.Token(
    ISSUED,
    ISSUED + 600,
    of(0x11, 12),
    of(0x22, 16),
    (
        *_at(CandidateKind.SERVER_REFLEXIVE, "198.51.100.7", 61000, 62000),
        *_at(CandidateKind.HOST, "192.168.1.2", 50000, 50000),
        *_at(CandidateKind.HOST, "2001:db8::1", 50000, 50000),
    ),
    udp_mapping=offer.Mapping.SEQUENTIAL,
    tcp_mapping=offer.Mapping.INDEPENDENT,
    udp_port_step=2,
)
TOKEN_OF_PORTS = token.Token(
    ISSUED,
    ISSUED + 3600,
    of(0x33, 12),
    of(0x44, 16),
    (
        *_at(CandidateKind.MAPPED, "203.0.113.5", 7, 7),
        *_at(CandidateKind.HOST, "203.0.113.6", 7, None),
        *_at(CandidateKind.HOST, "203.0.113.7", None, 7),
        *_at(CandidateKind.SERVER_REFLEXIVE, "2001:db8::2", None, 8),
        *_at(CandidateKind.HOST, "::1", 9, 8),
    ),
)


def _tokens() -> dict[str, bytes | str]:
    key = token_key(PHRASE, ISSUED // token.SLOT)
    sealed = seal_token(TOKEN, key)
    return {
        "token-content": token.encode(TOKEN),
        "token-key": key,
        "token-text": sealed.text,
        "token-hash": sealed.digest,
        "token-content-ports": token.encode(TOKEN_OF_PORTS),
    }


def deterministic() -> dict[str, bytes | str]:
    """Return every block that follows from its inputs alone."""
    return {
        **_identities(),
        **{name: transcript.encode() for name, transcript in TRANSCRIPTS.items()},
        **_offers(),
        **_unmediated(),
        **_preambles(),
        **_probes(),
        **_rejoin(),
        **_tokens(),
        **{name: message.encode() for name, message in STUN.items()},
        **{name: frames.encode(frame) for name, frame in FRAMES.items()},
        "frame-blocks": _blocks(12),
        "frame-blocks-begun": _blocks(3),
        "frame-part": _part(3),
        "root-hello": _root(b"hello"),
        "root-two-blocks": _root(bytes(4096), b"x"),
        "root-empty": _root(),
        "root-transfer": _transfer_root(),
        "journal-received": _journal(),
        **STATEMENTS,
    }


@dataclass(frozen=True, slots=True)
class _Randomised:
    make: Callable[[], bytes]
    check: Callable[[bytes], object]  # raises a PunchwireError for bytes that do not hold


def _check_proof(proof: bytes) -> None:
    verify(key(0).public_key(), TRANSCRIPTS["transcript-tcp-initiator"], proof)


def _check_sealed(sealed: bytes) -> None:
    assert open_offer(sealed, key(1), key(0).public_key()) == OFFER


RANDOMISED = {
    "proof-tcp-initiator": _Randomised(lambda: prove(key(0), TRANSCRIPTS["transcript-tcp-initiator"]), _check_proof),
    "offer-sealed": _Randomised(lambda: seal_offer(OFFER, key(0), key(1).public_key()), _check_sealed),
}


def _in_page(name: str, value: bytes | str) -> bytes | str:
    return pages.read_text(name) if isinstance(value, str) else pages.read(name)


def differences() -> dict[str, bytes | str]:
    """Return the blocks that are not in the pages as they should be, with what they should be."""
    wrong = {name: value for name, value in deterministic().items() if _in_page(name, value) != value}
    for name, block in RANDOMISED.items():
        try:
            block.check(pages.read(name))
        except PunchwireError:
            wrong[name] = block.make()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vectors.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a block differs")
    check = parser.parse_args().check
    wrong = differences()
    for name, value in wrong.items():
        print(f"{name} {'differs' if check else 'written'}")
        if not check:
            pages.write(name, value)
    return 1 if check and wrong else 0


if __name__ == "__main__":
    sys.exit(main())
