import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost, MediatorUnreachable, PeerUnknown, PunchwireError, TransferFailed
from p2p_core.identity import PeerId
from p2p_core.proof import ChannelBinding, PathKind, Role
from p2p_core.wire.candidate import Address, Transport
from p2p_peer.cli import outputs
from p2p_peer.cli.console_lines import LineConsole
from p2p_peer.cli.report_text import TextReport
from p2p_peer.events import (
    AddressServiceUnusable,
    Advertised,
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
    PathLost,
    PeerDone,
    PeerLeaving,
    PeerMet,
    Phase,
    SessionEvent,
    Standing,
    StillLooking,
    StunServerUnusable,
    TokenRead,
    TransferBroken,
    TransferOffered,
    TransferProgress,
    TransferReceived,
    TransferSent,
    TransferStalled,
    TurnedAway,
)
from p2p_peer.mediator import StunServer
from p2p_peer.mediator_identity import MediatorIdentity, Vouched
from p2p_peer.trust import MediatorId, TrustStore

from tests.peer.fake_session import ADDRESS, PEER, ShownSession, manifest_of

SESSION: Any = ShownSession()
ID = MediatorId(bytes(range(32)))
EVIL = "\x1b]0;owned\x07\r\x1b[2Jgnp.\u202eexe\x9b31m"


OTHER = PeerId(bytes([7] * 32))


def test_meeting_without_a_mediator(capsys: pytest.CaptureFixture[str]) -> None:
    report = TextReport(LineConsole())
    address = Address.of("192.0.2.1", 8000)
    report.connecting(TokenRead(()))
    report.connecting(Listening((address, Address.of("2001:db8::1", 8000))))
    report.connecting(NotReached("host:8000", "Connection refused"))
    report.connecting(TurnedAway(address, PeerUnknown(f"the peer at {address} is not known")))
    report.connecting(TurnedAway(address, ConnectionLost("lost")))
    assert capsys.readouterr().err.splitlines() == [
        "* the other side's token is good; connecting, as soon as it has read yours",
        "* waiting for the other peer at 192.0.2.1:8000, [2001:db8::1]:8000",
        "* no connection with host:8000: Connection refused; waiting for the other peer",
        "* turned away: the peer at 192.0.2.1:8000 is not known",
        f"* {PeerUnknown.advice}",
        "* no connection with 192.0.2.1:8000: lost",
    ]


@pytest.mark.parametrize(
    ("standing", "name", "said"),
    [
        (Standing.EXPECTED, "", None),
        (Standing.REMEMBERED, "", "this peer is remembered: it has the key it had before"),
        (Standing.REMEMBERED, "B\x1bob", r"this peer is remembered as B\x1bob: it has the key it had before"),
    ],
)
def test_a_peer_that_need_not_be_compared(
    capsys: pytest.CaptureFixture[str], standing: Standing, name: str, said: str | None
) -> None:
    TextReport(LineConsole()).connecting(PeerMet(PEER, standing, OTHER, name))
    assert capsys.readouterr().err == ("" if said is None else f"* {said}\n")


@pytest.mark.parametrize("standing", [Standing.FIRST_USE, Standing.KNOWN_ELSEWHERE, Standing.BY_TOKEN])
def test_words_to_compare(capsys: pytest.CaptureFixture[str], standing: Standing) -> None:
    TextReport(LineConsole(), store=TrustStore(Path("my state"))).connecting(PeerMet(PEER, standing, OTHER))
    before, first, *rows = ["", *capsys.readouterr().err.splitlines()]
    if standing is Standing.KNOWN_ELSEWHERE:
        before, first, rows = first, rows[0], rows[1:]
        assert before == "* this peer is remembered from elsewhere, with no name"
    assert "ompare the words aloud:" in first
    rows = [row.removeprefix("* ") for row in rows]
    if standing is not Standing.BY_TOKEN:
        who = PEER.short
        assert rows.pop() == (
            f"the same: p2p-peer trust verify {who} --state-dir 'my state'; "
            f"not the same: leave, and p2p-peer trust remove {who} --state-dir 'my state'"
        )
    assert [row[:8].strip() for row in rows] == ["yours", "", "", "theirs", "", ""]
    said = [row[8:].split() for row in rows]
    assert all(len(row) == 4 for row in said)
    assert [word for row in said for word in row] == [*OTHER.words, *PEER.words]


