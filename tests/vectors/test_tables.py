"""The kinds, lengths and fields that the pages name are those that p2p_core has."""

import re

import pytest
from p2p_core.errors import Malformed
from p2p_core.wire import frames
from p2p_core.wire.frames import Kind
from p2p_proto import frames_pb2

from tests.vectors import tables

KINDS = tables.read("channel.md", "kind", "name")
FIELDS = [
    *(
        (row["frame"], row["fields"])
        for page in ("session.md", "transfer.md")
        for row in tables.read(page, "frame", "fields")
    ),
    ("INTRODUCTION", ", ".join(row["fields"] for row in tables.read("introduction.md", "fields", "is"))),
]


def message_of(name: str) -> str:
    """The protobuf message that a frame's body is, by the table of frames; of a part of one its own name."""
    if name.startswith("`"):
        return name.strip("`")
    [body] = [row["body"] for row in KINDS if row["name"] == name]
    match = re.match(r"`(\w+)`", body)
    assert match is not None
    return match[1]


def test_every_kind_is_in_the_page() -> None:
    assert {row["name"]: int(row["kind"], 16) for row in KINDS} == {kind.name: kind.value for kind in Kind}


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row["name"])
def test_every_kind_is_as_long_as_the_page_says(row: tables.Row) -> None:
    printed = re.match(r"[\d ×+]*", row["at most, bytes"] or "131 072")
    assert printed is not None
    terms = [[int(factor.replace(" ", "")) for factor in term.split("×")] for term in printed[0].split("+")]
    most = sum(term[0] * (term[1] if term[1:] else 1) for term in terms)
    kind = int(row["kind"], 16)
    assert frames.parse_header(frames.frame_header(kind, most)) == (kind, most)
    with pytest.raises(Malformed):
        frames.parse_header(frames.frame_header(kind, most + 1))


def test_every_field_is_in_the_pages() -> None:
    said: dict[str, set[tuple[int, str, str]]] = {}
    for name, printed in FIELDS:
        fields = said.setdefault(message_of(name), set())
        for number, field, kind in re.findall(r"(\d+) `(\w+)` ((?:repeated )?[`\w]+)", printed):
            fields.add((int(number), field, kind.replace("`", "")))
    types = {4: "uint64", 13: "uint32", 8: "bool", 9: "string", 12: "bytes"}
    known = {
        name: {
            (
                field.number,
                field.name,
                f"repeated {field.message_type.name}" if field.message_type else types[field.type],
            )
            for field in message.fields
        }
        for name, message in frames_pb2.DESCRIPTOR.message_types_by_name.items()
    }
    assert said == known
