import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import ProofFailed, ReceiptUnreadable
from p2p_core.identity import PeerId, public_pem
from p2p_core.ledger import LEFT_OUT, block_digest
from p2p_core.manifest import TOP
from p2p_core.ranges import Ranges
from p2p_core.receipt import MAX_LINE_BYTES, WholeReceipt, read_receipt, receipt_lines

from tests.core.signed_receipt import BLOCK, ENTRIES, IDS, SESSION, signed, transfer
from tests.keys import key

MANIFEST, LEDGER = transfer()
RECEIPT = signed(LEDGER.root())
TEXT = list(receipt_lines(RECEIPT, MANIFEST, LEDGER))


def read(text: list[str]) -> WholeReceipt:
    return read_receipt(line.encode() for line in text)


def with_field(name: str, value: Any) -> list[str]:
    return [json.dumps(json.loads(TEXT[0]) | {name: value}), *TEXT[1:]]


def with_value(line: int, place: int, value: Any) -> list[str]:
    fields = json.loads(TEXT[line])
    fields[place] = value
    return [*TEXT[:line], json.dumps(fields), *TEXT[line + 1 :]]


def test_what_is_written_is_read() -> None:
    whole = read(TEXT)
    assert whole.receipt == RECEIPT
    assert tuple(whole.manifest) == ENTRIES
    assert [whole.leaves[32 * n : 32 * n + 32] for n in range(6)] == [LEDGER.leaf(n) or LEFT_OUT for n in range(6)]
    assert all(line.isascii() and line.endswith("\n") and line.count("\n") == 1 for line in TEXT)


def test_a_file_is_found_by_its_content() -> None:
    whole = read(TEXT)
    assert list(whole.find(LEDGER.file_root(1))) == [1, 4]
    assert list(whole.find(LEDGER.file_root(5))) == [5]
    assert list(whole.find(block_digest(b"another"))) == []


def test_a_root_between_two_others_is_none() -> None:
    whole = WholeReceipt(RECEIPT, MANIFEST, b"a" * 31 + b"b" * 32 + b"a" + b"b" * 32)
    assert list(whole.find(b"b" * 32)) == [2]


def test_what_the_receiver_has_not_stored() -> None:
    def missing(ranges: Ranges) -> list[int]:
        whole = WholeReceipt(signed(LEDGER.root(), ranges), MANIFEST, b"")
        return [entry for entry in range(6) if whole.is_missing(entry)]

    assert missing(()) == []
    assert missing(((0, 1), (2, 3))) == [0, 2, 3, 4]
    assert missing(((1, 1), (5, 1))) == [1, 5]


@pytest.mark.parametrize("place", range(1, 7))
def test_every_line_counts(place: int) -> None:
    for text in (TEXT[:place], TEXT[:place] + TEXT[place + 1 :], TEXT[: place + 1] + TEXT[place:]):
        if text != TEXT:
            with pytest.raises(ReceiptUnreadable):
                read(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2),
        ("version", "1"),
        ("version", None),
        ("sender", str(IDS[1])),
        ("receiver", str(IDS[0])),
        ("received_at_ms", 1_700_000_000_124),
        ("session", SESSION[::-1].hex()),
        ("sender_role", "initiator"),
        ("transfer", 4),
        ("block_size", BLOCK + 1),
        ("root", LEDGER.root()[::-1].hex()),
        ("missing", []),
        ("missing", [[4, 2]]),
        ("sender_signature", RECEIPT.receiver_signature.hex()),
        ("receiver_signature", RECEIPT.sender_signature.hex()),
        ("receiver_signature", ""),
        ("sender_key", public_pem(key(2).public_key()).decode()),
        ("receiver_key", public_pem(key(2).public_key()).decode()),
    ],
)
def test_what_is_signed_cannot_be_changed(name: str, value: Any) -> None:
    with pytest.raises(ReceiptUnreadable):
        read(with_field(name, value))


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        (2, 1, TOP),
        (2, 2, "name"),
        (2, 3, BLOCK + 2),
        (2, 4, 0o600),
        (2, 5, 0),
        (2, 7, LEFT_OUT.hex()),
        (3, 6, "copy"),
        (4, 7, LEDGER.leaf(1).hex()),
        (6, 3, 4),
        (6, 0, 0),
        (1, 2, "video"),
    ],
)
def test_nor_can_an_entry(line: int, place: int, value: Any) -> None:
    with pytest.raises(ReceiptUnreadable):
        read(with_value(line, place, value))


