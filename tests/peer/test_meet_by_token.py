"""`p2p-peer token` up to the session: where the other side's token comes from, and what is missing until then."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    ConnectionLost,
    KeyUnreadable,
    NoPath,
    PeerDidNotCome,
    PunchwireError,
    TokenExpired,
    TokenRejected,
    TokenUnreadable,
    TransferFailed,
    UsageError,
)
from p2p_core.identity import PeerId, private_pem, public_pem
from p2p_core.proof import PathKind
from p2p_core.token_sealing import seal_token
from p2p_core.wire.token import Token
from p2p_peer.cli import meet_by_token
from p2p_peer.cli.parser import parse
from p2p_peer.cli.run import _Run, run
from p2p_peer.events import Authenticated, PathFound, PeerMet, Standing, TokenMade, TokenRead
from p2p_peer.options import ConnectOptions

from tests.keys import key
from tests.peer.fake_session import ADDRESS, FakeSession
from tests.peer.pair import soon, until
from tests.peer.scene import Said, TypedLines

FACTS = {"share": bytes(12), "fingerprint": bytes(16), "candidates": ()}
PEER = PeerId.of(key(1).public_key())


def a_token(issued: float | None = None) -> str:
    """A token, good for ten minutes; nobody opens it here."""
    now = int(time.time() if issued is None else issued)
    token = Token(issued=now, expires=now + 600, **FACTS)  # type: ignore[arg-type]
    return seal_token(token, bytes(64)).text


THEIRS = a_token()


class FakeMeeting:
    """Stands for `make_token` and what it makes. The other side's token is the one of `a_token`."""

    def __init__(self) -> None:
        self.made_with: list[Any] = []
        self.options: ConnectOptions | None = None
        self.read_texts: list[str] = []
        self.session = FakeSession()
        self.comes_first = asyncio.Event()  # the other side, without its token
        self.left = 0

    async def make(self, key: Any, peer_key: Any, *, phrase: str, ttl: int, options: Any, notify: Any) -> "FakeMeeting":
        self.made_with, self.options, self.notify = [key, peer_key, phrase, ttl], options, notify
        notify(TokenMade("1own", int(time.time()) + ttl))
        return self

    async def __aenter__(self) -> "FakeMeeting":
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.left += 1

    async def read(self, text: str) -> Any:
        self.read_texts.append(text)
        if "bad" in text:
            raise TokenUnreadable("this is not a token", advice="Copy it again.")
        return text

    async def connect(self, other: Awaitable[Any]) -> Any:
        reading, coming = asyncio.ensure_future(other), asyncio.ensure_future(self.comes_first.wait())
        try:
            await asyncio.wait([reading, coming], return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                await reading
                self.notify(TokenRead(()))
                await coming
        finally:
            for task in (reading, coming):
                task.cancel()
            await asyncio.wait([reading, coming])
        self.notify(PathFound(PathKind.TCP, ADDRESS, ""))
        self.notify(PeerMet(PEER, Standing.EXPECTED, PEER))
        self.notify(Authenticated(0.1))
        return self.session


@pytest.fixture
def meeting(monkeypatch: pytest.MonkeyPatch) -> FakeMeeting:
    meeting = FakeMeeting()
    monkeypatch.setattr(meet_by_token, "make_token", meeting.make)
    return meeting


Command = Callable[..., argparse.Namespace]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Parse a command line in a folder with good keys."""
    (tmp_path / "key.pem").write_bytes(private_pem(key(0)))
    (tmp_path / "key.pem").chmod(0o600)
    (tmp_path / "peer.pem").write_bytes(public_pem(key(1).public_key()))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: parse(["token", *arguments])


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("P2P_PEER_PHRASE", raising=False)
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


class Running:
    """A run whose console is a list of lines."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.said = Said()
        self.lines = TypedLines(self.said.notices)
        self.run = _Run(options, self.said, self.lines, self.lines)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.run.run())

    async def says(self, text: str) -> None:
        await until(lambda: text in self.said.notices)

    async def end(self) -> None:
        await soon(self.task)


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)


QUESTION = "paste the other side's token here:"
OR_WAIT = "paste the other side's token here (or wait: if the other side can reach you, it needs only yours):"


