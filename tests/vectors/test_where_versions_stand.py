"""The first table of versions.md, by the golden bytes."""

import json
import re

from p2p_peer.remembered import Remembered
from p2p_proto import mediator_pb2

from tests.vectors import pages, tables
from tests.vectors.independent.fields import VERSION, fields_of
from tests.vectors.independent.frames import body_of
from tests.vectors.independent.mediator import step_of
from tests.vectors.independent.protobuf import records


def _second_fields(*names: str) -> bool:
    return all(fields_of(pages.read(name))[1] == VERSION for name in names)


STANDS = {
    "mediator": lambda: (
        step_of("meet-hello")[1][0] == step_of("meet-challenge")[1][0] == (1, 1)
        and mediator_pb2.DESCRIPTOR.services_by_name["Mediator"].full_name == "punchwire.v1.Mediator"
    ),
    "key proof": lambda: _second_fields("transcript-tcp-initiator", "statement-message", "statement-transfer-root"),
    "offer": lambda: (
        pages.read("offer-sealed")[0] == 1
        and next(records(pages.read("offer-body"))) == (1, 1)
        and _second_fields("offer-signed", "offer-context")
    ),
    "token": lambda: pages.read_text("token-text")[0] == "1",
    "punching": lambda: pages.read("preamble-nominate")[3] == pages.read("probe-nominate")[3] == 1,
    "channel": lambda: _second_fields("transcript-quic-responder"),
    "introduction": lambda: next(records(body_of(pages.read("frame-introduction"), 0x13))) == (1, 1),
    "the rejoin signal": lambda: pages.read("rejoin-initiator")[3] == 1,
    "roots": lambda: all(f"punchwire {root} root v1" in _page("transfer.md") for root in ("file", "transfer")),
    "journal": lambda: pages.read("journal-received")[3] == pages.read("journal-sent")[3] == 1,
    "receipt": lambda: json.loads(pages.read("receipt").splitlines()[0])["version"] == 1,
    "what a peer remembers": lambda: json.loads(Remembered().text())["version"] == 1,
}


def _page(name: str) -> str:
    return (pages.FOLDER / name).read_text("utf-8")


def test_every_version_stands_where_the_page_says() -> None:
    rows = tables.read("versions.md", "protocol", "its version stands in")
    names = [re.sub(r"^\[|\].*| \(.*", "", row["protocol"]) for row in rows]
    assert names == list(STANDS)
    assert {name: stands() for name, stands in STANDS.items()} == dict.fromkeys(STANDS, True)


def test_protocols_of_others_have_their_own() -> None:
    assert {pages.read(name)[0] for name in ("pcp-announce", "pcp-map", "pcp-mapped")} == {2}
    assert {pages.read(name)[0] for name in ("nat-pmp-external", "nat-pmp-map", "nat-pmp-mapped")} == {0}
