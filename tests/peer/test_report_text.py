from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, PunchwireError, TransferFailed
from p2p_core.proof import ChannelBinding, PathKind, Role
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.frames import FileOffer
from p2p_peer.cli import outputs
from p2p_peer.cli.console_lines import LineConsole
from p2p_peer.cli.report_text import TextReport
from p2p_peer.events import (
    Advertised,
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
    PathLost,
    PeerDone,
    PeerLeaving,
    SessionEvent,
    StillLooking,
    StunServerUnusable,
)
from p2p_peer.mediator import StunServer
from p2p_peer.mediator_identity import MediatorIdentity, Vouched
from p2p_peer.transfer.sink import Stored
from p2p_peer.trust import MediatorId

from tests.peer.fake_session import ADDRESS, PEER, ShownSession

SESSION: Any = ShownSession()
ID = MediatorId(bytes(range(32)))
EVIL = "\x1b]0;owned\x07\r\x1b[2Jgnp.\u202eexe\x9b31m"


def offered(name: str = "a.txt", size: int = 1500) -> FileOffered:
    return FileOffered(FileOffer(3, name, size, 0o644, 0, 4096))


def received(path: str) -> FileReceived:
    return FileReceived(3, Stored(Path(path), 1500, "ab" * 32), 0.25)


@pytest.mark.parametrize(
    ("kind", "why", "how"),
    [
        (PathKind.QUIC, "TCP did not come up", "direct over QUIC at 203.0.113.5:6000 (UDP; TCP did not come up)"),
        (PathKind.RELAY, "no luck", "through the mediator's relay (no luck)"),
    ],
)
def test_which_path_it_is_and_why(capsys: pytest.CaptureFixture[str], kind: PathKind, why: str, how: str) -> None:
    session: Any = ShownSession(path=kind)
    TextReport(LineConsole()).connected(session, why, 0.3123)
    assert capsys.readouterr().err == f"* connected to {PEER.short}, {how}, X25519MLKEM768, 312 ms\n"


def reached(vouched: Vouched | None) -> MediatorReached:
    identity = None if vouched is None else ID
    return MediatorReached(
        MediatorIdentity(Address.of("192.0.2.1", 1), identity, vouched, b"", "", ChannelBinding.none())
    )


def test_messages_are_all_there_is_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    report = TextReport(LineConsole())
    for event in (Advertised(()), Matched(Role.INITIATOR, ())):
        report.connecting(event)
    report.connected(SESSION, "", 0.1234)
    report.happened(SESSION, MessageReceived(1, 0, "hello"))
    report.closed("")
    outputs.flush()
    said = capsys.readouterr()
    assert said.out == "hello\n"
    assert said.err.splitlines() == [
        "* waiting for the other peer",
        "* the other peer is there; connecting",
        f"* connected to {PEER.short}, direct over TCP at 203.0.113.5:6000, X25519MLKEM768, 123 ms",
        "* closed",
    ]


@pytest.mark.parametrize(
    ("vouched", "says"),
    [
        (Vouched.ON_FIRST_USE, f"* first connection to this mediator; remembered its id {ID}\n"),
        (None, "* the mediator is not authenticated: no TLS (--insecure)\n"),
        (Vouched.BY_USER, "* remembered it\n"),
        (Vouched.BY_MEMORY, ""),
        (Vouched.BY_ROOTS, ""),
        (Vouched.BY_OPTION, ""),
    ],
)
def test_who_the_mediator_is(capsys: pytest.CaptureFixture[str], vouched: Vouched | None, says: str) -> None:
    TextReport(LineConsole()).connecting(reached(vouched))
    assert capsys.readouterr().err == says


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (offered(), f"* {PEER.short} offers a.txt (1.5 kB)\n"),
        (FileSent(3, "a.txt", 1500, 0.25), "* sent a.txt (1.5 kB in 0.2 s); it was verified and stored\n"),
        (received("/inbox/a.txt"), "* received /inbox/a.txt (1.5 kB in 0.2 s), verified\n"),
        (PathLost(ConnectionLost("why")), "* connection lost: why; looking for another way to the other side\n"),
        (StillLooking("the other side did not come"), "* still looking: the other side did not come\n"),
        (PathChanged(PathKind.TCP, ADDRESS, ""), "* now direct over TCP at 203.0.113.5:6000\n"),
        (
            PathChanged(PathKind.QUIC, ADDRESS, "TCP did not come up"),
            "* now direct over QUIC at 203.0.113.5:6000 (UDP; TCP did not come up)\n",
        ),
        (PathChanged(PathKind.RELAY, ADDRESS, "no luck"), "* now through the mediator's relay (no luck)\n"),
        (PeerLeaving(""), "* the other side leaves\n"),
        (PeerLeaving("bye"), "* the other side leaves: bye\n"),
        (MessageDelivered(1), ""),
        (PeerDone(), ""),  # it matters to a chat and to a pipe, which say it
        (FileProgress(3, "a.txt", 4, 5, 1.0), ""),  # no terminal, no bar
    ],
)
def test_in_the_session(capsys: pytest.CaptureFixture[str], event: SessionEvent, says: str) -> None:
    TextReport(LineConsole()).happened(SESSION, event)
    outputs.flush()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", says)


