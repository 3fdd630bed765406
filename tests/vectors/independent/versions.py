"""What a later version may send (versions.md)."""

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import x
from tests.vectors.independent.frames import body_of
from tests.vectors.independent.protobuf import records

NEW_FIELD = (99, b"new")


@check("later-offer-body")
def _offer(name: str) -> None:
    known, later = list(records(pages.read("offer-body"))), list(records(pages.read(name)))
    assert later.pop() == NEW_FIELD
    for kind, transport in ((1, 9), (9, 1)):
        number, candidate = later.pop()
        assert number == 10
        assert isinstance(candidate, bytes)
        assert list(records(candidate)) == [(1, kind), (2, transport), (3, bytes([192, 0, 2, 9])), (4, 9)]
    later.remove((8, 9))  # the UDP mapping
    assert later == known


@check("later-hello")
def _hello(name: str) -> None:
    (step, hello), new = records(pages.read(name))
    assert isinstance(hello, bytes)
    assert (step, new) == (1, NEW_FIELD)
    assert list(records(hello)) == [(1, 2), (2, b"\x0a\x0b\x0c"), (3, x(3))]


@check("later-frame")
def _frame(name: str) -> None:
    assert body_of(pages.read(name), 0x80) == b"new"
