"""Frames of a transfer, roots, statements and journals (transfer.md)."""

import struct

from blake3 import blake3

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import VERSION, fields_of, join, x
from tests.vectors.independent.frames import body_of, check_control
from tests.vectors.independent.protobuf import records

MILLISECONDS, MTIME = 1_700_000_000_123, 1_700_000_000 * 10**9
SIGNATURE, ROOT = x(5, 256), x(7)


check_control(
    {
        "frame-transfer-offer": (0x04, [(1, 1), (2, 5), (3, 12), (4, 4096)]),
        "frame-have": (0x0F, [(1, 1), (3, x(7) + x(8))]),
        "frame-transfer-answer-all": (0x05, [(1, 1), (2, 1)]),
        "frame-transfer-answer-some": (0x05, [(1, 1), (2, 1), (4, b"\x17")]),
        "frame-transfer-answer-refused": (0x05, [(1, 1), (3, b"no")]),
        "frame-file-failed": (0x10, [(1, 1), (2, 3), (3, b"gone")]),
        "frame-stream-end": (0x11, [(1, 1), (2, 4097)]),
        "frame-verified": (0x12, [(1, 1), (2, 2)]),
        "frame-transfer-end": (0x06, [(1, 1), (2, ROOT), (3, b"\x08"), (4, SIGNATURE)]),
        "frame-transfer-receipt": (0x07, [(1, 1), (2, MILLISECONDS), (3, b"\x12"), (4, SIGNATURE)]),
        "frame-cancel": (0x08, [(1, 1), (2, b"disk full")]),
    }
)


@check("frame-entries")
def _entries(name: str) -> None:
    rows = ((1, -1, 0, 0o755, 0), (0, 0, 5, 0o644, MTIME), (2, 0, 0, 0, 0), (0, 0, 7, 0, 0), (3, -1, 0, 0, 0))
    packed = struct.pack(">H", 5) + b"".join(struct.pack(">BiQHQ", *row) for row in rows)
    packed += b"photos\0a.txt\0latest\0a.txt\0b.txt\0stdin\0"
    assert list(records(body_of(pages.read(name), 0x0E))) == [(1, 1), (2, packed)]


@check("frame-blocks", "frame-blocks-begun")
def _blocks(name: str) -> None:
    body = body_of(pages.read(name), 0x40)
    assert struct.unpack_from(">IIIH", body) == (1, 0, 12, 2)
    assert body[14:78] == blake3(b"hello").digest() + blake3(b"goodbye").digest()
    assert body[78:] == {"frame-blocks": b"hellogoodbye", "frame-blocks-begun": b"hel"}[name]


@check("frame-part")
def _part(name: str) -> None:
    assert body_of(pages.read(name), 0x41) == b"logoodbye"


@check("root-hello", "root-two-blocks", "root-empty")
def _root(name: str) -> None:
    blocks = {"root-hello": [b"hello"], "root-two-blocks": [bytes(4096), b"x"], "root-empty": []}[name]
    covered = b"".join(blake3(block).digest() for block in blocks)
    covered += struct.pack(">QI", sum(len(block) for block in blocks), 4096)
    assert pages.read(name) == blake3(covered, derive_key_context="punchwire file root v1").digest()


@check("root-transfer")
def _transfer_root(name: str) -> None:
    covered = struct.pack(">I", 4096)
    for kind, parent, text, size, mode, mtime, target, leaf in (
        (1, 0, b"photos", 0, 0o755, 0, b"", b""),
        (0, 1, b"a.txt", 5, 0o644, 1700000000000000000, b"", pages.read("root-hello")),
        (2, 1, b"latest", 0, 0, 0, b"a.txt", b""),
        (0, 1, b"b.txt", 7, 0, 0, b"", x(0)),
        (3, 0, b"stdin", 4097, 0, 0, b"", pages.read("root-two-blocks")),
    ):
        covered += struct.pack(">BIQHQHH", kind, parent, size, mode, mtime, len(text), len(target))
        covered += text + target + leaf
    assert pages.read(name) == blake3(covered, derive_key_context="punchwire transfer root v1").digest()


LISTED = struct.pack(">HBiQHQBiQHQ", 2, 1, -1, 0, 0o755, MTIME, 0, 0, 3, 0o644, MTIME) + b"b\0f\0"
BLOCK = struct.pack(">I", 0) + blake3(b"abc").digest()


@check("journal-received", "journal-sent")
def _journal(name: str) -> None:
    records: dict[str, list[tuple[int, bytes | None]]] = {
        "journal-received": [
            (1, b"\x01" + x(1) + struct.pack(">I", 2**20)),
            (7, b"a boot"),
            (2, LISTED),
            (3, struct.pack(">I", 0) + b"b (1)"),
            (4, struct.pack(">IQQqq", 1, 1000, 3, MTIME, 0)),
            (5, BLOCK),
            (8, None),  # where it stands itself
            (6, struct.pack(">II", 0, 1)),
        ],
        "journal-sent": [
            (1, b"\x02" + x(2) + struct.pack(">I", 2**20)),
            (2, LISTED),
            (4, struct.pack(">IQQqq", 1, 1000, 3, MTIME, MTIME + 5)),
            (5, BLOCK),
        ],
    }
    data = pages.read(name)
    assert data[:20] == b"PWJ\x01" + bytes(range(16))
    link, at = data[4:20], 20
    for kind, body in records[name]:
        content = struct.pack(">Q", at) if body is None else body
        link = blake3(link + bytes([kind]) + content).digest()[:8]
        record = struct.pack(">IB", len(content), kind) + content + link
        assert data[at : at + len(record)] == record
        at += len(record)
    assert at == len(data)


@check("staging-name")
def _staging_name(name: str) -> None:
    named = blake3(join("punchwire staging folder v1", x(1), b"a", b"b")).digest()[:8]
    assert pages.read_text(name) == f".punchwire-{named.hex()}"


@check("journal-sent-name")
def _sent_name(name: str) -> None:
    named = blake3(join("punchwire sent journal v1", x(2), b"/home/zoe/a", b"/home/zoe/b")).digest()[:8]
    assert pages.read_text(name) == f"{named.hex()}.journal"


@check("statement-transfer-root", "statement-transfer-receipt")
def _statement(name: str) -> None:
    transfer = [b"\x00\x00\x00\x01", pages.read("root-transfer")]
    missing, stored = struct.pack(">IIII", 1, 1, 4, 1), MILLISECONDS.to_bytes(8, "big")
    by_initiator = [VERSION, x(5), x(1), x(2), b"initiator"]
    by_responder = [VERSION, x(5), x(2), x(1), b"responder"]
    expected = {
        "statement-transfer-root": [b"punchwire transfer root", *by_initiator, *transfer],
        "statement-transfer-receipt": [b"punchwire transfer receipt", *by_responder, *transfer, missing, stored],
    }
    assert fields_of(pages.read(name)) == expected[name]