def test_a_file_that_failed_has_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    report = TextReport(LineConsole())
    report.happened(SESSION, offered())
    report.happened(SESSION, FileFailed(3, TransferFailed("why"), "a.txt"))
    assert capsys.readouterr().err.endswith("* a.txt: why\n")
    report.happened(SESSION, FileFailed(4, TransferFailed("why"), None))
    assert capsys.readouterr().err == ""  # a file of ours: whoever sends it tells


def test_the_reason_for_leaving_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = TextReport(LineConsole())
    report.happened(SESSION, PeerLeaving("bye"))
    report.closed("bye")
    assert capsys.readouterr().err == "* the other side leaves: bye\n* closed\n"
    report = TextReport(LineConsole())
    report.happened(SESSION, FileFailed(3, TransferFailed("the other side gave up: bye"), "a.txt"))
    report.happened(SESSION, PeerLeaving("bye"))
    report.closed("bye")
    assert capsys.readouterr().err == ("* a.txt: the other side gave up: bye\n* the other side leaves\n* closed\n")


@pytest.mark.parametrize(
    "event",
    [
        MessageReceived(1, 0, EVIL),
        offered(EVIL),
        FileSent(3, EVIL, 5, 1.0),
        received(f"/inbox/{EVIL}"),
        PeerLeaving(EVIL),
    ],
    ids=lambda event: type(event).__name__,
)
def test_nothing_the_other_side_says_reaches_the_terminal(
    capsys: pytest.CaptureFixture[str], event: SessionEvent
) -> None:
    TextReport(LineConsole()).happened(SESSION, event)
    outputs.flush()
    said = capsys.readouterr()
    harmless(said.out + said.err)


def test_a_stun_server_whose_name_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    server = StunServer("stun.invalid", 3478, Transport.UDP)
    TextReport(LineConsole()).connecting(StunServerUnusable(server, "its name does not resolve"))
    assert capsys.readouterr().err == "* the STUN server stun.invalid is not asked: its name does not resolve\n"


def test_nor_do_notices_and_endings(capsys: pytest.CaptureFixture[str]) -> None:
    report = TextReport(LineConsole())
    report.notice(EVIL)
    report.closed(EVIL)
    report.failed(PunchwireError(EVIL))
    harmless(capsys.readouterr().err, lines=3)


def harmless(text: str, lines: int = 1) -> None:
    assert text.count("\n") == lines
    assert text.replace("\n", "").isprintable()
    assert "owned" in text


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    TextReport(LineConsole()).failed(PunchwireError("it did not work"))
    assert capsys.readouterr().err == "p2p-peer: it did not work\n"


def test_progress_goes_when_it_is_over() -> None:
    console = Shown()
    report = TextReport(console)
    for done in (1, 2):
        report.happened(SESSION, FileProgress(3, "a", done, 4, 0.5))
    report.happened(SESSION, FileProgress(5, "b", 1, 4, 0.5))
    assert [(transfer, line.split()[0]) for transfer, line in console.transfers.items()] == [(3, "a"), (5, "b")]
    assert " 50% of 4 B, 4 B/s, 0:00 left" in console.transfers[3]
    report.happened(SESSION, FileSent(3, "a", 4, 1.0))
    report.happened(SESSION, FileFailed(5, TransferFailed("why"), None))
    assert console.transfers == {}


class Shown(LineConsole):
    """Keeps the progress that is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.transfers: dict[int, str] = {}

    def progress(self, transfer: int, line: str) -> None:
        self.transfers[transfer] = line

    def progress_over(self, transfer: int) -> None:
        self.transfers.pop(transfer, None)


def test_a_mediator_with_another_id_that_is_vouched_for(capsys: pytest.CaptureFixture[str]) -> None:
    event = reached(Vouched.BY_ROOTS)
    TextReport(LineConsole()).connecting(MediatorReached(replace(event.identity, replaced=MediatorId(bytes(32)))))
    assert capsys.readouterr().err == (
        f"* the mediator's id is {ID} now; this computer's certificate roots vouch for it\n"
    )
