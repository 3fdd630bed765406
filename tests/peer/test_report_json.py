import json
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    ConnectionLost,
    MediatorUnreachable,
    NotAdmitted,
    PeerUnknown,
    PunchwireError,
    TransferFailed,
)
from p2p_core.identity import PeerId
from p2p_core.proof import ChannelBinding, PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_peer.cli import outputs
from p2p_peer.cli.manual import EVENTS
from p2p_peer.cli.report_json import JsonReport
from p2p_peer.events import (
    Advertised,
    Authenticated,
    ConnectEvent,
    FileFailed,
    FileGrew,
    FilesKept,
    Listening,
    Matched,
    MediatorBack,
    MediatorLost,
    MediatorReached,
    MessageDelivered,
    MessageReceived,
    NotReached,
    PathChanged,
    PathFound,
    PathLost,
    PeerDone,
    PeerLeaving,
    PeerMet,
    Phase,
    SessionEvent,
    Standing,
    TokenMade,
    TokenRead,
    TransferBroken,
    TransferOffered,
    TransferProgress,
    TransferReceived,
    TransferSent,
    TransferStalled,
    TurnedAway,
)
from p2p_peer.mediator_identity import MediatorIdentity, Vouched
from p2p_peer.trust import MediatorId

from tests.peer.fake_session import ADDRESS, PEER, ShownSession, manifest_of

SESSION: Any = ShownSession()
ID = MediatorId(bytes(range(32)))


