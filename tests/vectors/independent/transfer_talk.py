"""A transfer read frame by frame, by the rules of transfer.md; what was sent, its roots and its receipt follow."""

import base64
import json
import struct

from blake3 import blake3
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.identity import public_key
from tests.vectors.independent.talk import OTHER, Talk, bytes_in, message_of, number_in, read

FILE, FOLDER, LINK, STREAM = range(4)
CONTENT = (FILE, STREAM)
BY_SENDER = {0x04, 0x0E, 0x40, 0x41, 0x11, 0x06}
BY_RECEIVER = {0x0F, 0x05, 0x12, 0x07}
MTIME = 1_700_000_000 * 10**9


class Transfer:
    """One transfer by the initiator: its state by both sides, which here is one, as frames come at once."""

    def __init__(self) -> None:
        self.talk = Talk(proved=True)
        self.state = "never offered"
        self.count = self.size = self.block_size = 0
        self.rows: list[tuple[int, int, int, int, int]] = []  # kind, parent, size, mode, mtime
        self.texts: list[tuple[bytes, bytes]] = []  # name, target
        self.had: dict[int, bytes] = {}
        self.blocks: dict[int, bytes] = {}  # hashes
        self.coming: tuple[int, list[bytes], int, bytes] | None = None  # first, hashes, bytes in all, bytes so far
        self.data: dict[int, bytes] = {}
        self.stream_size: int | None = None
        self.root = b""

    def hear(self, role: str, kind: int, body: bytes) -> None:
        self.talk.hear(role, kind, body)
        if kind in BY_SENDER:
            assert role == "initiator"
        if kind in BY_RECEIVER:
            assert role == "responder"
        handlers = {
            0x04: self.offer,
            0x0E: self.entries,
            0x0F: self.have,
            0x05: self.answer,
            0x40: self.batch,
            0x41: self.part,
            0x11: self.stream_end,
            0x06: self.end,
            0x07: self.receipt,
        }
        if kind in handlers:
            handlers[kind](body)
        else:
            assert kind in (0x0B, 0x0C)

    def about(self, body: bytes, *states: str) -> dict[int, int | bytes]:
        assert self.state in states
        message = message_of(body)
        assert message[1] == 1
        return message

    def offer(self, body: bytes) -> None:
        offer = self.about(body, "never offered")
        self.count, self.size, self.block_size = (number_in(offer, field) for field in (2, 3, 4))
        assert 1 <= self.count <= 1_000_000
        assert 4096 <= self.block_size <= 1_048_576
        self.state = "listing"

    def entries(self, body: bytes) -> None:
        packed = bytes_in(self.about(body, "listing"), 2)
        (count,) = struct.unpack_from(">H", packed)
        texts = packed[2 + 23 * count :].split(b"\0")
        assert texts.pop() == b""
        for at in range(count):
            row = struct.unpack_from(">BiQHQ", packed, 2 + 23 * at)
            self.rows.append(row)
            self.texts.append((texts.pop(0), texts.pop(0) if row[0] == LINK else b""))
        assert not texts
        assert len(self.rows) <= self.count
        if len(self.rows) == self.count:
            assert sum(row[2] for row in self.rows) == self.size
            self.state = "offered"

    def have(self, body: bytes) -> None:
        have = self.about(body, "offered")
        digests = bytes_in(have, 3)
        assert digests
        assert len(digests) % 32 == 0
        first = number_in(have, 2)
        assert first + len(digests) // 32 <= self.file_blocks()
        for n in range(len(digests) // 32):
            self.had[first + n] = digests[32 * n : 32 * n + 32]

    def answer(self, body: bytes) -> None:
        assert self.about(body, "offered") == {1: 1, 2: 1}  # accepted, and all is wanted
        self.state = "sending"

    def batch(self, body: bytes) -> None:
        assert self.state == "sending"
        assert self.coming is None
        transfer, first, length, count = struct.unpack_from(">IIIH", body)
        assert transfer == 1
        assert 1 <= count <= 256
        digests = [body[14 + 32 * n : 46 + 32 * n] for n in range(count)]
        data = body[14 + 32 * count :]
        assert 1 <= len(data) <= length <= 1_048_576
        assert first > max(self.blocks, default=-1)
        assert not {*range(first, first + count)} & {*self.had}
        assert count == 1 or first + count <= self.file_blocks()
        self.coming = first, digests, length, data
        self.whole()

    def part(self, body: bytes) -> None:
        assert self.coming is not None
        assert body
        first, digests, length, data = self.coming
        assert len(data) + len(body) <= length
        self.coming = first, digests, length, data + body
        self.whole()

    def whole(self) -> None:
        """Take the blocks, if all of them is there: here each frame has one."""
        assert self.coming is not None
        first, digests, length, data = self.coming
        if len(data) == length:
            assert [blake3(data).digest()] == digests
            self.blocks[first], self.data[first] = digests[0], data
            self.coming = None

    def stream_end(self, body: bytes) -> None:
        assert self.coming is None
        assert self.stream_size is None
        assert self.rows[-1][0] == STREAM
        self.stream_size = number_in(self.about(body, "sending"), 2)
        assert self.stream_size == sum(len(data) for n, data in self.data.items() if n >= self.file_blocks())

    def end(self, body: bytes) -> None:
        assert self.coming is None
        assert self.stream_size is not None
        end = self.about(body, "sending")
        assert set(end) == {1, 2, 4}  # nothing is left out
        self.root = bytes_in(end, 2)
        assert self.root == self.computed_root()
        self.talk.check_statement(
            "initiator", "punchwire transfer root", ((1).to_bytes(4, "big"), self.root), bytes_in(end, 4)
        )
        self.state = "ended"

    def receipt(self, body: bytes) -> None:
        receipt = self.about(body, "ended")
        assert set(receipt) == {1, 2, 4}  # nothing is missing
        stored = number_in(receipt, 2).to_bytes(8, "big")
        fields = (1).to_bytes(4, "big"), self.root, b"", stored
        self.talk.check_statement("responder", "punchwire transfer receipt", fields, bytes_in(receipt, 4))
        self.state = "over"

    def file_blocks(self) -> int:
        return sum(-(-row[2] // self.block_size) for row in self.rows if row[0] == FILE)

    def size_of(self, kind: int, listed: int) -> int:
        """The size that stands in the root: of a stream the one it had at its end."""
        return self.stream_size or 0 if kind == STREAM else listed

    def leaves(self) -> list[bytes]:
        """What stands for each entry in the root; empty for folders and links."""
        known, ordinal, found = self.had | self.blocks, 0, []
        for kind, _, listed, _, _ in self.rows:
            size = self.size_of(kind, listed)
            count = -(-size // self.block_size) if kind in CONTENT else 0
            covered = b"".join(known[ordinal + n] for n in range(count)) + struct.pack(">QI", size, self.block_size)
            ordinal += count
            leaf = blake3(covered, derive_key_context="punchwire file root v1").digest()
            found.append(leaf if kind in CONTENT else b"")
        return found

    def computed_root(self) -> bytes:
        covered = struct.pack(">I", self.block_size)
        for (kind, parent, listed, mode, mtime), (name, target), leaf in zip(
            self.rows, self.texts, self.leaves(), strict=True
        ):
            size = self.size_of(kind, listed)
            covered += struct.pack(">BIQHQHH", kind, parent + 1, size, mode, mtime, len(name), len(target))
            covered += name + target + leaf
        return blake3(covered, derive_key_context="punchwire transfer root v1").digest()


def heard() -> Transfer:
    transfer = Transfer()
    for role, kind, body in read("talk-transfer"):
        transfer.hear(role, kind, body)
    return transfer


@check("talk-transfer")
def _transfer(name: str) -> None:
    transfer = heard()
    assert transfer.state == "over"
    assert transfer.talk.pings == {"initiator": {}, "responder": {}}
    assert transfer.rows == [
        (FOLDER, -1, 0, 0o755, 0),
        (FILE, 0, 5, 0o644, MTIME),
        (FILE, 0, 7, 0o644, MTIME),
        (STREAM, -1, 0, 0, 0),
    ]
    assert transfer.texts == [(b"photos", b""), (b"a.txt", b""), (b"b.txt", b""), (b"stdin", b"")]
    assert transfer.data == {1: b"goodbye", 2: b"piped"}
    assert transfer.had == {0: blake3(b"hello").digest()}


def pem(n: int) -> str:
    return public_key(n).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@check("receipt")
def _receipt(name: str) -> None:
    transfer, talk = heard(), Talk(proved=True)
    first, *rest, end = pages.read(name).decode().split("\n")
    assert end == ""
    head = json.loads(first)
    expected = {
        "version": 1,
        "direction": "sent",
        "sender": pages.read_text("peer-id-0-printed"),
        "receiver": base64.b32encode(pages.read("peer-id-1")).decode().rstrip("=").lower(),
        "sender_key": pem(0),
        "receiver_key": pem(1),
        "sender_role": "initiator",
        "session": talk.session.hex(),
        "root": transfer.root.hex(),
        "transfer": 1,
        "block_size": 4096,
        "received_at_ms": 1_700_000_000_123,
        "missing": [],
    }
    signatures = {"sender_signature", "receiver_signature"}
    assert {field: value for field, value in head.items() if field not in signatures} == expected
    signed = (1).to_bytes(4, "big"), transfer.root
    stored = *signed, b"", head["received_at_ms"].to_bytes(8, "big")
    sender = head["sender_role"]
    talk.check_statement(sender, "punchwire transfer root", signed, bytes.fromhex(head["sender_signature"]))
    signature = bytes.fromhex(head["receiver_signature"])
    talk.check_statement(OTHER[sender], "punchwire transfer receipt", stored, signature)
    rows = [
        [kind, parent, text.decode(), transfer.stream_size if kind == STREAM else size, mode, mtime, to.decode(), leaf]
        for (kind, parent, size, mode, mtime), (text, to), leaf in zip(
            transfer.rows, transfer.texts, [leaf.hex() for leaf in transfer.leaves()], strict=True
        )
    ]
    assert [json.loads(line) for line in rest] == rows
