"""What a chat, a pipe and an errand do with a session: on a real one, with the other side moved by hand."""

import asyncio
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
from p2p_core import limits
from p2p_core.errors import ConnectionLost, PunchwireError, Refused, TransferFailed, UsageError
from p2p_core.proof import Role
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Done,
    FileAnswer,
    FileEnd,
    FileOffer,
    FileReceipt,
    MessageAck,
    Ping,
    Pong,
    TextMessage,
)
from p2p_peer.channel import pump as pump_module
from p2p_peer.cli import modes
from p2p_peer.cli.modes import Chat, Errand, Pipe
from p2p_peer.cli.run import _Run
from p2p_peer.events import ConnectEvent, FileReceived, MessageReceived, SessionEvent

from tests.peer.other_side import BLOCK_SIZE, OtherSide, block
from tests.peer.pair import channels, session_on, soon, until


class Lines:
    """Implements what modes need of `InputLines`."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self.asked = 0

    async def next(self) -> str | None:
        self.asked += 1
        return await self._lines.get()

    @property
    def has_more(self) -> bool:
        return not self._lines.empty()

    def type(self, *lines: str | None) -> None:
        for line in lines:
            self._lines.put_nowait(line)


class Said:
    """Implements `Report` by writing down what it is told."""

    def __init__(self) -> None:
        self.notices: list[str] = []
        self.events: list[SessionEvent] = []
        self.ends: list[str] = []

    def connecting(self, event: ConnectEvent) -> None:
        pass

    def connected(self, session: Any, seconds: float) -> None:
        pass

    def happened(self, session: Any, event: SessionEvent) -> None:
        self.events.append(event)

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def closed(self, reason: str) -> None:
        self.ends.append(reason)

    def failed(self, error: PunchwireError) -> None:
        pass

    def stop(self) -> None:
        pass


class Scene:
    """One mode on a live session; the other side is moved by hand."""

    def __init__(self, session: Any, other: OtherSide) -> None:
        self.session, self.other = session, other
        self.lines, self.said = Lines(), Said()
        self.sent_by_other = 0

    def begin(self, kind: type, **options: Any) -> "asyncio.Task[None]":
        chosen = Namespace(yes=False, message=[], send=[], receive=None, timeout=None)
        vars(chosen).update(options)
        run = _Run(chosen, self.said)
        run._mode = lambda session, lines: kind(session, chosen, self.said, lines)  # type: ignore[assignment,method-assign]
        self.running = asyncio.create_task(run._drive(self.session, self.lines))  # type: ignore[arg-type]
        return self.running

    async def texts(self, count: int) -> list[str]:
        """The first messages that came, acknowledged."""
        await self.other.wait_for(TextMessage, count)
        self.other.send(MessageAck(count))
        return [frame.text for frame in self.other.came if isinstance(frame, TextMessage)]

    async def notice(self, text: str) -> None:
        await until(lambda: any(text in notice for notice in self.said.notices))

    def offer(self, size: int = 5, name: str = "a.txt") -> FileOffer:
        """Offer a file."""
        offer = FileOffer(2 + 2 * self.sent_by_other, name, size, 0o644, 10**18, BLOCK_SIZE)
        self.sent_by_other += 1
        self.other.send(offer)
        return offer

    async def send_whole(self, offer: FileOffer, content: bytes) -> None:
        self.other.send(block(content, 0, offer.transfer), self.other.end_of(offer, content))
        await self.other.wait_for(FileReceipt)

    async def answer(self, count: int = 1) -> FileAnswer:
        return await self.other.wait_for(FileAnswer, count)

    async def leave(self, reason: str = "") -> None:
        """The other side leaves: properly, or for a reason."""
        self.other.send(Close(reason))
        await self.other.wait_for(Close)
        await self.other.pump.close()

    async def leave_after_close(self) -> None:
        """The other side has said its farewell already."""
        await self.other.wait_for(Close)
        await self.other.pump.close()

    async def farewell(self) -> None:
        """Answer the mode's farewell."""
        await self.other.wait_for(Close)
        self.other.send(Close())
        await self.other.pump.close()

    async def end(self) -> None:
        await soon(self.running)


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)  # received files go here
    monkeypatch.setattr(pump_module, "LINGER", 0.05)  # the other side does not end its stream by itself
    monkeypatch.setattr(modes, "_QUIET", 0.01)
    ours, theirs = await channels()
    made = Scene(session_on(ours, Role.INITIATOR), OtherSide(theirs, Role.RESPONDER))
    yield made
    made.other.pump.abandon()
    if hasattr(made, "running"):
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)
    await soon(made.session.abort("the test is over"))


