"""What the chat does with a session."""

import asyncio
import re
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.errors import ConnectionLost, Refused, TransferFailed
from p2p_core.proof import PathKind
from p2p_core.token_sealing import seal_token
from p2p_core.wire.candidate import Address
from p2p_core.wire.token import Token
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.chat import Chat
from p2p_peer.cli.chat_commands import CHAT_COMMANDS, ESCAPE
from p2p_peer.events import PathChanged, PathLost, PeerDone, StillLooking, TransferBroken
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import SendOptions

from tests.peer.fake_session import PEER
from tests.peer.pair import soon, until
from tests.peer.scene import Scene, TypedLines, file_of

TOKEN = seal_token(Token(issued=1, expires=2, share=bytes(12), fingerprint=bytes(16), candidates=()), bytes(64)).text
COMMANDS = [usage.split()[0] for usage, _ in CHAT_COMMANDS]
HINT = "type a message, or /help"
PHOTOS = ("photos/", ("photos/a.jpg", 5), ("photos/b.jpg", 6))


async def test_chat_lines_are_messages(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("hello", "", "//not a command", " /nor this", "/quit")
    assert await scene.texts(3) == ["hello", "/not a command", " /nor this"]
    await scene.end()
    assert scene.said.ends == [""]


async def test_a_token_is_not_sent_to_who_is_there_already(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type(TOKEN, f" `{TOKEN}`", f"/send {TOKEN}", f"mine: {TOKEN}", f"//{TOKEN}", TOKEN[:-1])
    assert await scene.texts(3) == [f"mine: {TOKEN}", f"/{TOKEN}", TOKEN[:-1]]
    notice = "that is a token, and you are connected already: it was not sent"
    assert scene.said.notices[:3] == [HINT, notice, notice]


async def test_a_token_in_a_pipe_is_a_line(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type(TOKEN)
    assert await scene.texts(1) == [TOKEN]


async def test_chat_ends_with_the_input(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type(None)
    await scene.end()


async def test_chat_ends_when_the_other_side_leaves(scene: Scene) -> None:
    scene.begin_chat()
    scene.session.leave("bye")
    await scene.end()
    assert scene.said.ends == ["bye"]


async def test_chat_says_that_the_connection_was_lost(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("hello")
    await until(lambda: bool(scene.session.messages))
    scene.session.lose()
    with pytest.raises(ConnectionLost):
        await scene.end()
    assert scene.said.ends == []


async def test_chat_says_that_the_other_side_is_done(scene: Scene) -> None:
    scene.begin_chat()
    scene.session.happen(PeerDone())
    await scene.notice("the other side has nothing more to send")


async def test_chat_does_not_know_every_command(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("/nonsense", "/send", "/sendfile x", "hello")
    assert await scene.texts(1) == ["hello"]
    assert scene.said.notices == [
        HINT,
        "there is no command /nonsense; /help lists them",
        "which file or folder? /send PATH...",
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
    await until(lambda: bool(scene.session.messages))
    scene.session.begin_to_leave()
    scene.lines.type("too late")
    await scene.notice("the other side is leaving")
    scene.session.leave()
    await scene.end()


# Files of ours.


async def test_chat_sends_a_file(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "my file")
    scene.begin_chat()
    scene.lines.type("/send  my file ")
    sending = await scene.sending()
    assert sending.paths == ("my file",)
    await scene.notice("offered my file (5 B); waiting for the other side to accept")
    scene.lines.type("a message meanwhile")
    await scene.texts(1)
    sending.stored()
    scene.lines.type("/quit")
    await scene.end()


async def test_chat_sends_several_as_one_transfer(scene: Scene, tmp_path: Path) -> None:
    for name in ("a", "b c", ".x"):
        file_of(tmp_path, name)
    (tmp_path / "folder").mkdir()
    file_of(tmp_path / "folder", ".hidden")
    options = SendOptions(include_hidden=True)
    scene.begin_chat(options=options)
    scene.lines.type("/send a 'b c' folder .x")
    sending = await scene.sending()
    assert sending.paths == ("a", "b c", "folder", ".x")
    assert sending.options == options
    await scene.notice("offered a and 3 more (4 files, 20 B); waiting")
    scene.lines.type("/status")
    await scene.notice("under way     1 a and 3 more")


async def test_chat_says_what_it_leaves_out(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(5):
        file_of(tmp_path / "folder", f".{number}")
    scene.begin_chat()
    scene.lines.type("/send folder")
    await scene.notice("left out, hidden: folder/.0, folder/.1, folder/.2 and 2 more")


async def test_chat_does_not_send_what_is_typed_as_a_file(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("/send -", "hello")
    assert await scene.texts(1) == ["hello"]
    await scene.notice("standard input is where you type")
    assert scene.session.sendings == []


async def test_chat_says_why_a_file_was_not_sent(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "file")
    scene.begin_chat()
    scene.lines.type("/send nothing", "/send file", "/send file")
    await scene.notice("not sent: nothing cannot be read: No such file or directory")
    (await scene.sending()).end.set_exception(Refused("the other side did not take file: too large"))
    (await scene.sending(2)).end.set_exception(TransferFailed("disk full"))
    await scene.notice("the other side did not take file: too large")
    await scene.notice("file was not sent: disk full")


async def test_chat_finds_the_home_folder(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file_of(tmp_path, "file")
    monkeypatch.setenv("HOME", str(tmp_path))
    scene.begin_chat()
    scene.lines.type("/send ~/file")
    assert (await scene.sending()).paths == (str(tmp_path / "file"),)


# Leaving, and giving up.


async def test_chat_gives_up_its_files_when_it_quits_twice(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "file")
    scene.begin_chat()
    theirs = scene.session.offer()
    await scene.notice("/accept takes it")
    scene.lines.type("/accept", "/send file")
    ours = await scene.sending()
    scene.lines.type("/quit")
    await scene.notice("file, a.txt (5 B): still under way; /quit again gives that up")
    scene.lines.type("/quit")
    await scene.end()
    assert sorted(scene.session.cancelled) == sorted([ours.transfer, theirs.transfer])


async def test_quitting_twice_leaves_whatever_the_other_side_offers_meanwhile(scene: Scene) -> None:
    scene.begin_chat(Acceptance(unasked=True))
    first = scene.session.offer()
    await scene.answers()
    scene.lines.type("/quit")
    await scene.notice("a.txt (5 B): still under way")
    scene.session.withdraw(first)
    scene.session.offer(("another.txt", 5))
    await scene.answers(2)
    scene.lines.type("/quit")
    await scene.end()


async def test_quitting_is_warned_of_again_after_something_else_was_typed(scene: Scene) -> None:
    scene.begin_chat(Acceptance(unasked=True))
    scene.session.offer()
    await scene.answers()
    scene.lines.type("/quit", "well, no", "/quit")
    await until(lambda: sum("still under way" in notice for notice in scene.said.notices) == 2)
    assert not scene.chat.has_left  # type: ignore[union-attr]


async def test_chat_gives_up_one_of_several(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "file")
    scene.begin_chat()
    scene.lines.type("/cancel")
    await scene.notice("nothing is under way")
    theirs = scene.session.offer()
    await scene.notice("/accept takes it")
    scene.lines.type("/accept", "/send file")
    ours = await scene.sending()
    scene.lines.type("/cancel", "/cancel 3")
    await scene.notice("which one? 2 file, 1 a.txt (5 B)")
    await scene.notice("nothing is under way with the number 3")
    scene.lines.type("/cancel 1")
    await until(lambda: scene.session.cancelled == [theirs.transfer])
    scene.lines.type("/cancel")
    await until(lambda: scene.session.cancelled == [theirs.transfer, ours.transfer])
    await scene.notice("file was not sent: you gave it up")


# Files of theirs.


@pytest.mark.parametrize(("command", "taken"), [("/accept", True), ("/accept 1", True), ("/reject", False)])
async def test_chat_asks_about_a_file(scene: Scene, command: str, taken: bool) -> None:
    scene.begin_chat()
    offered = scene.session.offer()
    await scene.notice("/accept takes it, /reject refuses it")
    scene.lines.type("yes", "y")  # no consent: the chat goes on meanwhile
    assert await scene.texts(2) == ["yes", "y"]
    scene.lines.type(command)
    await scene.answers()
    assert [accepted.transfer for accepted in scene.session.accepted] == [offered.transfer] * taken
    assert scene.session.refused == [(offered.transfer, "")] * (not taken)
    if taken:
        assert scene.session.accepted[0].place == Path()
        scene.session.received(offered, Path("a.txt"))
    scene.lines.type(command)
    await scene.notice("nothing is offered")


@pytest.mark.parametrize(("command", "only"), [("/accept 1 2", (2,)), ("/accept 1,2", (1, 2)), ("/accept", None)])
async def test_chat_takes_some_of_it(scene: Scene, command: str, only: tuple[int, ...] | None) -> None:
    scene.begin_chat()
    scene.session.offer(*PHOTOS)
    await scene.notice("/accept takes it, /accept 1 1,3-5 some of it, /reject refuses it")
    scene.lines.type("/accept 1 7", command)
    await scene.answers()
    assert scene.session.accepted[0].only == only
    assert "7: those are no numbers of what is offered" in scene.said.notices


async def test_chat_can_be_left_when_a_file_is_asked_about(scene: Scene) -> None:
    scene.begin_chat()
    scene.session.offer()
    await scene.notice("/accept takes it")
    scene.lines.type("/quit")
    await scene.end()
    assert scene.session.accepted == []


async def test_chat_takes_one_of_several_files_by_its_number(scene: Scene) -> None:
    scene.begin_chat()
    offers = [scene.session.offer((name, 5)) for name in ("a", "b", "c")]
    await scene.notice("/accept 3 takes it, /reject 3 refuses it")
    scene.lines.type("/accept")
    await scene.notice("which one? 1 a (5 B), 2 b (5 B), 3 c (5 B)")
    scene.lines.type("/accept 4", "/accept x", f"/accept {'2' * 5000}", "/accept 2", "/reject 1", "/accept")
    await scene.answers(3)
    assert [accepted.transfer for accepted in scene.session.accepted] == [offers[1].transfer, offers[2].transfer]
    assert scene.session.refused == [(offers[0].transfer, "")]
    await scene.notice("nothing is offered with the number 4")
    assert sum(notice.startswith("which one?") for notice in scene.said.notices) == 2  # x is no number


async def test_chat_does_not_take_what_is_not_offered_any_more(scene: Scene) -> None:
    scene.begin_chat()
    first, second = scene.session.offer(("a", 5)), scene.session.offer(("b", 5))
    await scene.notice("/accept 2 takes it")
    scene.session.withdraw(first)
    await until(lambda: any(isinstance(event, TransferBroken) for event in scene.said.events))
    scene.lines.type("/accept")  # meant for the first
    await scene.notice("which one? 2 b (5 B)")
    third = scene.session.offer(("c", 5))
    await scene.notice("/accept 3 takes it")
    scene.lines.type("/accept 2", "/accept")
    await scene.answers()
    assert scene.session.accepted[0].transfer == second.transfer
    await scene.notice("which one? 3 c (5 B)")  # it has been so once: from now on a number is asked for
    scene.lines.type("/accept 3")
    await scene.answers(2)
    assert scene.session.accepted[1].transfer == third.transfer


@pytest.mark.parametrize("command", ["/accept", "/reject"])
async def test_chat_answers_too_late(scene: Scene, command: str) -> None:
    """The offer was withdrawn in the very moment in which the answer was typed."""
    scene.begin_chat()
    scene.session.offer()
    await scene.notice("/accept takes it")
    scene.session._offered.clear()  # as a Cancel does, whose event is still on its way
    scene.lines.type(command, "hello")
    assert await scene.texts(1) == ["hello"]
    assert ("it is not offered any more" in scene.said.notices) is (command == "/accept")


async def test_chat_with_yes_takes_everything(scene: Scene, tmp_path: Path) -> None:
    scene.begin_chat(Acceptance(tmp_path, unasked=True, max_size=100, overwrite=Overwrite.ALWAYS, in_place=True))
    scene.session.offer(*PHOTOS)
    await scene.answers()
    accepted = scene.session.accepted[0]
    assert (accepted.place, accepted.only) == (tmp_path, None)
    assert (accepted.overwrite, accepted.in_place) == (Overwrite.ALWAYS, True)
    assert scene.said.notices == [HINT]


async def test_chat_with_yes_does_not_take_more_than_it_may(scene: Scene) -> None:
    scene.begin_chat(Acceptance(unasked=True, max_size=10))
    offered = scene.session.offer(*PHOTOS)
    await scene.notice("refused photos/ (2 files, 11 B): it is 11 B, and at most 10 B are taken here")
    assert scene.session.refused == [(offered.transfer, "it is 11 B, and at most 10 B are taken here")]
    scene.session.offer(("small", 10))
    await scene.answers(2)
    assert len(scene.session.accepted) == 1


@pytest.mark.parametrize("unasked", [False, True])
async def test_chat_asks_what_becomes_of_what_is_there(scene: Scene, tmp_path: Path, unasked: bool) -> None:
    file_of(tmp_path, "a.txt")
    scene.begin_chat(Acceptance(tmp_path, unasked=unasked, overwrite=None))
    scene.session.offer()
    if not unasked:
        await scene.notice("/accept takes it")
        scene.lines.type("/accept")
    await scene.notice("1 of these exists: replace it, keep it, or give a new name? [r/k/n]")
    scene.lines.type("what?", "k", "hello")
    assert await scene.texts(1) == ["hello"]
    await scene.answers()
    assert scene.session.accepted[0].overwrite is Overwrite.NEVER


async def test_chat_can_be_left_when_it_asks_what_becomes_of_what_is_there(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "a.txt")
    scene.begin_chat(Acceptance(tmp_path, unasked=True, overwrite=None))
    scene.session.offer()
    await scene.notice("1 of these exists")
    scene.lines.type("/quit")
    await scene.end()
    assert scene.session.accepted == []


# How it is shown.


async def test_chat_marks_its_messages(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("one", "two")
    await until(lambda: len(scene.session.messages) == 2)
    assert scene.lines.own == []
    scene.session.messages[0][1].set_result(None)
    await until(lambda: scene.lines.own == [("one", True)])
    scene.session.lose()
    with pytest.raises(ConnectionLost):
        await scene.end()
    assert scene.lines.own == [("one", True), ("two", False)]


async def test_chat_tells_how_it_is_connected(scene: Scene) -> None:
    scene.begin_chat()
    scene.lines.type("/status")
    await scene.notice("round trip    not measured yet")
    scene.said.notices.clear()
    scene.session.round_trip = 0.0123
    scene.session.offer(("their.txt", 5))
    await scene.notice("/accept takes it")
    scene.lines.type("/status")
    await scene.notice("their.txt (5 B)")
    rows = [(notice[:13].strip(), notice[14:]) for notice in scene.said.notices[1:]]
    told = dict(rows)
    assert re.fullmatch(r"since \d\d:\d\d:\d\d, for 0:0\d", told["connected"])
    assert told["path"] == f"direct over TCP at {scene.session.address}"
    assert re.fullmatch(r"\d+\.\d ms", told["round trip"])
    assert told["key exchange"] == "X25519MLKEM768, both keys proved on it"
    assert told["peer id"] == str(PEER)
    words = [row for name, row in rows if name in ("peer's words", "your words", "")]
    assert " ".join(words).split() == [*PEER.words, *scene.session.own.words]
    assert told["offered"] == "1 their.txt (5 B)"


async def test_chat_goes_on_over_another_path(scene: Scene) -> None:
    """What is typed meanwhile waits for it; /status says which it is."""
    scene.begin_chat()
    await scene.notice(HINT)
    scene.session.happen(PathLost(ConnectionLost("why")))
    await until(lambda: len(scene.said.events) == 1)
    scene.lines.type("/status")
    await scene.notice("path          lost at ")
    await scene.notice("round trip    none: there is no connection")
    scene.session.happen(StillLooking("the other side did not come"))
    await until(lambda: len(scene.said.events) == 2)
    scene.lines.type("/status")
    await scene.notice("; still looking: the other side did not come")
    assert scene.lines.waits == [True]
    scene.session.happen(PathChanged(PathKind.RELAY, Address.of("192.0.2.1", 54700), "no luck"))
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
    chat = Chat(TypedLines(), Acceptance(), SendOptions())
    assert list(chat._commands) == list(dict.fromkeys(COMMANDS))


@pytest.mark.parametrize("typed", ["my photo.jpg", "'my photo.jpg'", r"my\ photo.jpg", '"my photo.jpg"'])
async def test_a_path_as_it_is_typed_or_dropped(scene: Scene, tmp_path: Path, typed: str) -> None:
    (tmp_path / "my photo.jpg").write_bytes(b"hello")
    scene.begin_chat()
    scene.lines.type(f"/send {typed}")
    assert (await scene.sending()).paths == ("my photo.jpg",)


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
    chat = Chat(lines, Acceptance(), SendOptions())
    chat.start()
    lines.type("hello?", "/send x", "/accept", "/status", "/quit", "never read")
    await soon(chat.left())
    await chat.stop()
    assert lines.notices[:3] == [
        "not sent, the other peer is not there yet: hello?",
        "nothing is sent: the other peer is not there yet",
        "nothing is offered",
    ]
    assert lines.notices[3].startswith("waiting for the other peer since ")
    assert lines.asked == 5


@pytest.mark.parametrize(("typed", "answer"), [([" yes "], True), (["y", "", "no"], False)])
async def test_a_question_is_asked_until_it_is_answered(typed: list[str], answer: bool) -> None:
    lines = TypedLines()
    chat = Chat(lines, Acceptance(), SendOptions())
    lines.type(*typed)
    assert await soon(chat.ask("really?")) is answer
    assert lines.notices == ["really?"] * len(typed)
    lines.type("hello?")
    await until(lambda: lines.notices[-1].startswith("not sent"))
    await chat.stop()


@pytest.mark.parametrize("typed", ["/quit", None])
async def test_a_question_can_be_left(typed: str | None) -> None:
    lines = TypedLines()
    chat = Chat(lines, Acceptance(), SendOptions())
    lines.type(typed)
    asking = asyncio.create_task(chat.ask("really?"))
    await soon(chat.left())
    assert chat.has_left
    assert not asking.done()
    asking.cancel()
    await chat.stop()


async def test_what_is_typed_may_go_elsewhere_for_a_while(scene: Scene) -> None:
    """Commands are carried out all the same, and leaving is possible."""
    chat = Chat(scene.lines, Acceptance(), SendOptions())
    with chat.diverted() as lines:
        scene.lines.type("1abc", "", "/nonsense", "//quit", "2def")
        assert [await soon(lines.next()) for _ in range(3)] == ["1abc", "", "2def"]
    scene.lines.type("hello", "/quit")
    await soon(chat.left())
    assert scene.said.notices == [
        "there is no command /nonsense; /help lists them",
        "not sent, the other peer is not there yet: /quit",
        "not sent, the other peer is not there yet: hello",
    ]
    await chat.stop()
