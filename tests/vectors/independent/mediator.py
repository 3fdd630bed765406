"""Messages of `Meet`, and how a stream ends (mediator.md)."""

import hashlib
import ipaddress
import re

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import VERSION, join, x
from tests.vectors.independent.identity import verify
from tests.vectors.independent.protobuf import records

Fields = list[tuple[int, int | bytes]]
OFFER, OTHER_OFFER = b"\x0a\x0b\x0c", b"\x0d\x0e\x0f"
STATUS = {"UNAVAILABLE": "14", "UNAUTHENTICATED": "16"}  # https://grpc.github.io/grpc/core/md_doc_statuscodes.html

SENTENCES = {
    "not-admitted": "the mediator does not admit this key",
    "shutting-down": "the mediator is shutting down",
}


def step_of(name: str) -> tuple[int, Fields]:
    """Return which step a message has, and the fields of it."""
    ((step, body),) = records(pages.read(name))
    assert isinstance(body, bytes)
    return step, list(records(body))


def endpoint(ip: str, port: int) -> Fields:
    return [(1, ipaddress.ip_address(ip).packed), (2, port)]


@check(
    *(f"meet-{step}" for step in ("hello", "advertise", "withdraw", "signal-to", "leave", "pong")),
    *(f"meet-{step}" for step in ("challenge", "signal-from", "left", "ping")),
)
def _step(name: str) -> None:
    own, other, signal = (pages.read(block) for block in ("peer-id-0", "peer-id-1", "rejoin-initiator"))
    expected: dict[str, tuple[int, Fields]] = {
        "meet-hello": (1, [(1, 1), (2, pages.read("public-key-0")), (3, x(3))]),
        "meet-advertise": (3, [(1, other), (2, OFFER)]),
        "meet-withdraw": (7, [(1, other)]),
        "meet-signal-to": (4, [(1, other), (2, signal)]),
        "meet-leave": (5, [(1, other)]),
        "meet-pong": (6, [(1, 300)]),
        "meet-challenge": (1, [(1, 1), (2, x(4))]),
        "meet-signal-from": (4, [(1, own), (2, signal)]),
        "meet-left": (6, [(1, other)]),
        "meet-ping": (5, [(1, 300)]),
    }
    assert step_of(name) == expected[name]


@check("meet-proof")
def _proof(name: str) -> None:
    step, ((number, signature),) = step_of(name)
    assert (step, number) == (2, 1)
    assert isinstance(signature, bytes)
    ids = pages.read("peer-id-0"), x(2)
    absent = b"", b"", b"", bytes(4)
    bound = b"peer-to-mediator", b"initiator", b"mediator", b"certificate", x(9)
    verify(0, join("punchwire key proof", VERSION, *bound, *ids, x(3), x(4), *absent), signature)


@check("meet-welcome")
def _welcome(name: str) -> None:
    step, ((_, observed), (_, first), (_, second), *rest) = step_of(name)
    assert step == 2
    parts = [list(records(part)) for part in (observed, first, second) if isinstance(part, bytes)]
    assert parts == [endpoint("198.51.100.7", 61000), [(2, 54700), (3, 1)], [(1, b"stun.example"), (2, 54701), (3, 2)]]
    assert [number for number, _ in step_of(name)[1]] == [1, 2, 2, 3, 4, 5]
    assert rest == [(3, 15), (4, 1_700_000_000), (5, 1)]


@check("meet-match")
def _match(name: str) -> None:
    step, found = step_of(name)
    assert step == 3
    fields = dict(found)
    assert [number for number, _ in found] == list(range(1, 11))
    observed = fields.pop(5)
    assert isinstance(observed, bytes)
    assert list(records(observed)) == endpoint("2001:db8::1", 50000)
    assert fields == {
        1: pages.read("peer-id-1"),
        2: 2,  # responder
        3: OTHER_OFFER,
        4: hashlib.sha256(OFFER).digest(),
        6: 12_500,
        7: 20_000,
        8: x(0x41),
        9: b"m.example",
        10: 54700,
    }


@check("ending-not-admitted", "ending-shutting-down")
def _ending(name: str) -> None:
    said = dict(re.findall(r"([a-z-]+): (.+?)(?= [a-z-]+: |$)", pages.read_text(name)))
    reason = name.removeprefix("ending-")
    page = (pages.FOLDER / "mediator.md").read_text("utf-8")
    row = re.search(rf"^\| `{reason}` \| `([A-Z_]+)` \|", page, re.MULTILINE)
    assert row is not None
    expected = {"grpc-status": STATUS[row[1]], "grpc-message": SENTENCES[reason], "punchwire-reason": reason}
    assert said == expected | ({"punchwire-retry-after": "2"} if row[1] == "UNAVAILABLE" else {})