def offered(*entries: str | tuple[str, int]) -> TransferOffered:
    return TransferOffered(3, manifest_of(*(entries or (("a.txt", 1500),))))


def sent(label: str = "a.txt", files: int = 1, size: int = 1500, **fields: Any) -> TransferSent:
    offered = files + fields.get("failed", 0)
    return replace(TransferSent(3, label, files, size, size, 1.5, None, 0, offered), **fields)


def received(*paths: str, **fields: Any) -> TransferReceived:
    event = TransferReceived(3, "a.txt", tuple(map(Path, paths)), 1, 1500, 1500, 1.5, None, 0, 1)
    return replace(event, **fields)


def broken(name: str = "a.txt", *, outgoing: bool = False, why: str = "why") -> TransferBroken:
    return TransferBroken(3, outgoing, name, TransferFailed(why))


@pytest.mark.parametrize(
    ("error", "why"), [(TransferFailed("it is corrupt"), "* tree: it is corrupt\n"), (ConnectionLost("no path"), "")]
)
def test_what_is_kept(capsys: pytest.CaptureFixture[str], error: PunchwireError, why: str) -> None:
    """Of a session that is lost, more is told."""
    TextReport(LineConsole()).happened(SESSION, TransferBroken(3, False, "tree", error, Path("in/.punchwire-7"), 1200))
    assert capsys.readouterr().err == (
        f"{why}* what has come of tree (1.2 kB) is kept in in/.punchwire-7: it goes on from there when it is sent "
        "again; remove it if it is not wanted\n"
    )


