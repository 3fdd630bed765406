"""One run of the chat command: what is checked first, what ends it, and with which code."""

import argparse
import asyncio
import io
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    ConnectionLost,
    Interrupted,
    KeyUnreadable,
    MediatorUnreachable,
    NoPath,
    NotAuthenticated,
    PeerDidNotCome,
    PunchwireError,
    Refused,
    TransferFailed,
    UsageError,
)
from p2p_core.identity import PeerId, private_pem, public_pem
from p2p_core.proof import ChannelBinding, PathKind, Role
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.frames import Close, MessageAck, TextMessage
from p2p_peer.cli import meet_by_mediator, outputs
from p2p_peer.cli import run as run_module
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.errand import Wanted
from p2p_peer.cli.lines import InputLines
from p2p_peer.cli.memory import Memory
from p2p_peer.cli.parser import parse
from p2p_peer.cli.report_text import TextReport
from p2p_peer.cli.run import _Run, run
from p2p_peer.events import Advertised, Authenticated, Matched, MediatorReached, PathFound
from p2p_peer.mediator import StunServer
from p2p_peer.mediator_identity import MediatorIdentity, Vouched
from p2p_peer.options import ConnectOptions, Paths
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import SendOptions
from p2p_peer.trust import MediatorId

from tests.keys import key
from tests.peer.fake_session import FakeSession
from tests.peer.other_side import OtherSide
from tests.peer.pair import Clock, channels, session_on, soon
from tests.peer.scene import Said, TypedLines

ID = MediatorId(bytes(range(32)))


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., argparse.Namespace]:
    """Parse a command line with good keys."""
    (tmp_path / "key.pem").write_bytes(private_pem(key(0)))
    (tmp_path / "key.pem").chmod(0o600)
    (tmp_path / "peer.pem").write_bytes(public_pem(key(1).public_key()))

    def options(*flags: str) -> argparse.Namespace:
        return parse(["127.0.0.1", "54700", str(tmp_path / "key.pem"), str(tmp_path / "peer.pem"), *flags])

    return options


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


Connecting = Callable[..., Any]


@pytest.fixture
def connecting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Connecting], None]:
    """Put something in the place of `connect`."""

    def put(instead: Connecting) -> None:
        monkeypatch.setattr(meet_by_mediator, "connect", instead)

    return put


def a_run(options: argparse.Namespace) -> _Run:
    """As `run` makes it."""
    lines = InputLines()
    console = run_module._console(options, lines)
    return _Run(options, TextReport(console), console, lines)


async def never(*_: Any, **__: Any) -> Any:
    pytest.fail("nobody should have been met")


async def for_ever(*_: Any, **__: Any) -> Any:
    await asyncio.Event().wait()


