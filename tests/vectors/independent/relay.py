"""Messages of `Relay` (relay.md)."""

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import x
from tests.vectors.independent.protobuf import records, varint

TICKET, DATA, END = 1, 2, 3


@check("relay-ticket", "relay-present", "relay-data", "relay-end")
def _message(name: str) -> None:
    expected = {
        "relay-ticket": (TICKET, x(0x41)),
        "relay-present": (DATA, b""),
        "relay-data": (DATA, b"abc"),
        "relay-end": (END, b""),
    }
    assert list(records(pages.read(name))) == [expected[name]]


@check("relay-data-longest")
def _longest(name: str) -> None:
    begins = pages.read(name)
    assert begins[0] == DATA << 3 | 2
    assert varint(begins, 1) == (256 * 1024, len(begins))
