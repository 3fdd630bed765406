"""What the chat does with a session: on a real one, with the other side moved by hand."""

import asyncio
import re
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.errors import ConnectionLost
from p2p_core.proof import PathKind
from p2p_core.wire.candidate import Address
from p2p_core.wire.frames import Cancel, Close, Done, FileAnswer, FileEnd, FileOffer, MessageAck, Ping, TextMessage
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.chat_commands import CHAT_COMMANDS, ESCAPE
from p2p_peer.events import FileFailed, FileSent, PathChanged, PathLost, StillLooking

from tests.peer.other_side import BLOCK_SIZE
from tests.peer.pair import soon, until
from tests.peer.scene import Scene, TypedLines

COMMANDS = [usage.split()[0] for usage, _ in CHAT_COMMANDS]
HINT = "type a message, or /help"


async def test_chat_lines_are_messages(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("hello", "", "//not a command", " /nor this", "/quit")
    assert await scene.texts(3) == ["hello", "/not a command", " /nor this"]
    await scene.farewell()
    await scene.end()
    assert scene.said.ends == [""]


async def test_chat_ends_with_the_input(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type(None)
    await scene.farewell()
    await scene.end()


async def test_chat_ends_when_the_other_side_leaves(scene: Scene) -> None:
    scene.begin_chat()
    await scene.leave("bye")
    await scene.end()
    assert scene.said.ends == ["bye"]


async def test_chat_says_that_the_connection_was_lost(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("hello")
    await scene.other.wait_for(TextMessage)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()
    assert scene.said.ends == []


async def test_chat_says_that_the_other_side_is_done(scene: Scene) -> None:
    scene.begin_chat()
    scene.other.send(Done())
    await scene.notice("the other side has nothing more to send")


async def test_chat_does_not_know_every_command(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("/nonsense", "/send", "/sendfile x", "hello")
    assert await scene.texts(1) == ["hello"]
    assert scene.said.notices == [
        HINT,
        "there is no command /nonsense; /help lists them",
        "which file? /send PATH",
        "there is no command /sendfile; /help lists them",
    ]
    assert scene.lines.commands == ["/nonsense", "/send", "/sendfile x"]


async def test_chat_goes_on_after_what_cannot_be_said(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("x" * (limits.MAX_TEXT_BYTES + 1), "short")
    assert await scene.texts(1) == ["short"]
    assert f"{limits.MAX_TEXT_BYTES} bytes" in scene.said.notices[-1]
    assert scene.lines.own == []


async def test_chat_says_that_the_other_side_is_leaving(scene: Scene) -> None:
    """It leaves once our last message is acknowledged; what is typed meanwhile is not sent."""
    scene.begin_chat()
    scene.lines.type("hello")
    await scene.other.wait_for(TextMessage)
    scene.other.send(Close())
    await until(lambda: scene.session._driver._other_leaves)
    scene.lines.type("too late")
    await scene.notice("the other side is leaving")
    scene.other.send(MessageAck(1))
    await scene.leave_after_close()
    await scene.end()


async def test_chat_sends_a_file(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "my file").write_bytes(b"hello")
    scene.begin_chat()
    scene.lines.type("/send  my file ")
    offer = await scene.other.wait_for(FileOffer)
    assert offer.name == "my file"
    await scene.notice("offered my file (5 B); waiting for the other side to accept")
    scene.other.send(FileAnswer(offer.transfer, accepted=True))
    await scene.other.wait_for(FileEnd)
    scene.lines.type("a message meanwhile")
    await scene.texts(1)
    scene.other.send(scene.other.receipt_for(offer, b"hello"))
    await until(lambda: any(isinstance(event, FileSent) for event in scene.said.events))


async def test_chat_says_why_a_file_was_not_sent(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    scene.begin_chat()
    scene.lines.type("/send nothing", "/send file")
    await scene.notice("not sent: nothing cannot be read: No such file or directory")
    offer = await scene.other.wait_for(FileOffer)
    scene.other.send(FileAnswer(offer.transfer, accepted=False, reason="too large"))
    await scene.notice("the other side did not take file: too large")


async def test_chat_finds_the_home_folder(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    monkeypatch.setenv("HOME", str(tmp_path))
    scene.begin_chat()
    scene.lines.type("/send ~/file")
    assert (await scene.other.wait_for(FileOffer)).name == "file"


async def test_chat_gives_up_its_files_when_it_quits_twice(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"hello")
    scene.begin_chat()
    theirs = scene.offer(size=BLOCK_SIZE + 1)
    await scene.notice("/accept takes it")
    scene.lines.type("/accept", "/send file")
    ours = await scene.other.wait_for(FileOffer)
    scene.lines.type("/quit")
    await scene.notice("file, a.txt: still under way; /quit again gives that up")
    scene.lines.type("/quit")
    await scene.other.wait_for(Cancel, 2)
    assert {frame.transfer for frame in scene.other.came if isinstance(frame, Cancel)} == {
        ours.transfer,
        theirs.transfer,
    }
    await scene.farewell()
    await scene.end()
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


async def test_quitting_twice_leaves_whatever_the_other_side_offers_meanwhile(scene: Scene) -> None:
    scene.begin_chat(accepts=True)
    first = scene.offer(size=BLOCK_SIZE)
    await scene.answer()
    scene.lines.type("/quit")
    await scene.notice("a.txt: still under way")
    scene.other.send(Cancel(first.transfer, ""))
    scene.offer(size=BLOCK_SIZE, name="another.txt")
    await scene.answer(2)
    scene.lines.type("/quit")
    await scene.farewell()
    await scene.end()


async def test_quitting_is_warned_of_again_after_something_else_was_typed(scene: Scene) -> None:
    scene.begin_chat(accepts=True)
    scene.offer(size=BLOCK_SIZE)
    await scene.answer()
    scene.lines.type("/quit", "well, no", "/quit")
    await until(lambda: sum("still under way" in notice for notice in scene.said.notices) == 2)
    assert not scene.chat.has_left  # type: ignore[union-attr]


@pytest.mark.parametrize(("command", "taken"), [("/accept", True), ("/accept 1", True), ("/reject", False)])
async def test_chat_asks_about_a_file(scene: Scene, tmp_path: Path, command: str, taken: bool) -> None:
    scene.begin_chat()
    offer = scene.offer()
    await scene.notice("/accept takes it, /reject refuses it")
    scene.lines.type("yes", "y")  # no consent: the chat goes on meanwhile
    assert await scene.texts(2) == ["yes", "y"]
    scene.lines.type(command)
    assert (await scene.answer()).accepted is taken
    if taken:
        await scene.send_whole(offer, b"hello")
        assert (tmp_path / "a.txt").read_bytes() == b"hello"
    scene.lines.type(command)
    await scene.notice("no file is offered")


async def test_chat_can_be_left_when_a_file_is_asked_about(scene: Scene) -> None:
    scene.begin_chat()
    scene.offer()
    await scene.notice("/accept takes it")
    scene.lines.type("/quit")
    assert not (await scene.answer()).accepted
    await scene.farewell()
    await scene.end()


async def test_chat_takes_one_of_several_files_by_its_number(scene: Scene) -> None:
    scene.begin_chat()
    for name in ("a", "b", "c"):
        scene.offer(name=name)
    await scene.notice("/accept 3 takes it, /reject 3 refuses it")
    scene.lines.type("/accept")
    await scene.notice("which one? 1 a, 2 b, 3 c")
    scene.lines.type("/accept 4", "/accept x", f"/accept {'2' * 5000}", "/accept 2", "/reject 1", "/accept")
    await scene.answer(3)
    answers = [(frame.transfer, frame.accepted) for frame in scene.other.came if isinstance(frame, FileAnswer)]
    assert answers == [(4, True), (2, False), (6, True)]
    for wrong in "4x":
        await scene.notice(f"no file is offered with the number {wrong}")


async def test_chat_does_not_take_what_is_not_offered_any_more(scene: Scene) -> None:
    scene.begin_chat()
    first, second = scene.offer(name="a"), scene.offer(name="b")
    await scene.notice("/accept 2 takes it")
    scene.other.send(Cancel(first.transfer, "never mind"))
    await until(lambda: any(isinstance(event, FileFailed) for event in scene.said.events))
    scene.lines.type("/accept")  # meant for the first
    await scene.notice("which one? 2 b")
    third = scene.offer(name="c")
    await scene.notice("/accept 3 takes it")
    scene.lines.type("/accept 2", "/accept")
    assert (await scene.answer()).transfer == second.transfer
    await scene.notice("which one? 3 c")  # it has been so once: from now on a number is asked for
    scene.lines.type("/accept 3")
    await scene.answer(2)
    accepted = [frame.transfer for frame in scene.other.came if isinstance(frame, FileAnswer)]
    assert accepted == [second.transfer, third.transfer]


@pytest.mark.parametrize("command", ["/accept", "/reject"])
async def test_chat_answers_too_late(scene: Scene, command: str) -> None:
    """The offer was withdrawn in the very moment in which the answer was typed."""
    scene.begin_chat()
    offer = scene.offer()
    await scene.notice("/accept takes it")
    scene.session._driver.incoming.drop(offer.transfer)  # as a Cancel does, whose event is still on its way
    scene.lines.type(command, "hello")
    assert await scene.texts(1) == ["hello"]
    assert ("a.txt is not offered any more" in scene.said.notices) is (command == "/accept")


async def test_chat_with_yes_takes_everything(scene: Scene, tmp_path: Path) -> None:
    scene.begin_chat(accepts=True)
    offer = scene.offer()
    assert (await scene.answer()).accepted
    await scene.send_whole(offer, b"hello")
    assert (tmp_path / "a.txt").read_bytes() == b"hello"
    assert scene.said.notices == [HINT]


async def test_chat_says_why_a_file_cannot_be_taken(scene: Scene) -> None:
    scene.begin_chat(accepts=True)
    scene.offer(name="../up")
    await scene.notice("a name that is a path")
    assert not (await scene.answer()).accepted


async def test_chat_marks_its_messages(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("one", "two")
    await scene.other.wait_for(TextMessage, 2)
    assert scene.lines.own == []
    scene.other.send(MessageAck(1))
    await until(lambda: scene.lines.own == [("one", True)])
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()
    assert scene.lines.own == [("one", True), ("two", False)]


async def test_chat_tells_how_it_is_connected(scene: Scene) -> None:
    scene.begin_chat()
    ping = await scene.other.wait_for(Ping)
    scene.other.send(scene.other.pong(ping))
    await until(lambda: scene.session.round_trip is not None)
    scene.offer(name="their.txt")
    await scene.notice("/accept takes it")
    scene.lines.type("/status")
    await scene.notice("their.txt (5 B)")
    told = {notice[:13].strip(): notice[14:] for notice in scene.said.notices[2:]}
    assert re.fullmatch(r"since \d\d:\d\d:\d\d, for 0:0\d", told["connected"])
    assert told["path"] == f"direct over TCP at {scene.session.address}"
    assert re.fullmatch(r"\d+\.\d ms", told["round trip"])
    assert told["key exchange"] == "X25519MLKEM768, both keys proved on it"
    assert told["peer id"] == str(scene.session.peer)
    assert [*told["peer's words"].split(), *told[""].split()] == list(scene.session.peer.words)
    assert told["offered"] == "1 their.txt (5 B)"


async def test_chat_goes_on_over_another_path(scene: Scene) -> None:
    """What is typed meanwhile waits for it; /status says which it is."""
    scene.begin_chat()
    await scene.notice(HINT)
    scene.session._driver._emit(PathLost(ConnectionLost("why")))
    await until(lambda: len(scene.said.events) == 1)
    scene.lines.type("/status")
    await scene.notice("path          lost at ")
    await scene.notice("round trip    none: there is no connection")
    scene.session._driver._emit(StillLooking("the other side did not come"))
    await until(lambda: len(scene.said.events) == 2)
    scene.lines.type("/status")
    await scene.notice("; still looking: the other side did not come")
    assert scene.lines.waits == [True]
    scene.session._driver._emit(PathChanged(PathKind.RELAY, Address.of("192.0.2.1", 54700), "no luck"))
    await until(lambda: len(scene.said.events) == 3)
    assert scene.lines.waits == [True, False]
    scene.lines.type("/status")
    await scene.notice("path          through the mediator's relay (no luck)")
    scene.lines.type("hello")
    assert await scene.texts(1) == ["hello"]


async def test_chat_helps(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("/help")
    await scene.notice(ESCAPE)
    assert [notice.split()[0] for notice in scene.said.notices[1:-1]] == [
        usage.split()[0] for usage, _ in CHAT_COMMANDS
    ]


async def test_every_command_is_in_the_list() -> None:
    chat = Chat(TypedLines(), accepts=False)
    assert list(chat._commands) == COMMANDS


@pytest.mark.parametrize("typed", ["my photo.jpg", "'my photo.jpg'", r"my\ photo.jpg", '"my photo.jpg"'])
async def test_a_path_as_it_is_typed_or_dropped(scene: Scene, tmp_path: Path, typed: str) -> None:
    (tmp_path / "my photo.jpg").write_bytes(b"hello")
    scene.begin_chat()
    scene.lines.type(f"/send {typed}")
    assert (await scene.other.wait_for(FileOffer)).name == "my photo.jpg"


@pytest.mark.parametrize(
    "typed", ["it's", "a b", "~nobody-of-that-name/x", "\\", "x" * 300, "../" * 2000, "~a\0b", "'a\0b'", "~root\0"]
)
async def test_a_path_that_is_none(scene: Scene, typed: str) -> None:
    scene.begin_chat()
    scene.lines.type(f"/send {typed}", "hello")
    assert await scene.texts(1) == ["hello"]
    await scene.notice("not sent")


# Before the other peer is there.


async def test_nobody_is_there_yet() -> None:
    lines = TypedLines()
    chat = Chat(lines, accepts=False)
    chat.start()
    lines.type("hello?", "/send x", "/accept", "/status", "/quit", "never read")
    await soon(chat.left())
    await chat.stop()
    assert lines.notices[:3] == [
        "not sent, the other peer is not there yet: hello?",
        "no file is sent: the other peer is not there yet",
        "no file is offered",
    ]
    assert lines.notices[3].startswith("waiting for the other peer since ")
    assert lines.asked == 5


@pytest.mark.parametrize(("typed", "answer"), [([" yes "], True), (["y", "", "no"], False)])
async def test_a_question_is_asked_until_it_is_answered(typed: list[str], answer: bool) -> None:
    lines = TypedLines()
    chat = Chat(lines, accepts=False)
    lines.type(*typed)
    assert await soon(chat.ask("really?")) is answer
    assert lines.notices == ["really?"] * len(typed)
    lines.type("hello?")
    await until(lambda: lines.notices[-1].startswith("not sent"))
    await chat.stop()


@pytest.mark.parametrize("typed", ["/quit", None])
async def test_a_question_can_be_left(typed: str | None) -> None:
    lines = TypedLines()
    chat = Chat(lines, accepts=False)
    lines.type(typed)
    asking = asyncio.create_task(chat.ask("really?"))
    await soon(chat.left())
    assert chat.has_left
    assert not asking.done()
    asking.cancel()
    await chat.stop()
