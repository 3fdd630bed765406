"""The fields and values that the pages of the mediator, the relay and the offer name are those of the .proto files."""

import re

import pytest
from google.protobuf.descriptor import FieldDescriptor, FileDescriptor
from p2p_proto import mediator_pb2, offer_pb2

from tests.vectors import tables

_TYPES = {4: "uint64", 8: "bool", 9: "string", 12: "bytes", 13: "uint32", 17: "sint32"}


def _type_of(field: FieldDescriptor) -> str:
    named = field.message_type or field.enum_type
    one = f"`{named.name}`" if named else _TYPES[field.type]
    return f"repeated {one}" if field.is_repeated else one


def _known(file: FileDescriptor) -> dict[str, list[str]]:
    messages = {
        name: [f"{field.number} `{field.name}` {_type_of(field)}" for field in message.fields]
        for name, message in file.message_types_by_name.items()
    }
    values = {
        name: [f"{value.number} `{value.name}`" for value in each.values]
        for name, each in file.enum_types_by_name.items()
    }
    return messages | values


@pytest.mark.parametrize(
    ("file", "in_pages"),
    [(mediator_pb2.DESCRIPTOR, ["mediator.md", "relay.md"]), (offer_pb2.DESCRIPTOR, ["offer.md"])],
    ids=["mediator", "offer"],
)
def test_every_field_is_in_the_pages(file: FileDescriptor, in_pages: list[str]) -> None:
    rows = [row for page in in_pages for row in tables.read(page, "message", "fields")]
    said = {row["message"].strip("`"): re.findall(r"\d+ `\w+`[^,]*", row["fields"]) for row in rows}
    assert said == _known(file)
