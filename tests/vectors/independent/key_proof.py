"""Transcripts and the proof (key-proof.md)."""

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import VERSION, fields_of, x
from tests.vectors.independent.identity import verify

TO_PEER = [x(1), x(2), x(3), x(4), x(5), x(6), x(7)]
EXPORTER = [b"exporter+certificate", x(8) + x(9)]


@check(
    "transcript-mediator-certificate",
    "transcript-mediator-none",
    "transcript-tcp-initiator",
    "transcript-tcp-responder",
    "transcript-quic-responder",
)
def _transcript(name: str) -> None:
    label, version, *rest = fields_of(pages.read(name))
    assert (label, version) == (b"punchwire key proof", VERSION)
    to_mediator = [b"peer-to-mediator", b"initiator", b"mediator"]
    absent = [b"", b"", b"", bytes(4)]
    expected = {
        "transcript-mediator-certificate": [*to_mediator, b"certificate", x(9), x(1), x(2), x(3), x(4), *absent],
        "transcript-mediator-none": [*to_mediator, b"none", b"", x(1), b"", x(3), x(4), *absent],
        "transcript-tcp-initiator": [b"peer-to-peer", b"initiator", b"tcp", *EXPORTER, *TO_PEER, bytes(4)],
        "transcript-tcp-responder": [b"peer-to-peer", b"responder", b"tcp", *EXPORTER, *TO_PEER, bytes(4)],
        "transcript-quic-responder": [
            *(b"peer-to-peer", b"responder", b"quic", b"certificate", x(9)),
            *TO_PEER,
            b"\0\0\0\x07",
        ],
    }
    assert rest == expected[name]


@check("proof-tcp-initiator")
def _proof(name: str) -> None:
    verify(0, pages.read("transcript-tcp-initiator"), pages.read(name))