# The chat.


async def test_chat_lines_are_messages(scene: Scene) -> None:
    scene.begin(Chat)
    scene.lines.type("hello", "", "//not a command", " /nor this", "/quit")
    assert await scene.texts(3) == ["hello", "/not a command", " /nor this"]
    await scene.farewell()
    await scene.end()
    assert scene.said.ends == [""]


async def test_chat_ends_with_the_input(scene: Scene) -> None:
    scene.begin(Chat)
    scene.lines.type(None)
    await scene.farewell()
    await scene.end()


async def test_chat_ends_when_the_other_side_leaves(scene: Scene) -> None:
    scene.begin(Chat)
    await scene.leave("bye")
    await scene.end()
    assert scene.said.ends == ["bye"]


async def test_chat_says_that_the_connection_was_lost(scene: Scene) -> None:
    scene.begin(Chat)
    scene.lines.type("hello")
    await scene.other.wait_for(TextMessage)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()
    assert scene.said.ends == []


async def test_chat_does_not_know_every_command(scene: Scene) -> None:
    scene.begin(Chat)
    scene.lines.type("/help", "/send", "/sendfile x", "hello")
    assert await scene.texts(1) == ["hello"]
    assert scene.said.notices == ["commands: /send PATH, /quit; a message that begins with / is typed with //"] * 3


async def test_chat_goes_on_after_what_cannot_be_said(scene: Scene) -> None:
    scene.begin(Chat)
    scene.lines.type("x" * (limits.MAX_TEXT_BYTES + 1), "short")
    assert await scene.texts(1) == ["short"]
    assert scene.said.notices == [f"a message has at most {limits.MAX_TEXT_BYTES} bytes"]


async def test_chat_says_that_the_other_side_is_leaving(scene: Scene) -> None:
    """It leaves once our last message is acknowledged; what is typed meanwhile is not sent."""
    scene.begin(Chat)
    scene.lines.type("hello")
    await scene.other.wait_for(TextMessage)
    scene.other.send(Close())
    await until(lambda: scene.session._other_leaves)
    scene.lines.type("too late")
    await scene.notice("the other side is leaving")
    scene.other.send(MessageAck(1))
    await scene.leave_after_close()
    await scene.end()


async def test_chat_sends_a_file(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "my file").write_bytes(b"hello")
    scene.begin(Chat)
    scene.lines.type("/send  my file ")
    offer = await scene.other.wait_for(FileOffer)
    assert offer.name == "my file"
    scene.other.send(FileAnswer(offer.transfer, accepted=True))
    await scene.other.wait_for(FileEnd)
    scene.lines.type("a message meanwhile")
    await scene.texts(1)
    scene.other.send(scene.other.receipt_for(offer, b"hello"))
    await until(lambda: any(type(event).__name__ == "FileSent" for event in scene.said.events))