def test_a_signature_of_somebody_else_is_none() -> None:
    stranger = [
        json.dumps(
            json.loads(TEXT[0])
            | {"sender": str(PeerId.of(key(2).public_key())), "sender_key": public_pem(key(2).public_key()).decode()}
        ),
        *TEXT[1:],
    ]
    with pytest.raises(ReceiptUnreadable, match="signatures"):
        read(stranger)


def test_check_says_whether_both_have_signed() -> None:
    RECEIPT.check()
    with pytest.raises(ProofFailed):
        replace(RECEIPT, transfer=3).check()


ODD: list[Any] = [
    None,
    True,
    False,
    -1,
    1.5,
    float("inf"),
    float("nan"),
    2**31,
    2**63,
    2**64,
    10**400,
    "",
    "x",
    "é",
    "\ud800",
    [],
]
ODD += [
    {},
    [[]],
    [1],
    [[1, 2, 3]],
    [[0, True]],
    [[5, 1], [4, 1]],
    [[1, 1], [2, 1]],
    [[0, 10**7]],
    "00",
    "00" * 32,
    "\0",
]


@pytest.mark.parametrize("name", [name for name in json.loads(TEXT[0]) if name not in ("version", "direction")])
def test_fields_that_are_none(name: str) -> None:
    for value in ODD:
        with pytest.raises(ReceiptUnreadable):
            read(with_field(name, value))


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("line", [1, 2, 3, 6])
def test_values_that_are_none(line: int, place: int) -> None:
    own = json.loads(TEXT[line])[place]
    for value in ODD:
        if (type(value), value) != (type(own), own):
            with pytest.raises(ReceiptUnreadable):
                read(with_value(line, place, value))


@pytest.mark.parametrize("name", list(json.loads(TEXT[0])))
def test_every_field_is_needed(name: str) -> None:
    header = json.loads(TEXT[0])
    del header[name]
    with pytest.raises(ReceiptUnreadable):
        read([json.dumps(header), *TEXT[1:]])


@pytest.mark.parametrize("direction", ["up", "", None, 1, [], {}])
def test_a_direction_that_is_none(direction: Any) -> None:
    with pytest.raises(ReceiptUnreadable):
        read(with_field("direction", direction))


LINES: list[Callable[[], bytes]] = [
    lambda: b"",
    lambda: b"\n",
    lambda: b"null",
    lambda: b"[]",
    lambda: b"{}",
    lambda: b"{",
    lambda: b"\xff\xfe",
    lambda: TEXT[0].encode("utf-16"),
    lambda: b"[" * MAX_LINE_BYTES,
    lambda: b'{"a":' * 100_000,
    lambda: b"1" * MAX_LINE_BYTES,
    lambda: b" " * (MAX_LINE_BYTES + 1),
    lambda: TEXT[0].encode() + b" " * MAX_LINE_BYTES,
    lambda: b"[1, -1, 2]",
    lambda: b"[" + b"0," * 1_000_000 + b"0]",
]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("place", [0, 1, 7])
def test_lines_that_are_none(place: int, line: Callable[[], bytes]) -> None:
    if place == 7 and not line():
        return
    text = [each.encode() for each in TEXT]
    text[place : place + 1] = [line()]
    with pytest.raises(ReceiptUnreadable):
        read_receipt(text)


def test_a_receipt_is_not_read_to_the_end_for_nothing() -> None:
    def endless() -> Any:
        while True:
            yield b'[0, -1, "same name", 0, 0, 0, "", ""]'

    with pytest.raises(ReceiptUnreadable):
        read_receipt(endless())
    with pytest.raises(ReceiptUnreadable):
        read_receipt(line for part in ([TEXT[0].encode()], endless()) for line in part)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.integers(0, 6), JSON)
def test_no_line_can_be_another(place: int, value: Any) -> None:
    with pytest.raises(ReceiptUnreadable):
        read([*TEXT[:place], json.dumps(value), *TEXT[place + 1 :]])


@given(st.integers(0, 6), st.binary(max_size=40), st.data())
def test_no_bytes_in_a_line_do_harm(place: int, noise: bytes, data: st.DataObject) -> None:
    line = TEXT[place].encode()
    at = data.draw(st.integers(0, len(line)))
    changed = line[:at] + noise + line[at + len(noise) :]
    text = [each.encode() for each in TEXT]
    text[place] = changed
    try:
        whole = read_receipt(text)
    except ReceiptUnreadable:
        return
    assert (whole.receipt.root, tuple(whole.manifest)) == (RECEIPT.root, ENTRIES)
