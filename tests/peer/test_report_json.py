import json
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, NotAdmitted, PunchwireError, TransferFailed
from p2p_core.proof import ChannelBinding, PathKind, Role
from p2p_core.wire.candidate import Address
from p2p_core.wire.frames import FileOffer
from p2p_peer.cli import outputs
from p2p_peer.cli.report_json import JsonReport
from p2p_peer.events import (
    Advertised,
    Authenticated,
    ConnectEvent,
    FileFailed,
    FileOffered,
    FileProgress,
    FileReceived,
    FileSent,
    Matched,
    MediatorReached,
    MessageDelivered,
    MessageReceived,
    PathChanged,
    PathFound,
    PathLost,
    PeerDone,
    PeerLeaving,
    SessionEvent,
)
from p2p_peer.mediator_identity import MediatorIdentity, Vouched
from p2p_peer.transfer.sink import Stored
from p2p_peer.trust import MediatorId

from tests.peer.fake_session import ADDRESS, PEER, ShownSession

SESSION: Any = ShownSession()
ID = MediatorId(bytes(range(32)))


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
        (Advertised(()), [{"event": "waiting"}]),
        (Matched(Role.RESPONDER, ()), [{"event": "matched", "role": "responder"}]),
        (PathFound(PathKind.TCP, ADDRESS, ""), []),
        (Authenticated(0.1), []),
    ],
)
def test_on_the_way(said: Any, event: ConnectEvent, expected: list[dict[str, Any]]) -> None:
    JsonReport().connecting(event)
    assert said() == expected


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


STORED = Stored(Path("/inbox/a (1).txt"), 5, "ab" * 32)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (MessageReceived(1, 0, "hello"), {"event": "message", "from": str(PEER), "text": "hello"}),
        (
            FileOffered(FileOffer(3, "a.txt", 5, 0o644, 0, 4096)),
            {"event": "file_offered", "transfer": 3, "name": "a.txt", "size": 5},
        ),
        (FileProgress(3, "a.txt", 4, 5, 1.0), {"event": "file_progress", "transfer": 3, "bytes": 4, "total": 5}),
        (
            FileSent(3, "a.txt", 5, 1.23456),
            {"event": "file_sent", "transfer": 3, "name": "a.txt", "size": 5, "seconds": 1.2346},
        ),
        (
            FileReceived(3, STORED, 1.0),
            {
                "event": "file_received",
                "transfer": 3,
                "path": "/inbox/a (1).txt",
                "size": 5,
                "blake3": "ab" * 32,
                "seconds": 1.0,
            },
        ),
        (
            FileFailed(3, TransferFailed("why"), "a.txt"),
            {"event": "file_failed", "transfer": 3, "code": "transfer-failed", "message": "why"},
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