@pytest.mark.parametrize(
    ("standing", "clause"),
    [
        (Standing.EXPECTED, ""),
        (
            Standing.BY_TOKEN,
            ", but only with the same two key pairs (p2p-peer keygen): a key made for one session, here or there, is "
            "gone with it, and all is sent again",
        ),
    ],
)
def test_with_which_keys_it_goes_on(capsys: pytest.CaptureFixture[str], standing: Standing, clause: str) -> None:
    report = TextReport(LineConsole())
    report.connecting(PeerMet(PEER, standing, OTHER))
    report.happened(SESSION, TransferBroken(3, False, "tree", ConnectionLost("why"), Path("in/.punchwire-7"), 1200))
    assert capsys.readouterr().err.endswith(
        "* what has come of tree (1.2 kB) is kept in in/.punchwire-7: it goes on from there when it is sent "
        f"again{clause}; remove it if it is not wanted\n"
    )


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
        (sent(), "* sent a.txt (1.5 kB in 1.5 s, 1.0 kB/s over TCP)\n"),
        (
            sent("photos/ (1204 files)", 1204, 3_200_000_000, seconds=21.0),
            "* sent photos/ (1204 files, 3.2 GB in 0:21, 152 MB/s over TCP)\n",
        ),
        (
            sent("photos/ (1204 files)", 1202, 3_200_000_000, seconds=21.0, moved=2_100_000_000, failed=2),
            "* sent photos/ (1202 files, 3.2 GB in 0:21, 100 MB/s over TCP); 1.1 GB were there already; "
            "2 files were not: see above\n",
        ),
        (
            sent(files=0, size=0, failed=1),
            "* sent a.txt (0 files, 0 B in 1.5 s, 0 B/s over TCP); 1 file was not: see above\n",
        ),
        (sent(seconds=0.0), "* sent a.txt (1.5 kB)\n"),
        (sent(seconds=0.99), "* sent a.txt (1.5 kB)\n"),
        (sent(seconds=1.0), "* sent a.txt (1.5 kB in 1.0 s, 1.5 kB/s over TCP)\n"),
        (
            sent("big and 1 more", 51, 153, offered=52),
            "* sent 51 of 52 files of big and 1 more (153 B in 1.5 s, 102 B/s over TCP); "
            "the other side did not take the others\n",
        ),
        (
            sent("big/ (52 files)", 50, 153, seconds=0.1, failed=1, offered=52),
            "* sent 50 of 52 files of big/ (153 B); 1 file was not: see above; "
            "the other side did not take the others\n",
        ),
        (
            received("/inbox/big", "/inbox/b", label="big and 1 more", files=51, seconds=0.1, offered=52),
            "* received 51 of 52 files of big and 1 more into /inbox (1.5 kB); the others were not taken\n",
        ),
        (
            received("/inbox/big (1)", label="big/ (52 files)", files=51, seconds=0.1, offered=52),
            "* received 51 of 52 files of big/ as /inbox/big (1) (1.5 kB); the others were not taken\n",
        ),
        (received("/inbox/a.txt"), "* received /inbox/a.txt (1.5 kB in 1.5 s, 1.0 kB/s over TCP)\n"),
        (
            received("/inbox/a.txt", "/inbox/b", label="a.txt and 1 more", files=2, offered=2),
            "* received a.txt and 1 more into /inbox (2 files, 1.5 kB in 1.5 s, 1.0 kB/s over TCP)\n",
        ),
        (
            received(label="standard input", files=1),
            "* received standard input (1.5 kB in 1.5 s, 1.0 kB/s over TCP)\n",
        ),
        (FileFailed(3, True, "photos/a.jpg", TransferFailed("why")), "* photos/a.jpg: why\n"),
        (
            FileFailed(3, True, "photos/a.jpg", TransferFailed("photos/a.jpg cannot be read: why")),
            "* photos/a.jpg cannot be read: why\n",
        ),
        (
            FileFailed(3, True, "photos/a.jpg", TransferFailed("/home/me/photos/a.jpg cannot be read: why")),
            "* /home/me/photos/a.jpg cannot be read: why\n",
        ),
        (FileFailed(3, False, "a", TransferFailed("it is a folder")), "* a: it is a folder\n"),
        (FileGrew(3, "log", 1500), "* log grew while it was sent: its first 1.5 kB are sent\n"),
        (FilesKept(3, 1, ("a",)), "* kept, as they are there already: a\n"),
        (FilesKept(3, 9, ("a", "b/c")), "* kept, as they are there already: a, b/c and 7 more\n"),
        (TransferStalled(3, "a.txt", 10.1), "* a.txt: nothing has moved for 10 s\n"),
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
        (TransferProgress(3, True, "a.txt", Phase.MOVING, 4, 5, 4, 1.0), ""),  # no terminal, no bar
    ],
)
def test_in_the_session(capsys: pytest.CaptureFixture[str], event: SessionEvent, says: str) -> None:
    TextReport(LineConsole()).happened(SESSION, event)
    outputs.flush()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", says)


def test_a_folder_is_offered_with_what_is_in_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """And how much room there is, where it is to go."""
    TextReport(LineConsole(), tmp_path).happened(SESSION, offered("photos/", ("photos/a.jpg", 1500), "photos/raw/"))
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [
        f"* {PEER.short} offers photos/ (1 file, 1.5 kB)",
        "*    1  a.jpg  1.5 kB",
        "*    2  raw/   0 files, 0 B",
    ]
    assert re.fullmatch(rf"\* \d+(\.\d)? [kMGT]B are free in {tmp_path}", lines[3])
    assert len(lines) == 4


def test_an_offer_that_does_not_fit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    TextReport(LineConsole(), tmp_path).happened(SESSION, offered(("a.txt", 2**51)))
    assert "* it does not fit, unless most of it is there already: " in capsys.readouterr().err


def test_an_offer_for_a_folder_that_is_gone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    TextReport(LineConsole(), tmp_path / "gone").happened(SESSION, offered())
    assert capsys.readouterr().err == f"* {PEER.short} offers a.txt (1.5 kB)\n"


def test_a_transfer_that_failed_has_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    report = TextReport(LineConsole())
    report.happened(SESSION, broken())
    assert capsys.readouterr().err.endswith("* a.txt: why\n")
    report.happened(SESSION, broken(outgoing=True))
    assert capsys.readouterr().err == ""  # of files of ours, whoever sends them tells