# What is found out before anybody is met.


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--send", "nothing"], "nothing cannot be read: No such file or directory"),
        (["--send", "key.pem", "nothing"], "nothing cannot be read: No such file or directory"),
        (["--send", "/dev/null"], "/dev/null cannot be read: it is neither a file nor a folder"),
        (["--send", "key.pem", "./key.pem"], "key.pem and ./key.pem would both arrive as key.pem"),
        (["--send", "key.pem", "--send", "../key.pem", "../key.pem"], "would both arrive as key.pem"),
        (["--send", "-", "-"], "standard input can be sent once only"),
        (["--send", "/"], "/ has no name under which it could arrive"),
        (["--receive", "-", "--json", "--yes"], "standard output is for the file, or for events"),
        (["--receive", "--overwrite", "ask"], "nobody can be asked here"),
        (["--receive", "--in-place"], "--in-place is a way to overwrite"),
        (["--receive", "--in-place", "--overwrite", "never"], "--in-place is a way to overwrite"),
        (["--receive", "--max-size", "1G"], "--max-size is for what nobody is asked about"),
        (["--receive", "key.pem"], "key.pem is not a folder that can be written to"),
        (["--receive", "key.pem/inbox"], "is not a folder that can be written to"),
        (["--message", "x" * 65537], "a message has at most 65536 bytes"),
        (["--message", "caf\udce9"], "not valid UTF-8"),
        (["--message", "hi", "--mediator-id", "abc"], "'abc' is not a mediator id"),
        (["--relay-only", "--bind", "127.0.0.1"], "--bind is about direct connections, and --relay-only makes none"),
        (["--bind", "192.0.2.99"], "--bind 192.0.2.99 cannot be done: this computer does not have it"),
        (["--stun", "a b"], "'a b' is not a STUN server"),
    ],
)
def test_wrong_usage(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    connecting(never)
    assert run(options(*flags)) == 2
    said = capsys.readouterr()
    if "--json" in flags:
        assert why in said.out
        return
    assert said.out == ""
    assert "p2p-peer: " in said.err
    assert why in said.err


@pytest.mark.parametrize(
    ("flags", "stream", "why"),
    [
        (["--send", "-"], "stdin", "standard input is a terminal"),
        (["--receive", "-", "--yes"], "stdout", "standard output is a terminal"),
    ],
)
def test_no_file_is_a_terminal(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    stream: str,
    why: str,
) -> None:
    connecting(never)
    monkeypatch.setattr(getattr(sys, stream), "isatty", lambda: True)
    assert run(options(*flags)) == 2
    assert why in capsys.readouterr().err


def test_a_folder_that_cannot_be_read(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    connecting(never)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.R_OK | os.X_OK)
    (tmp_path / "folder").mkdir()
    assert run(options("--send", str(tmp_path / "folder"))) == 2
    assert "folder cannot be read: Permission denied" in capsys.readouterr().err


def test_a_key_that_cannot_be_read(
    options: Callable[..., argparse.Namespace], connecting: Callable[[Connecting], None], tmp_path: Path
) -> None:
    connecting(never)
    chosen = options("--message", "hi")
    (tmp_path / "peer.pem").write_text("not a key")
    with pytest.raises(KeyUnreadable, match=r"peer\.pem"):
        asyncio.run(a_run(chosen).run())


def test_the_other_sides_key_pair_is_no_public_key(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It holds one, but nobody should have it: that is told, and the session is made."""
    connecting(never)
    (tmp_path / "peer.pem").write_bytes(private_pem(key(1)))
    a_run(options("--message", "hi"))
    assert "peer.pem is a key pair: whoever gave it to you gave its secret away" in capsys.readouterr().err


def test_the_folder_to_receive_into_is_made(
    options: Callable[..., argparse.Namespace], connecting: Callable[[Connecting], None], tmp_path: Path
) -> None:
    async def unreachable(*_: Any, **__: Any) -> Any:
        raise MediatorUnreachable("no")

    connecting(unreachable)
    assert run(options("--receive", str(tmp_path / "in" / "box"))) == 3
    assert (tmp_path / "in" / "box").is_dir()


# How connecting is asked for.


async def test_what_connecting_is_told(
    options: Callable[..., argparse.Namespace], connecting: Callable[[Connecting], None]
) -> None:
    told: list[Any] = []

    async def connect(*arguments: Any, options: ConnectOptions, notify: Any) -> Any:
        told.extend([*arguments, options])
        raise PeerDidNotCome("no")

    connecting(connect)
    chosen = options(
        "--message", "hi", "--wait", "3", "--state-dir", "/s", "--mediator-id", str(ID), "--limit-rate", "2M"
    )
    with pytest.raises(PeerDidNotCome):
        await a_run(chosen).run()
    host, port, own, other, connect_options = told
    assert (host, port) == ("127.0.0.1", 54700)
    assert own.private_numbers() == key(0).private_numbers()
    assert other == key(1).public_key()
    assert connect_options == ConnectOptions(
        wait=3, state_dir=Path("/s"), mediator_id=ID, confirm_mediator=None, insecure=False, limit_rate=2_000_000
    )


async def test_what_connecting_is_told_of_the_network(
    options: Callable[..., argparse.Namespace], connecting: Callable[[Connecting], None]
) -> None:
    told: list[ConnectOptions] = []

    async def connect(*_: Any, options: ConnectOptions, notify: Any) -> Any:
        told.append(options)
        raise PeerDidNotCome("no")

    connecting(connect)
    flags = ("--direct-only", "--ipv4", "--bind", "127.0.0.1", "--no-port-mapping", "--stun", "stun.example.org/tcp")
    with pytest.raises(PeerDidNotCome):
        await a_run(options("--message", "hi", *flags)).run()
    assert told == [
        ConnectOptions(
            paths=Paths.DIRECT_ONLY,
            ip_version=4,
            bind=IPv4Address("127.0.0.1"),
            port_mapping=False,
            stun=(StunServer("stun.example.org", 3478, Transport.TCP),),
        )
    ]


@pytest.mark.parametrize(
    ("typed", "believed"), [(["yes"], True), (["y", "what?", "yes"], True), (["no"], False), (["/quit"], False)]
)
async def test_the_mediator_is_confirmed_at_a_terminal(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    monkeypatch: pytest.MonkeyPatch,
    typed: list[str],
    believed: bool,
) -> None:
    answers: list[bool] = []

    async def connect(*_: Any, options: ConnectOptions, notify: Any) -> Any:
        assert options.confirm_mediator is not None
        answers.append(await options.confirm_mediator(ID))
        raise NoPath("no")

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    connecting(connect)
    said = Said()
    lines = TypedLines(said.notices)
    lines.type(*typed)
    left = typed[-1] == "/quit"
    with pytest.raises(Interrupted if left else NoPath):
        await soon(_Run(options(), said, lines, InputLines()).run())
    assert answers == ([] if left else [believed])
    assert said.notices[:2] == ["first connection to this mediator. Its id is", str(ID)]
    assert said.notices.count("is that the one its owner told you? Please type yes or no") == max(len(typed) - left, 1)


async def test_leaving_before_the_other_peer_is_there(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []

    async def connect(*_: Any, options: ConnectOptions, notify: Any) -> Any:
        notify(Advertised(()))
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("connecting")

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    connecting(connect)
    lines = TypedLines()
    lines.type("/quit")
    with pytest.raises(Interrupted, match="before the other peer came"):
        await soon(_Run(options(), Said(), lines, InputLines()).run())
    assert ended == ["connecting"]


@pytest.mark.parametrize(
    ("flags", "terminal", "asks"),
    [
        ([], True, True),
        ([], False, False),
        (["--json"], True, False),
        (["--message", "hi"], True, False),
        (["--send", "key.pem"], True, False),
        (["--receive"], True, False),
    ],
)
async def test_who_is_asked_about_a_mediator(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    flags: list[str],
    terminal: bool,
    asks: bool,
) -> None:
    """Only a person who chats at a terminal."""
    told: list[ConnectOptions] = []

    async def connect(*_: Any, options: ConnectOptions, notify: Any) -> Any:
        told.append(options)
        raise NoPath("no")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    connecting(connect)
    with pytest.raises(NoPath):
        await a_run(options(*flags)).run()
    assert (told[0].confirm_mediator is not None) is asks


# A whole run, on a real session.


@pytest.fixture
async def other(
    connecting: Callable[[Connecting], None],
) -> AsyncIterator[OtherSide]:
    """The other side of the session that connecting gives."""
    ours, theirs = await channels()
    other = OtherSide(theirs, Role.RESPONDER)

    async def connect(*_: Any, options: ConnectOptions, notify: Any) -> Any:
        for event in (
            reached(),
            Advertised(()),
            Matched(Role.INITIATOR, ()),
            PathFound(PathKind.TCP, Address.of("192.0.2.1", 1), "why not"),
            Authenticated(0.25),
        ):
            notify(event)
        return session_on(ours, Role.INITIATOR)

    connecting(connect)
    yield other
    other.pump.abandon()
    ours.stream.close()


def reached() -> MediatorReached:
    return MediatorReached(
        MediatorIdentity(Address.of("127.0.0.1", 1), ID, Vouched.ON_FIRST_USE, b"", "", ChannelBinding.none())
    )


async def test_a_run(
    options: Callable[..., argparse.Namespace], other: OtherSide, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = options("--message", "hi")
    host, port = other.channel.stream.socket.getsockname()
    address = Address.of(host, port)
    running = asyncio.create_task(a_run(chosen).run())
    message = await other.wait_for(TextMessage)
    other.send(MessageAck(message.sequence))
    await other.wait_for(Close)
    other.send(Close("thanks"))
    await other.pump.close()
    await soon(running)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"* first connection to this mediator; remembered its id {ID}",
        "* waiting for the other peer",
        "* the other peer is there; connecting",
        f"* connected to {PeerId.of(key(1).public_key()).short}, direct over TCP at {address}, X25519MLKEM768, 250 ms",
        "* the other side leaves: thanks",
        "* closed",
    ]


@pytest.mark.parametrize(
    ("done", "missing"),
    [
        ([], MediatorUnreachable),
        ([reached()], MediatorUnreachable),
        ([reached(), Advertised(())], PeerDidNotCome),
        ([reached(), Advertised(()), Matched(Role.INITIATOR, ())], NoPath),
        (
            [
                reached(),
                Advertised(()),
                Matched(Role.INITIATOR, ()),
                PathFound(PathKind.TCP, Address.of("192.0.2.1", 1), "why not"),
            ],
            NoPath,
        ),
    ],
)
async def test_a_timeout_says_what_was_missing(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    done: list[Any],
    missing: type[PunchwireError],
) -> None:
    async def connect(*_: Any, options: ConnectOptions, notify: Any) -> Any:
        for event in done:
            notify(event)
        await asyncio.Event().wait()

    connecting(connect)
    chosen = options("--message", "hi", "--timeout", "0.01")
    with pytest.raises(PunchwireError, match=r"within 0\.01 s \(--timeout\)$") as caught:
        await soon(a_run(chosen).run())
    assert type(caught.value) is missing
    named = f"the other peer ({PeerId.of(key(1).public_key()).short}) did not come within"
    assert (missing is PeerDidNotCome) is str(caught.value).startswith(named)


@pytest.mark.parametrize(
    ("flags", "missing"), [(["--message", "hi"], ConnectionLost), (["--send", "key.pem"], TransferFailed)]
)
async def test_a_timeout_in_the_session(
    options: Callable[..., argparse.Namespace],
    other: OtherSide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    missing: type[PunchwireError],
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen = options(*flags, "--timeout", "0.05")
    running = asyncio.create_task(a_run(chosen).run())
    close = await other.wait_for(Close)
    assert close.reason == "the other side ended early"
    await other.pump.close()
    with pytest.raises(PunchwireError) as caught:
        await soon(running)
    assert type(caught.value) is missing


async def test_a_timeout_while_the_other_side_is_gone(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clock: Clock,
) -> None:
    """What was missing when the two had met is missing still, however far they get the next time."""
    monkeypatch.chdir(tmp_path)
    session = FakeSession()
    tries: list[int] = []

    async def connect(*_: Any, options: ConnectOptions, notify: Any) -> Any:
        notify(Advertised(()))
        tries.append(1)
        if len(tries) == 1:
            notify(Authenticated(0.25))
            asyncio.get_running_loop().call_soon(session.lose)
            return session
        clock.advance(5.0)
        return await for_ever()

    connecting(connect)
    with pytest.raises(TransferFailed, match=r"not everything was sent or received within 5 s \(--timeout\)"):
        await soon(a_run(options("--receive", "--yes", "--timeout", "5")).run())
    assert len(tries) == 2


# What modes are told.


@pytest.mark.parametrize(
    ("flags", "terms"),
    [
        ([], Acceptance()),
        (["--receive", "--yes"], Acceptance(unasked=True)),
        (
            ["--receive", "inbox", "--yes", "--max-size", "5G", "--overwrite", "always", "--in-place"],
            Acceptance(Path("inbox"), True, 5 * 10**9, Overwrite.ALWAYS, True),
        ),
        (["--overwrite", "never"], Acceptance(overwrite=Overwrite.NEVER)),
        (["--overwrite", "ask"], Acceptance(overwrite=None)),
    ],
)
def test_how_files_are_taken(
    options: Callable[..., argparse.Namespace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    terms: Acceptance,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    assert a_run(options(*flags))._terms == terms


def test_files_go_to_standard_output(
    options: Callable[..., argparse.Namespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.BytesIO()
    monkeypatch.setattr(outputs, "lend", lambda: output)
    assert a_run(options("--receive", "-", "--yes"))._terms == Acceptance(output, unasked=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "terminal", "asks"),
    [
        ([], True, True),
        ([], False, False),
        (["--yes"], True, False),
        (["--json"], True, False),
        (["--yes", "--overwrite", "ask"], True, True),
    ],
)
async def test_who_is_asked_about_files(
    options: Callable[..., argparse.Namespace],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    terminal: bool,
    asks: bool,
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    chosen = options("--receive", str(tmp_path), "--exclude", "*.tmp", "--send", str(tmp_path / "key.pem"), *flags)
    session: Any = FakeSession()
    errand = a_run(chosen)._errand(session, Memory())
    assert (errand._lines is not None) is asks
    assert errand._wanted == Wanted(
        paths=(str(tmp_path / "key.pem"),),
        options=SendOptions(("*.tmp",)),
        receives=True,
        terms=Acceptance(tmp_path, "--yes" in flags, overwrite=None if "ask" in flags else Overwrite.RENAME),
    )


# Exit codes, signals, pipes.


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PunchwireError("why"), 1),
        (UsageError("why"), 2),
        (MediatorUnreachable("why"), 3),
        (NotAuthenticated("why"), 4),
        (PeerDidNotCome("why"), 5),
        (NoPath("why"), 6),
        (Refused("why"), 7),
        (TransferFailed("why"), 8),
        (Interrupted("why"), 130),
    ],
)
@pytest.mark.parametrize("json", [False, True])
def test_an_error_is_told_and_has_its_code(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    capsys: pytest.CaptureFixture[str],
    error: PunchwireError,
    code: int,
    json: bool,
) -> None:
    async def connect(*_: Any, **__: Any) -> Any:
        raise error

    connecting(connect)
    assert run(options("--message", "hi", *(["--json"] if json else []))) == code
    said = capsys.readouterr()
    if json:
        assert said.err == ""
        assert (
            said.out == f'{{"event": "error", "code": "{error.code}", "message": "why", "advice": "{error.advice}"}}\n'
        )
    else:
        assert said.out == ""
        assert said.err.splitlines()[0] == "p2p-peer: why"


def test_all_well(options: Callable[..., argparse.Namespace], monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: _Run) -> None:
        return

    monkeypatch.setattr(_Run, "run", nothing)
    assert run(options()) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_good_order(
    options: Callable[..., argparse.Namespace], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    cleaned: list[str] = []

    async def wait(self: _Run) -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.append("up")

    before = signal.getsignal(number)
    monkeypatch.setattr(_Run, "run", wait)
    assert run(options()) == 130
    assert cleaned == ["up"]
    assert signal.getsignal(number) in (before, signal.SIG_DFL, signal.default_int_handler)


def test_an_error_that_nobody_reads_keeps_its_code(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def connect(*_: Any, **__: Any) -> Any:
        raise PeerDidNotCome("why")

    class Gone:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    connecting(connect)
    chosen = options("--message", "hi", "--json")
    monkeypatch.setattr(sys, "stdout", Gone())
    assert run(chosen) == 5


@pytest.mark.parametrize(
    ("flags", "terminal", "warned"),
    [([], False, True), (["--yes"], False, False), ([], True, False), (["--json"], True, True)],
)
def test_nobody_to_ask_about_a_file_is_a_warning(
    options: Callable[..., argparse.Namespace],
    connecting: Callable[[Connecting], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    flags: list[str],
    terminal: bool,
    warned: bool,
) -> None:
    async def unreachable(*_: Any, **__: Any) -> Any:
        raise MediatorUnreachable("no")

    connecting(unreachable)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal)
    assert run(options("--receive", str(tmp_path), *flags)) == 3
    assert ("warning: nobody can be asked here" in capsys.readouterr().err) is warned