async def test_what_the_token_is_made_of(
    command: Command, meeting: FakeMeeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--phrase", "a b", "--ttl", "90", "--ipv4", "--no-port-mapping", "--address-service", "http://a.example"]
    running = Running(command("key.pem", "peer.pem", *flags, "--state-dir", "/s", "--message", "hi"))
    await until(lambda: meeting.options is not None)
    own, other, phrase, ttl = meeting.made_with
    assert own.private_numbers() == key(0).private_numbers()
    assert other == key(1).public_key()
    assert (phrase, ttl) == ("a b", 90)
    assert meeting.options == ConnectOptions(
        ip_version=4, port_mapping=False, address_service="http://a.example", state_dir=Path("/s")
    )
    running.task.cancel()


@pytest.mark.parametrize(
    ("flags", "outside", "phrase"),
    [([], "from outside", "from outside"), (["--phrase", "mine"], "from outside", "mine"), ([], "", ""), ([], " ", "")],
)
async def test_where_the_phrase_comes_from(
    command: Command, meeting: FakeMeeting, monkeypatch: pytest.MonkeyPatch, flags: list[str], outside: str, phrase: str
) -> None:
    monkeypatch.setenv("P2P_PEER_PHRASE", outside)
    running = Running(command("--message", "hi", *flags))
    await running.says("no key pair is given: one is made for this session")
    await until(lambda: meeting.options is not None)
    assert meeting.made_with == [None, None, phrase, 600]
    running.task.cancel()


# Where the other side's token comes from.


@pytest.mark.parametrize("how", ["argument", "file"])
async def test_a_token_that_is_given(command: Command, meeting: FakeMeeting, tmp_path: Path, how: str) -> None:
    text = a_token()
    (tmp_path / "theirs").write_text(f"\n`{text[:40]}\n{text[40:]}`\n")
    running = Running(
        command("--message", "hi", *(["--token", text] if how == "argument" else ["--token-file", "theirs"]))
    )
    await until(lambda: len(meeting.read_texts) == 1)
    assert running.lines.asked == 0
    meeting.comes_first.set()
    await until(lambda: bool(meeting.session.messages))
    running.task.cancel()


@pytest.mark.parametrize(
    ("flags", "error", "why"),
    [
        (["--token", "hello"], TokenUnreadable, "not a token"),
        (["--token", ""], TokenUnreadable, "the token is empty"),
        (["--token", "-"], TokenUnreadable, "give --token-file -"),
        (["--token-file", "empty"], TokenUnreadable, "empty is empty"),
        (["--phrase", ""], UsageError, "the phrase is empty"),
        (["--phrase", " \t"], UsageError, "the phrase is empty"),
        (["--token-file", "old"], TokenExpired, "old"),
        (["--token-file", "missing"], UsageError, "missing cannot be read: No such file or directory"),
        (["--token-file", "."], UsageError, "cannot be read: it is a folder"),
        (["--send", "-"], UsageError, "standard input cannot be both a file and the other side's token"),
        (["--send", "-", "--token-file", "-"], UsageError, "standard input cannot be both"),
        (["--address-service", "ftp://a"], UsageError, "address service"),
        (["nothing.pem"], KeyUnreadable, "nothing.pem"),
    ],
)
def test_what_is_wrong_at_once(
    command: Command,
    meeting: FakeMeeting,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    error: type[PunchwireError],
    why: str,
) -> None:
    """Before anybody is asked for an address."""
    (tmp_path / "empty").touch()
    (tmp_path / "old").write_text(a_token(time.time() - 9000))
    code = 4 if issubclass(error, TokenExpired) else 2
    assert run(command("--message", "hi", *flags, "--json")) == code
    said = capsys.readouterr().out
    assert f'"code": "{error.code}"' in said
    assert why in said
    assert meeting.options is None


async def test_a_pipe_has_the_token_and_then_messages(command: Command, meeting: FakeMeeting) -> None:
    running = Running(command())
    running.lines.type(THEIRS, "hello", "there")
    await until(lambda: meeting.read_texts == [THEIRS])
    meeting.comes_first.set()
    await until(lambda: len(meeting.session.messages) == 2)
    assert [text for text, _ in meeting.session.messages] == ["hello", "there"]
    assert QUESTION not in running.said.notices
    running.task.cancel()


async def test_a_person_is_asked_until_it_is_one(
    command: Command, meeting: FakeMeeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch)
    running = Running(command("--message", "hi"))
    await running.says(QUESTION)
    running.lines.type("bad")
    await until(lambda: running.said.notices[-3:] == ["this is not a token", "Copy it again.", QUESTION])
    running.lines.type(THEIRS)
    meeting.comes_first.set()
    await until(lambda: bool(meeting.session.messages))
    running.task.cancel()


@pytest.mark.parametrize(
    ("flags", "advice"),
    [
        ([], "No phrase was given here. If the other side has one, give the same with --phrase."),
        (
            ["--phrase", "mine"],
            "Another phrase was given here, or the other side gave none. Give the same one on both sides.",
        ),
    ],
)
@pytest.mark.parametrize("is_person", [True, False])
async def test_another_phrase(
    command: Command,
    meeting: FakeMeeting,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    advice: str,
    is_person: bool,
) -> None:
    async def read(text: str) -> Any:
        raise TokenRejected("it was made with another phrase")

    monkeypatch.setattr(meeting, "read", read)
    if is_person:
        at_a_terminal(monkeypatch)
    running = Running(command("--message", "hi", *flags))
    running.lines.type(THEIRS)
    if is_person:
        await until(lambda: running.said.notices[-3:-1] == ["it was made with another phrase", advice])
        running.task.cancel()
        return
    with pytest.raises(TokenRejected) as caught:
        await running.end()
    assert caught.value.advice == advice


async def test_in_a_chat_what_is_asked_for_is_no_message(
    command: Command, meeting: FakeMeeting, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch)
    running = Running(command())
    await running.says(QUESTION)
    running.lines.type("/nonsense", THEIRS, "hello")
    await running.says("not sent, the other peer is not there yet: hello")
    assert "there is no command /nonsense; /help lists them" in running.said.notices
    assert meeting.read_texts == [THEIRS]
    meeting.comes_first.set()
    await running.says("type a message, or /help")
    running.lines.type("hello again")
    await until(lambda: bool(meeting.session.messages))
    running.task.cancel()


@pytest.mark.parametrize("flags", [[], ["--message", "hi"]])
async def test_who_comes_by_itself_ends_the_question(
    command: Command, meeting: FakeMeeting, monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    at_a_terminal(monkeypatch)
    running = Running(command("key.pem", "peer.pem", *flags))
    await running.says(OR_WAIT)
    meeting.comes_first.set()
    await running.says("the other side has come by itself: its token is not needed")
    if not flags:
        await running.says("type a message, or /help")
        running.lines.type("hello")
    await until(lambda: [text for text, _ in meeting.session.messages] == ["hello" if not flags else "hi"])
    running.task.cancel()


@pytest.mark.parametrize("flags", [["key.pem"], [], ["key.pem", "peer.pem", "--token-file", "-"]])
async def test_input_that_ends_without_a_token(command: Command, meeting: FakeMeeting, flags: list[str]) -> None:
    running = Running(command(*flags, "--message", "hi"))
    running.lines.type("", None)
    with pytest.raises(TokenUnreadable, match="standard input ended") as caught:
        await running.end()
    assert caught.value.advice == "Give it with --token or --token-file, or as the first line of standard input."
    assert meeting.left == 1


async def test_whoever_has_read_our_token_may_come(command: Command, meeting: FakeMeeting) -> None:
    running = Running(command("key.pem", "peer.pem", "--message", "hi"))
    running.lines.type(None)
    await running.says("no token of the other side will come; waiting for whoever has read yours")
    meeting.comes_first.set()
    await until(lambda: bool(meeting.session.messages))
    running.task.cancel()


# What is missing, and what to do.


@pytest.mark.parametrize(
    ("keys", "token", "error", "why"),
    [
        ([], None, PeerDidNotCome, "the other side's token was not given within"),
        (["key.pem", "peer.pem"], None, PeerDidNotCome, f"the other peer ({PEER.short}) did not come within"),
        ([], THEIRS, NoPath, "no connection to the other peer came up within"),
    ],
    ids=["its token", "the peer", "a path"],
)
async def test_a_timeout_says_what_was_missing(
    command: Command,
    meeting: FakeMeeting,
    keys: list[str],
    token: str | None,
    error: type[PunchwireError],
    why: str,
) -> None:
    running = Running(command(*keys, "--message", "hi", "--timeout", "0.05"))
    if token is not None:
        running.lines.type(token)
    with pytest.raises(PunchwireError) as caught:
        await running.end()
    assert type(caught.value) is error
    assert str(caught.value).startswith(why)
    assert "new tokens" in caught.value.advice


async def test_a_timeout_before_there_is_a_token(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    async def make(*_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(meet_by_token, "make_token", make)
    with pytest.raises(NoPath, match="no token was made within"):
        await Running(command("--message", "hi", "--timeout", "0.05")).end()


@pytest.mark.parametrize(
    ("flags", "error", "advice"),
    [
        (["key.pem", "--send", "key.pem"], TransferFailed, meet_by_token.MeetByToken.advice[TransferFailed]),
        (
            ["--send", "key.pem"],
            TransferFailed,
            "Make new tokens on both sides and send it again, from its beginning: the key that was made for this "
            "session is gone. With key pairs (p2p-peer keygen) it would go on where it stopped.",
        ),
        (["--message", "hi"], ConnectionLost, meet_by_token.MeetByToken.advice[ConnectionLost]),
    ],
)
async def test_a_session_that_is_lost_is_over(
    command: Command, meeting: FakeMeeting, flags: list[str], error: type[PunchwireError], advice: str
) -> None:
    """New tokens would be needed: nobody waits for the other side to come back."""
    running = Running(command(*flags))
    running.lines.type(THEIRS)
    meeting.comes_first.set()
    await until(lambda: bool(meeting.session.messages or meeting.session.sendings))
    meeting.session.lose()
    with pytest.raises(PunchwireError) as caught:
        await running.end()
    assert type(caught.value) is error
    assert caught.value.advice == advice
    assert running.said.losses == []


async def test_what_is_here_is_here_though_the_other_side_may_not_know(
    command: Command, meeting: FakeMeeting, tmp_path: Path
) -> None:
    session = meeting.session
    running = Running(command("--receive", "--yes"))
    running.lines.type(THEIRS)
    meeting.comes_first.set()
    offered = session.offer()
    await until(lambda: bool(session.accepted))
    session.received(offered, tmp_path / "a.txt")

    async def close(reason: str = "") -> None:
        session.lose()

    session.close = close  # type: ignore[method-assign]
    await running.end()