async def test_chat_says_why_a_file_was_not_sent(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    scene.begin(Chat)
    scene.lines.type("/send nothing", "/send file")
    await scene.notice("nothing cannot be read: No such file or directory")
    offer = await scene.other.wait_for(FileOffer)
    scene.other.send(FileAnswer(offer.transfer, accepted=False, reason="too large"))
    await scene.notice("the other side did not take file: too large")


async def test_chat_finds_the_home_folder(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    monkeypatch.setenv("HOME", str(tmp_path))
    scene.begin(Chat)
    scene.lines.type("/send ~/file")
    assert (await scene.other.wait_for(FileOffer)).name == "file"


async def test_chat_gives_up_its_files_when_it_quits(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    scene.begin(Chat)
    scene.lines.type("/send file")
    await scene.other.wait_for(FileOffer)
    scene.lines.type("/quit")
    assert (await scene.other.wait_for(Cancel)).reason == "the sender gave up"
    await scene.farewell()
    await scene.end()


@pytest.mark.parametrize(("answer", "taken"), [("y", True), (" Yes ", True), ("n", False), ("NO", False)])
async def test_chat_asks_about_a_file(scene: Scene, tmp_path: Path, answer: str, taken: bool) -> None:
    scene.begin(Chat)
    offer = scene.offer()
    await scene.notice("accept a.txt? [y/n]")
    scene.lines.type("what is it?")  # the chat goes on meanwhile
    assert await scene.texts(1) == ["what is it?"]
    scene.lines.type(answer)
    assert (await scene.answer()).accepted is taken
    assert len(scene.said.notices) == 1
    if taken:
        await scene.send_whole(offer, b"hello")
        assert (tmp_path / "a.txt").read_bytes() == b"hello"
    scene.lines.type("y")  # nothing is asked any more: this is a message
    assert await scene.texts(2) == ["what is it?", "y"]


async def test_chat_can_be_left_when_a_file_is_asked_about(scene: Scene) -> None:
    scene.begin(Chat)
    scene.offer()
    await scene.notice("accept a.txt? [y/n]")
    scene.lines.type("/quit")
    assert not (await scene.answer()).accepted
    await scene.farewell()
    await scene.end()


async def test_chat_asks_about_one_file_after_the_other(scene: Scene) -> None:
    scene.begin(Chat)
    for name in ("a", "b", "c"):
        scene.offer(name=name)
    await scene.notice("accept a?")
    scene.lines.type("y", "n", "y")
    await scene.answer(3)
    answers = [(frame.transfer, frame.accepted) for frame in scene.other.came if isinstance(frame, FileAnswer)]
    assert answers == [(2, True), (4, False), (6, True)]
    assert scene.said.notices == [f"accept {name}? [y/n]" for name in "abc"]


async def test_chat_does_not_ask_about_what_is_not_offered_any_more(scene: Scene) -> None:
    scene.begin(Chat)
    first, second, third = scene.offer(name="a"), scene.offer(name="b"), scene.offer(name="c")
    await scene.notice("accept a?")
    scene.other.send(Cancel(second.transfer, "never mind"), Cancel(first.transfer, "never mind"))
    await scene.notice("accept c?")
    scene.lines.type("n")
    assert (await scene.answer()).transfer == third.transfer
    assert scene.said.notices == ["accept a? [y/n]", "accept c? [y/n]"]


@pytest.mark.parametrize("answer", ["y", "n"])
async def test_chat_answers_too_late(scene: Scene, answer: str) -> None:
    """The offer was withdrawn in the very moment in which the answer was typed."""
    scene.begin(Chat)
    offer = scene.offer()
    await scene.notice("accept a.txt?")
    scene.session._incoming.drop(offer.transfer)  # as a Cancel does, whose event is still on its way
    scene.lines.type(answer, "hello")
    assert await scene.texts(1) == ["hello"]
    assert scene.said.notices[1:] == (["a.txt is not offered any more"] if answer == "y" else [])


async def test_chat_with_yes_takes_everything(scene: Scene, tmp_path: Path) -> None:
    scene.begin(Chat, yes=True)
    offer = scene.offer()
    assert (await scene.answer()).accepted
    await scene.send_whole(offer, b"hello")
    assert (tmp_path / "a.txt").read_bytes() == b"hello"
    assert scene.said.notices == []


async def test_chat_says_why_a_file_cannot_be_taken(scene: Scene) -> None:
    scene.begin(Chat, yes=True)
    scene.offer(name="../up")
    await scene.notice("the file's name is a path")
    assert not (await scene.answer()).accepted


# The pipe.


async def test_pipe_lines_are_messages_whatever_they_say(scene: Scene) -> None:
    scene.begin(Pipe)
    scene.lines.type("hello", "", "/quit", "/send x", None)
    assert await scene.texts(4) == ["hello", "", "/quit", "/send x"]
    await scene.other.wait_for(Done)
    assert not scene.running.done()  # until the other side is done too
    scene.other.send(Done())
    await scene.farewell()
    await scene.end()
    assert scene.said.notices == []


async def test_pipe_waits_for_the_acknowledgements(scene: Scene) -> None:
    scene.begin(Pipe)
    scene.lines.type("hello", None)
    await scene.other.wait_for(TextMessage)
    scene.other.send(Done(), Ping(1))
    await scene.other.wait_for(Pong)
    assert not [frame for frame in scene.other.came if isinstance(frame, Done | Close)]
    scene.other.send(MessageAck(1))
    await scene.farewell()
    await scene.end()


async def test_pipe_does_not_flood_the_other_side(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes, "_MAX_UNACKNOWLEDGED", 3)
    scene.begin(Pipe)
    scene.lines.type(*map(str, range(10)), None)
    await scene.other.wait_for(TextMessage, 4)
    for _ in range(50):
        await asyncio.sleep(0)
    assert scene.lines.asked == 4
    for count in range(4, 11):
        await scene.texts(count)
    await scene.other.wait_for(Done)


async def test_pipe_ends_when_the_other_side_leaves(scene: Scene) -> None:
    """Though more may come: what had come was said and acknowledged."""
    scene.begin(Pipe)
    scene.lines.type("hello")
    await scene.texts(1)
    await scene.leave()
    await scene.end()
    assert scene.said.ends == [""]


async def test_pipe_that_was_cut_off_says_so(scene: Scene) -> None:
    """What came may be a part only, and is not to be taken for the whole."""
    scene.begin(Pipe)
    await scene.leave("interrupted")
    with pytest.raises(ConnectionLost, match="interrupted"):
        await scene.end()


async def test_pipe_says_so_when_a_line_comes_too_late(scene: Scene) -> None:
    """The other side waits for our last acknowledgement when the line comes: it cannot be sent any more."""
    scene.begin(Pipe)
    scene.lines.type("hello")
    await scene.other.wait_for(TextMessage)
    scene.other.send(Close())
    await until(lambda: scene.session._other_leaves)
    scene.lines.type("too late", None)
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_says_so_when_lines_were_left_unread(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for an acknowledgement when the session ends, and has not even taken the next line."""
    monkeypatch.setattr(modes, "_MAX_UNACKNOWLEDGED", 0)
    scene.begin(Pipe)
    scene.lines.type("one", "two")
    await scene.other.wait_for(TextMessage)
    scene.other.send(MessageAck(1), Close())
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_says_that_the_connection_was_lost(scene: Scene) -> None:
    scene.begin(Pipe)
    scene.lines.type("hello", None)
    await scene.other.wait_for(TextMessage)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()


async def test_pipe_with_a_line_that_is_too_long(scene: Scene) -> None:
    scene.begin(Pipe)
    scene.lines.type("hello", "x" * (limits.MAX_TEXT_BYTES + 1))
    with pytest.raises(UsageError, match="a line of standard input cannot be sent"):
        await scene.end()


async def test_pipe_takes_files_only_with_yes(scene: Scene) -> None:
    scene.begin(Pipe)
    scene.offer()
    answer = await scene.answer()
    assert (answer.accepted, answer.reason) == (False, "nobody is there to be asked")
    await scene.notice("refused a.txt")


async def test_pipe_with_yes(scene: Scene, tmp_path: Path) -> None:
    scene.begin(Pipe, yes=True)
    offer = scene.offer()
    assert (await scene.answer()).accepted
    await scene.send_whole(offer, b"hello")
    assert (tmp_path / "a.txt").read_bytes() == b"hello"


# Errands.


async def test_errand_messages(scene: Scene) -> None:
    scene.begin(Errand, message=["one", "two"])
    assert await scene.texts(2) == ["one", "two"]
    await scene.farewell()
    await scene.end()


async def test_errand_messages_are_said_before_the_farewell_is_heard(scene: Scene) -> None:
    """The other side may have done its own errand before ours has begun."""
    scene.other.send(Close())
    scene.begin(Errand, message=["one"])
    await until(lambda: scene.session._other_leaves)
    assert await scene.texts(1) == ["one"]
    await scene.leave_after_close()
    await scene.end()


async def test_errand_files(scene: Scene, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    scene.begin(Errand, send=[tmp_path / "a", tmp_path / "b"])
    for count, name in enumerate((b"a", b"b"), start=1):
        offer = await scene.other.wait_for(FileOffer, count)
        scene.other.send(FileAnswer(offer.transfer, accepted=True))
        await scene.other.wait_for(FileEnd, count)
        scene.other.send(scene.other.receipt_for(offer, name))
    await scene.farewell()
    await scene.end()


async def test_errand_refused(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    scene.begin(Errand, send=[tmp_path / "a"])
    offer = await scene.other.wait_for(FileOffer)
    scene.other.send(FileAnswer(offer.transfer, accepted=False, reason="no"))
    with pytest.raises(Refused):
        await scene.end()


@pytest.mark.parametrize("how", ["cancelled", "lost", "leaving", "left"])
async def test_errand_file_that_does_not_arrive(scene: Scene, tmp_path: Path, how: str) -> None:
    (tmp_path / "a").write_bytes(b"a")
    scene.begin(Errand, message=["first"] if how == "leaving" else [], send=[tmp_path / "a"])
    if how == "leaving":
        await scene.other.wait_for(TextMessage)
        scene.other.send(Close())
        await until(lambda: scene.session._other_leaves)
        scene.other.send(MessageAck(1))
    else:
        offer = await scene.other.wait_for(FileOffer)
        if how == "cancelled":
            scene.other.send(Cancel(offer.transfer, "disk full"))
        elif how == "lost":
            scene.other.pump.abandon()
        else:
            scene.other.send(Close())
            scene.other.send(FileAnswer(offer.transfer, accepted=False, reason="the other side is leaving"))
    with pytest.raises(Refused if how == "left" else TransferFailed):
        await scene.end()


async def test_errand_message_that_is_not_acknowledged(scene: Scene) -> None:
    scene.begin(Errand, message=["one"])
    await scene.other.wait_for(TextMessage)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()


async def test_errand_receives_into_a_folder(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    scene.lines = None  # type: ignore[assignment]
    scene.begin(Errand, receive=tmp_path / "inbox", yes=True)
    offer = scene.offer()
    assert (await scene.answer()).accepted
    await scene.send_whole(offer, b"hello")
    await scene.farewell()
    await scene.end()
    assert (tmp_path / "inbox" / "a.txt").read_bytes() == b"hello"
    assert any(isinstance(event, FileReceived) for event in scene.said.events)


async def test_errand_does_not_accept_without_being_told(scene: Scene, tmp_path: Path) -> None:
    scene.lines = None  # type: ignore[assignment]
    scene.begin(Errand, receive=tmp_path)
    scene.offer()
    assert not (await scene.answer()).accepted
    with pytest.raises(Refused, match="--yes accepts without asking"):
        await scene.end()


@pytest.mark.parametrize(("answers", "taken"), [(["y"], True), (["?", "yes"], True), (["n"], False), ([None], False)])
async def test_errand_asks_at_a_terminal(scene: Scene, tmp_path: Path, answers: list[str | None], taken: bool) -> None:
    scene.begin(Errand, receive=tmp_path)
    offer = scene.offer()
    await scene.notice("accept a.txt? [y/n]")
    scene.lines.type(*answers)
    assert (await scene.answer()).accepted is taken
    if taken:
        await scene.send_whole(offer, b"hello")
        await scene.farewell()
        await scene.end()
    else:
        with pytest.raises(Refused, match="not accepted"):
            await scene.end()


async def test_errand_receives_one_file(scene: Scene, tmp_path: Path) -> None:
    scene.lines = None  # type: ignore[assignment]
    scene.begin(Errand, receive=tmp_path, yes=True)
    first, second = scene.offer(name="a"), scene.offer(name="b")
    answers = [await scene.answer(), await scene.answer(2)]
    assert [answer.accepted for answer in answers] == [True, False]
    assert answers[1].transfer == second.transfer
    assert answers[1].reason == "only one file was asked for"
    await scene.send_whole(first, b"hello")
    await scene.farewell()
    await scene.end()


async def test_errand_lets_the_other_side_finish(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is done, and leaves when the other side is done too, or says nothing for a while."""
    monkeypatch.setattr(modes, "_QUIET", 3600)
    scene.begin(Errand, message=["one"])
    await scene.texts(1)
    await scene.other.wait_for(Done)
    scene.other.send(scene.other.message(1, "an answer"), Ping(1))
    await scene.other.wait_for(Pong)
    assert not scene.running.done()
    scene.other.send(Done())
    await scene.farewell()
    await scene.end()
    assert any(isinstance(event, MessageReceived) for event in scene.said.events)


async def test_errand_that_is_done_does_not_wait_for_one_who_is_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modes, "_QUIET", 3600)
    scene.begin(Errand, message=["one"])
    await scene.texts(1)
    await scene.other.wait_for(Done)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()


@pytest.mark.parametrize("how", ["left before", "left meanwhile", "lost meanwhile", "corrupt", "unsafe"])
async def test_errand_does_not_receive(scene: Scene, tmp_path: Path, how: str) -> None:
    scene.lines = None  # type: ignore[assignment]
    scene.begin(Errand, receive=tmp_path, yes=True)
    if how == "left before":
        await scene.leave()
    else:
        offer = scene.offer(name="../up" if how == "unsafe" else "a.txt")
        await scene.answer()
        if how == "left meanwhile":
            await scene.leave()
        elif how == "lost meanwhile":
            scene.other.pump.abandon()
        elif how == "corrupt":
            scene.other.send(block(b"hello", 0, offer.transfer, digest=bytes(32)))
    with pytest.raises(TransferFailed):
        await scene.end()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("yes", [True, False])
async def test_errand_of_another_kind_is_offered_a_file(scene: Scene, tmp_path: Path, yes: bool) -> None:
    scene.lines = None  # type: ignore[assignment]
    scene.begin(Errand, message=["one"], yes=yes)
    offer = scene.offer()
    assert (await scene.answer()).accepted is yes
    if yes:
        await scene.send_whole(offer, b"hello")
        assert (tmp_path / "a.txt").exists()
    await scene.texts(1)
    await scene.farewell()
    await scene.end()