def test_where_the_receipt_is_told_with_verbose(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "p2p_peer"):
        TextReport(LineConsole()).happened(SESSION, sent(receipt=Path("/state/receipts/1")))
        TextReport(LineConsole()).happened(SESSION, received("/inbox/a", receipt=Path("/state/receipts/2")))
    assert [record.getMessage() for record in caplog.records] == [
        "the receipt of transfer 3 is /state/receipts/1",
        "the receipt of transfer 3 is /state/receipts/2",
    ]


def test_a_session_that_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    console = Shown()
    report = TextReport(console)
    report.happened(SESSION, TransferProgress(3, True, "a", Phase.MOVING, 1, 4, 1, 0.5))
    report.session_lost(ConnectionLost("why"))
    assert console.transfers == {}
    assert capsys.readouterr().err == (
        "* why\n* the other side is gone; what has arrived is kept; waiting for it to come back, Ctrl-C ends\n"
    )


def test_the_reason_for_leaving_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    report = TextReport(LineConsole())
    report.happened(SESSION, PeerLeaving("bye"))
    report.closed("bye")
    assert capsys.readouterr().err == "* the other side leaves: bye\n* closed\n"
    report = TextReport(LineConsole())
    report.happened(SESSION, broken(why="the other side gave up: bye"))
    report.happened(SESSION, PeerLeaving("bye"))
    report.closed("bye")
    assert capsys.readouterr().err == ("* a.txt: the other side gave up: bye\n* the other side leaves\n* closed\n")


@pytest.mark.parametrize(
    "event",
    [
        MessageReceived(1, 0, EVIL),
        offered((EVIL, 5)),
        sent(EVIL),
        received(f"/inbox/{EVIL}"),
        received(f"/inbox/{EVIL}", "/inbox/b", label=EVIL),
        FileFailed(3, False, EVIL, TransferFailed(EVIL)),
        FileGrew(3, EVIL, 5),
        FilesKept(3, 1, (EVIL,)),
        TransferStalled(3, EVIL, 10.0),
        broken(EVIL),
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


def test_a_mediator_that_is_away_for_a_while(capsys: pytest.CaptureFixture[str]) -> None:
    for event in (MediatorLost(MediatorUnreachable("the mediator went away")), MediatorBack()):
        TextReport(LineConsole()).connecting(event)
    assert capsys.readouterr().err.splitlines() == [
        "* the mediator went away",
        "* it is asked again until it lets you in; Ctrl-C ends",
        "* the mediator is back",
    ]


def test_a_stun_server_whose_name_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    server = StunServer("stun.invalid", 3478, Transport.UDP)
    TextReport(LineConsole()).connecting(StunServerUnusable(server, "its name does not resolve"))
    assert capsys.readouterr().err == "* the STUN server stun.invalid is not asked: its name does not resolve\n"


def test_an_address_service_that_tells_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    TextReport(LineConsole()).connecting(AddressServiceUnusable("no answer within 2 s"))
    assert capsys.readouterr().err == "* the address service tells nothing: no answer within 2 s\n"


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
    for second in (0, 1):
        report.happened(SESSION, TransferProgress(3, True, "a", Phase.MOVING, 2 * second, 4, 2 * second, float(second)))
    report.happened(SESSION, TransferProgress(5, False, "b", Phase.MOVING, 1, 4, 1, 0.5))
    assert [(transfer, line.split()[:2]) for transfer, line in console.transfers.items()] == [
        (3, ["sending", "a"]),
        (5, ["receiving", "b"]),
    ]
    assert " 50% of 4 B, 2 B/s over TCP, 0:01 left" in console.transfers[3]
    report.happened(SESSION, TransferStalled(3, "a", 12.0))
    assert console.transfers[3].endswith(", stalled for 12 s")
    report.happened(SESSION, sent())
    report.happened(SESSION, replace(broken(), transfer=5))
    assert console.transfers == {}


class Shown(LineConsole):
    """Keeps the progress that is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.transfers: dict[int, str] = {}

    @property
    def progress_columns(self) -> int | None:
        return 80

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
