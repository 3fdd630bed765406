"""`p2p-peer` at a terminal, which is a pseudo-terminal with an emulator behind it here."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from p2p_core.safe_names import STAGING_PREFIX

from tests.e2e.conftest import World
from tests.programs import PATIENCE, Keys, p2p_peer
from tests.terminal import COLUMNS, Terminal

Start = Callable[..., Terminal]


@pytest.fixture
def start(world: World, tmp_path: Path) -> Start:
    """Start a chat, in a folder of its own."""

    def start(own: Keys, other: Keys, *flags: str, **environment: str) -> Terminal:
        where = [world.mediator.host, str(world.mediator.port), own.pair, other.public]
        flags = ("--state-dir", str(own.folder / "state"), "--mediator-id", world.mediator.id, *flags)
        folder = tmp_path / ("alice" if own is world.alice else "bob")
        folder.mkdir()
        return world.programs.enter_context(Terminal(p2p_peer(*where, *flags), folder, **environment))

    return start


@pytest.fixture
def chats(start: Start, world: World) -> tuple[Terminal, Terminal]:
    alice, bob = start(world.alice, world.bob), start(world.bob, world.alice)
    for chat in (alice, bob):
        chat.shows("type a message, or /help")
    return alice, bob


def _over(*terminals: Terminal) -> tuple[int, ...]:
    """Wait for the ends; return the exit codes."""
    codes = tuple(terminal.process.wait(PATIENCE) for terminal in terminals)
    assert all(terminal.is_as_before() for terminal in terminals)
    return codes


def test_two_people_chat_and_one_leaves(chats: tuple[Terminal, Terminal], world: World) -> None:
    alice, bob = chats
    a, b = world.alice.peer.short, world.bob.peer.short
    alice.types("* closed")  # cannot pass for a line of the program
    bob.shows(f"{a}> * closed")
    bob.types("hello from bob")
    alice.shows("hello from bob")
    alice.types("//quit is how one leaves")
    bob.shows("/quit is how one leaves")
    alice.shows("(delivered)")
    bob.types("/nonsense")
    bob.is_like(
        "* type a message, or /help",
        f"{a}> * closed",
        "you> hello from bob (delivered)",
        f"{a}> /quit is how one leaves",
        "> /nonsense",
        "* there is no command /nonsense; /help lists them",
        ">",
    )
    alice.types("/quit")
    assert _over(alice, bob) == (0, 0)
    alice.is_like(
        "you> * closed (delivered)",
        f"{b}> hello from bob",
        "you> /quit is how one leaves (delivered)",
        "> /quit",
        "* closed",
    )
    bob.is_like("* the other side leaves", "* closed")


def test_what_is_typed_is_not_torn_by_what_comes(chats: tuple[Terminal, Terminal], world: World) -> None:
    alice, bob = chats
    alice.presses("half a line")
    lines = [f"line {number}: {'x' * 90}" for number in range(60)]  # each is wider than what is left of a row
    for line in lines:
        bob.types(line)
    alice.shows("line 59")
    width = COLUMNS - len(f"{world.bob.peer.short}> ")
    rows = [row for line in lines for row in (f"{world.bob.peer.short}> {line[:width]}", f"  {line[width:]}")]
    alice.is_like(*rows, "> half a line")
    alice.types(" and its end")
    bob.shows("half a line and its end")


def test_a_message_is_sent_and_then_delivered(chats: tuple[Terminal, Terminal]) -> None:
    alice, bob = chats
    bob.process.send_signal(signal.SIGSTOP)
    for number in range(7):
        alice.types(f"message {number}")
    alice.is_like("2 more messages sent", *(f"you> message {number} (sent)" for number in range(2, 7)), ">")
    bob.process.send_signal(signal.SIGCONT)
    alice.is_like(*(f"you> message {number} (delivered)" for number in range(7)), ">")


def test_a_message_that_was_not_delivered_says_so(chats: tuple[Terminal, Terminal]) -> None:
    alice, bob = chats
    bob.process.send_signal(signal.SIGSTOP)
    alice.types("hello?")
    alice.stands("you> hello? (sent)")
    bob.process.kill()
    assert alice.process.wait(PATIENCE) == 6
    assert "you> hello? (not delivered)" in alice.lines


def test_nothing_the_other_side_says_is_obeyed(start: Start, world: World) -> None:
    alice = start(world.alice, world.bob)
    evil = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\r\x9b5mgnp.\u202eexe"
    bob = world.start_bob("--message", evil, stdin=subprocess.PIPE)
    alice.shows(r"\x1b]0;owned\x07\x1b[2J\x1b[31mred\r\x9b5mgnp.\u202eexe")
    assert bob.exit_code() == 0
    assert b"\x1b]0;" not in alice.raw
    assert "\u202e".encode() not in alice.raw


def test_keys(chats: tuple[Terminal, Terminal], tmp_path: Path) -> None:
    alice, bob = chats
    (tmp_path / "alice" / "my photo.jpg").write_bytes(b"hello")
    alice.types("the first")
    bob.shows("the first")
    alice.is_like("you> the first (delivered)", ">")
    alice.presses("\x1b[A")  # up: the history
    alice.is_like("> the first")
    alice.presses("\x15/sta\t")  # Ctrl-U: the line is empty; Tab completes
    alice.is_like("> /status")
    alice.presses("\x15/send my\t")
    alice.is_like("> /send my photo.jpg")
    alice.presses("\r")
    bob.shows("offers my photo.jpg (5 B)")
    alice.presses("\x1b[200~two:\n/quit\n\tlines\x1b[201~")  # pasted: nobody has read what is in it as commands
    alice.presses("\r")
    bob.shows("> two:")
    bob.shows("> /quit")
    bob.shows(">         lines")


def test_a_file_is_asked_about_with_name_and_size(chats: tuple[Terminal, Terminal], tmp_path: Path) -> None:
    alice, bob = chats
    (tmp_path / "photo.jpg").write_bytes(bytes(1500))
    alice.types(f"/send {tmp_path / 'photo.jpg'}")
    bob.shows("photo.jpg (1.5 kB)")
    alice.shows("offered photo.jpg (1.5 kB); waiting for the other side to accept")
    bob.shows("/accept takes it, /reject refuses it")
    bob.types("yes")  # is said, and consents to nothing
    alice.shows("> yes")
    bob.types("/accept")
    alice.shows("sent photo.jpg")
    bob.shows("received ")
    assert (tmp_path / "bob" / "photo.jpg").read_bytes() == bytes(1500)
    alice.types(f"/send {tmp_path / 'photo.jpg'}")
    bob.shows("offers photo.jpg")
    bob.types("/reject")
    bob.shows("refused photo.jpg")
    alice.shows("did not take photo.jpg")
    alice.types(f"/send {tmp_path / 'missing'}")
    alice.shows("not sent: ")
    bob.types("/quit")
    assert _over(alice, bob) == (0, 0)


def _only_kept(folder: Path) -> None:
    """What came of a film is kept for another try; nothing has its name."""
    [kept] = folder.iterdir()
    assert kept.name.startswith(STAGING_PREFIX)


def _film(alice: Terminal, bob: Terminal, tmp_path: Path, name: str = "film.mkv") -> None:
    """Begin to send a file that takes longer than any test."""
    with (tmp_path / name).open("wb") as film:
        film.truncate(64 * 2**30)
    alice.types(f"/send {tmp_path / name}")
    bob.shows("/accept")
    bob.types("/accept")
    for chat in (alice, bob):
        chat.stands("of 68.7 GB")
    deadline = time.monotonic() + PATIENCE
    while not any(path.name != "journal" and path.stat().st_size for path in tmp_path.glob("*/.punchwire-*/*")):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_leaving_gives_up_a_transfer_only_when_it_is_said_twice(
    chats: tuple[Terminal, Terminal], tmp_path: Path
) -> None:
    alice, bob = chats
    _film(alice, bob, tmp_path)
    bob.types("how fast it is")  # the chat goes on meanwhile
    alice.shows("how fast it is")
    alice.types("/quit")
    alice.shows("film.mkv: still under way")
    alice.presses("\x04")  # Ctrl-D is /quit
    assert _over(alice, bob) == (0, 0)
    assert "* film.mkv was not sent: you gave it up" in alice.lines
    assert any(line.startswith("* film.mkv: ") for line in bob.lines)
    _only_kept(tmp_path / "bob")


def test_the_chat_goes_on_beside_transfers_both_ways(chats: tuple[Terminal, Terminal], tmp_path: Path) -> None:
    alice, bob = chats
    for chat, other, name in ((alice, bob, "one.mkv"), (bob, alice, "two.mkv")):
        _film(chat, other, tmp_path, name)
    for number in range(5):
        alice.types(f"from alice {number}")
        bob.shows(f"from alice {number}")
        bob.types(f"from bob {number}")
        alice.shows(f"from bob {number}")
    for chat in chats:  # neither has ended
        chat.stands("one.mkv")
        chat.stands("two.mkv")
    alice.presses("\x03")
    assert _over(alice, bob) == (130, 0)


@pytest.mark.parametrize("who", ["sender", "receiver"])
def test_ctrl_c_in_a_transfer(chats: tuple[Terminal, Terminal], tmp_path: Path, who: str) -> None:
    alice, bob = chats
    _film(alice, bob, tmp_path)
    (alice if who == "sender" else bob).presses("\x03")
    assert _over(alice, bob) == ((130, 0) if who == "sender" else (0, 130))
    _only_kept(tmp_path / "bob")
    if who == "receiver":
        assert any(line.startswith("* film.mkv was not sent") for line in alice.lines)


@pytest.mark.parametrize("key", ["/quit\r", "\x04", "\x03"])
def test_leaving_while_nobody_is_there(start: Start, world: World, key: str) -> None:
    alice = start(world.alice, world.bob)
    alice.shows("waiting for the other peer")
    alice.types("hello?")
    alice.shows("not sent, the other peer is not there yet: hello?")
    alice.presses(key)
    assert _over(alice) == (130,)


def test_end_of_input_leaves(chats: tuple[Terminal, Terminal]) -> None:
    alice, bob = chats
    alice.presses("\x04")
    assert _over(alice, bob) == (0, 0)


def test_a_dumb_terminal_gets_lines_only(start: Start, world: World, tmp_path: Path) -> None:
    alice, bob = start(world.alice, world.bob, TERM="dumb"), start(world.bob, world.alice)
    alice.shows("type a message")
    bob.shows("type a message")
    (tmp_path / "photo.jpg").write_bytes(bytes(1500))
    alice.types("hello bob")
    alice.shows("* delivered")
    bob.types("hello alice")
    alice.shows(f"{world.bob.peer.short}> hello alice")
    bob.types(f"/send {tmp_path / 'photo.jpg'}")
    alice.shows("/accept")
    alice.types("/accept")
    alice.shows("received ")
    alice.types("/quit")
    assert _over(alice, bob) == (0, 0)
    assert b"\x1b" not in alice.raw


def test_no_colours_where_none_are_wanted(start: Start, world: World) -> None:
    alice, bob = start(world.alice, world.bob, NO_COLOR="1"), start(world.bob, world.alice)
    bob.shows("type a message")
    bob.types("hello")
    alice.shows("hello")
    assert b"\x1b[0;36m" in bob.raw
    assert b"\x1b[0;3" not in alice.raw


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_a_mediator_is_confirmed_once(world: World, tmp_path: Path, answer: str) -> None:
    where = [world.mediator.host, str(world.mediator.port), world.alice.pair, world.bob.public]
    argv = p2p_peer(*where, "--state-dir", tmp_path / "state")
    with Terminal(argv, tmp_path) as first:
        first.shows(world.mediator.id)
        first.shows("yes or no")
        first.types("y")
        first.shows("yes or no")
        first.types(answer)
        if answer == "no":
            assert first.process.wait(PATIENCE) == 4
            return
        first.shows("waiting for the other peer")
    with Terminal(argv, tmp_path) as second:
        second.shows("waiting for the other peer")
        assert world.mediator.id not in "".join(second.lines)


def test_the_story_stands_above_the_prompt(start: Start, world: World) -> None:
    alice = start(world.alice, world.bob, "--verbose")
    alice.shows("waiting for the other peer")
    alice.presses("half a line")
    alice.stands("> half a line")
    bob = start(world.bob, world.alice)
    bob.shows("type a message")
    alice.shows("the other side's candidates")
    alice.shows("type a message")
    alice.is_like("* type a message, or /help", "> half a line")


def test_a_second_signal_leaves_the_terminal_as_it_was(chats: tuple[Terminal, Terminal]) -> None:
    """The other side does not answer, so the first one waits for it."""
    alice, bob = chats
    bob.process.send_signal(signal.SIGSTOP)
    alice.types("hello?")
    alice.stands("(sent)")
    assert not alice.is_as_before()
    alice.process.send_signal(signal.SIGTERM)
    alice.process.send_signal(signal.SIGHUP)
    assert _over(alice) == (130,)
    bob.process.send_signal(signal.SIGCONT)


def test_what_is_typed_without_a_connection_waits(chats: tuple[Terminal, Terminal], world: World) -> None:
    """With the mediator gone, nobody tells that the other side has ended: it is looked for."""
    alice, bob = chats
    world.mediator.process.kill()
    bob.process.kill()
    alice.shows("connection lost: ")
    alice.types("hello?")
    alice.stands("you> hello? (waiting)")
    alice.types("/status")
    alice.shows("round trip    none: there is no connection")
    alice.process.send_signal(signal.SIGTERM)
    assert _over(alice) == (130,)
    alice.shows("hello? (not delivered)")


def test_nothing_the_other_side_says_looks_like_a_line_of_the_program(
    chats: tuple[Terminal, Terminal], world: World, tmp_path: Path
) -> None:
    alice, bob = chats
    prefix = f"{world.alice.peer.short}> "
    alice.types("hi".ljust(COLUMNS - len(prefix)) + "* closed")
    bob.shows("* closed")
    name = "a.jpg".ljust(80) + "* received update.sh"
    (tmp_path / name).write_text("hello")
    alice.types(f"/send {tmp_path / name}")
    bob.shows("/accept takes it")
    bob.types("/accept")
    bob.shows("received ")
    assert not [line for line in bob.lines if line.startswith(("* closed", "* received update.sh"))]
    assert [line for line in bob.lines if line == "  * closed"]