FIELDS = {name: set(fields.split(", ")) - {""} for name, fields, _ in EVENTS}
OTHER = PeerId(bytes([7] * 32))


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            TokenMade("1abc", 1_700_000_000, True),
            {"event": "token", "token": "1abc", "expires": 1_700_000_000, "public": True},
        ),
        (
            TokenMade("1abc", 1_700_000_000, False),
            {"event": "token", "token": "1abc", "expires": 1_700_000_000, "public": False},
        ),
        (TokenRead(()), {"event": "token_read"}),
        (
            Listening((Address.of("192.0.2.1", 8000), Address.of("2001:db8::1", 8000))),
            {"event": "listening", "addresses": ["192.0.2.1:8000", "[2001:db8::1]:8000"]},
        ),
        (
            NotReached("bob.example:8000", "Connection refused"),
            {"event": "not_reached", "target": "bob.example:8000", "why": "Connection refused"},
        ),
        (
            TurnedAway(Address.of("192.0.2.1", 8000), PeerUnknown("not known")),
            {"event": "turned_away", "address": "192.0.2.1:8000", "code": "peer-unknown", "message": "not known"},
        ),
        (
            PeerMet(PEER, Standing.FIRST_USE, OTHER, "Bob"),
            {
                "event": "peer_met",
                "peer": str(PEER),
                "standing": "first_use",
                "words": list(PEER.words),
                "own_words": list(OTHER.words),
            },
        ),
    ],
)
def test_meeting_without_a_mediator(said: Any, event: ConnectEvent, expected: dict[str, Any]) -> None:
    JsonReport().connecting(event)
    assert said() == [expected]
    assert set(expected) - {"event"} == FIELDS[expected["event"]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Everything said since the last look: JSON objects on standard output, and nothing on standard error."""

    def said() -> list[dict[str, Any]]:
        outputs.flush()
        captured = capsys.readouterr()
        assert captured.err == ""
        assert captured.out == "" or captured.out.endswith("\n")
        return [json.loads(line) for line in captured.out.splitlines()]

    return said


def reached(vouched: Vouched | None) -> MediatorReached:
    identity = None if vouched is None else ID
    return MediatorReached(
        MediatorIdentity(Address.of("192.0.2.1", 1), identity, vouched, b"", "", ChannelBinding.none())
    )


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (reached(Vouched.ON_FIRST_USE), [{"event": "mediator_pinned", "id": str(ID)}]),
        (reached(Vouched.BY_MEMORY), []),
        (reached(Vouched.BY_ROOTS), []),
        (reached(None), []),
        (
            MediatorLost(MediatorUnreachable("it went away")),
            [{"event": "mediator_lost", "code": "mediator-unreachable", "message": "it went away"}],
        ),
        (MediatorBack(), [{"event": "mediator_back"}]),
        (Advertised(()), [{"event": "waiting"}]),
        (Matched(Role.RESPONDER, ()), [{"event": "matched", "role": "responder"}]),
        (PathFound(PathKind.TCP, ADDRESS, ""), []),
        (Authenticated(0.1), []),
    ],
)
def test_on_the_way(said: Any, event: ConnectEvent, expected: list[dict[str, Any]]) -> None:
    JsonReport().connecting(event)
    assert said() == expected
    assert all(set(one) - {"event"} == FIELDS[one["event"]] for one in expected)


def test_connected(said: Any) -> None:
    JsonReport().connected(SESSION, "no luck", 0.123456789)
    assert said() == [
        {
            "event": "connected",
            "path": "tcp",
            "address": "203.0.113.5:6000",
            "why": "no luck",
            "peer": str(PEER),
            "role": "initiator",
            "key_exchange": "X25519MLKEM768",
            "seconds": 0.1235,
        }
    ]


SENT = TransferSent(3, "a.txt", 1, 5, 4, 1.23456, Path("/state/receipts/1"), 0, 2)
RECEIVED = TransferReceived(3, "a/ (2 files)", (Path("/inbox/a (1)"),), 2, 5, 5, 1.0, None, 1, 3)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (MessageReceived(1, 0, "hello"), {"event": "message", "from": str(PEER), "text": "hello"}),
        (
            TransferOffered(3, manifest_of("a/", ("a/b", 5), ("a/c", 6), "a/d/", ("e", 7), "|")),
            {
                "event": "transfer_offered",
                "transfer": 3,
                "label": "a/ and 2 more",
                "entries": 6,
                "files": 4,
                "size": 18,
                "items": [
                    {"name": "a", "kind": "folder", "size": 11},
                    {"name": "e", "kind": "file", "size": 7},
                    {"name": "stdin", "kind": "stream", "size": None},
                ],
            },
        ),
        (
            TransferProgress(3, True, "a.txt", Phase.HASHING, 4, None, 1, 1.0),
            {
                "event": "transfer_progress",
                "transfer": 3,
                "direction": "sent",
                "phase": "hashing",
                "bytes": 4,
                "total": None,
                "moved": 1,
                "rate": None,
            },
        ),
        (
            TransferStalled(3, "a.txt", 10.123),
            {"event": "transfer_stalled", "transfer": 3, "label": "a.txt", "seconds": 10.1},
        ),
        (
            FileFailed(3, False, "a/b", TransferFailed("why")),
            {
                "event": "file_failed",
                "transfer": 3,
                "direction": "received",
                "path": "a/b",
                "code": "transfer-failed",
                "message": "why",
            },
        ),
        (FileGrew(3, "a/b", 5), {"event": "file_grew", "transfer": 3, "path": "a/b", "size": 5}),
        (
            SENT,
            {
                "event": "transfer_sent",
                "transfer": 3,
                "label": "a.txt",
                "files": 1,
                "size": 5,
                "moved": 4,
                "seconds": 1.2346,
                "failed": 0,
                "offered": 2,
                "receipt": "/state/receipts/1",
            },
        ),
        (
            RECEIVED,
            {
                "event": "transfer_received",
                "transfer": 3,
                "label": "a/ (2 files)",
                "paths": ["/inbox/a (1)"],
                "files": 2,
                "size": 5,
                "moved": 5,
                "seconds": 1.0,
                "failed": 1,
                "offered": 3,
                "receipt": None,
            },
        ),
        (
            FilesKept(3, 5, ("a", "b/c")),
            {"event": "files_kept", "transfer": 3, "count": 5, "examples": ["a", "b/c"]},
        ),
        (
            TransferBroken(3, True, "a.txt", TransferFailed("why")),
            {
                "event": "transfer_failed",
                "transfer": 3,
                "direction": "sent",
                "label": "a.txt",
                "code": "transfer-failed",
                "message": "why",
                "kept": None,
                "bytes": 0,
            },
        ),
        (
            TransferBroken(3, False, "a.txt", TransferFailed("why"), Path("in/.punchwire-1"), 7),
            {
                "event": "transfer_failed",
                "transfer": 3,
                "direction": "received",
                "label": "a.txt",
                "code": "transfer-failed",
                "message": "why",
                "kept": "in/.punchwire-1",
                "bytes": 7,
            },
        ),
        (
            PathLost(ConnectionLost("why")),
            {"event": "path_lost", "code": "connection-lost", "message": "why"},
        ),
        (
            PathChanged(PathKind.RELAY, ADDRESS, "no luck"),
            {"event": "path_changed", "path": "relay", "address": "203.0.113.5:6000", "why": "no luck"},
        ),
        (MessageDelivered(1), None),
        (PeerDone(), None),
        (PeerLeaving("bye"), None),
    ],
)
def test_in_the_session(said: Any, event: SessionEvent, expected: dict[str, Any] | None) -> None:
    JsonReport().happened(SESSION, event)
    assert said() == ([] if expected is None else [expected])


def test_progress_has_a_rate(said: Any) -> None:
    report = JsonReport()
    for second in (0, 1, 2):
        report.happened(
            SESSION, TransferProgress(3, False, "a", Phase.MOVING, 10 * second, 100, 10 * second, float(second))
        )
    assert [(event["direction"], event["phase"], event["rate"]) for event in said()] == [
        ("received", "moving", None),
        ("received", "moving", 10),
        ("received", "moving", 10),
    ]


def test_an_offer_of_many_is_cut(said: Any) -> None:
    JsonReport().happened(SESSION, TransferOffered(3, manifest_of(*((f"{number}", 1) for number in range(101)))))
    [event] = said()
    assert (event["entries"], event["size"], len(event["items"])) == (101, 101, 100)


def test_fields_are_those_of_the_manual(said: Any) -> None:
    fields = {name: set(fields.split(", ")) for name, fields, _ in EVENTS}
    for event in (
        TransferOffered(3, manifest_of("a")),
        TransferProgress(3, True, "a", Phase.MOVING, 1, 1, 1, 1.0),
        TransferStalled(3, "a", 10.0),
        FileFailed(3, True, "a", TransferFailed("why")),
        FileGrew(3, "a", 1),
        SENT,
        RECEIVED,
        TransferBroken(3, True, "a", TransferFailed("why")),
    ):
        JsonReport().happened(SESSION, event)
    JsonReport().session_lost(ConnectionLost("why"))
    told = said()
    assert len(told) == 9
    for event in told:
        assert set(event) - {"event"} == fields[event["event"]]


def test_a_session_that_is_lost(said: Any) -> None:
    JsonReport().session_lost(ConnectionLost("why"))
    assert said() == [{"event": "session_lost", "code": "connection-lost", "message": "why"}]


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31mred\x07", "\u202e\u2028\u0085", "\udcff", '"\\', "ä€\U0001f52b"])
def test_one_line_of_plain_ascii_whatever_was_said(capsys: pytest.CaptureFixture[str], text: str) -> None:
    JsonReport().happened(SESSION, MessageReceived(1, 0, text))
    outputs.flush()
    out = capsys.readouterr().out
    assert out.isascii()
    assert [character for character in out if not character.isprintable()] == ["\n"]
    assert json.loads(out)["text"] == text


@pytest.mark.parametrize("error", [NotAdmitted("no"), PunchwireError("why")])
def test_the_end(said: Any, error: PunchwireError) -> None:
    report = JsonReport()
    report.notice("for people")
    report.closed("bye")
    report.failed(error)

    assert said() == [
        {"event": "closed", "reason": "bye"},
        {"event": "error", "code": error.code, "message": str(error), "advice": error.advice},
    ]
