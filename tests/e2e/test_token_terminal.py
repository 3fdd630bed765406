"""`p2p-peer token` at a terminal: the question, what may be pasted, and what is asked no more."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs import PATIENCE, Keys, Programs, p2p_peer
from tests.terminal import COLUMNS, LINES, Terminal

Start = Callable[..., Terminal]
QUESTION = "paste the other side's token"
HINT = "type a message, or /help"


@pytest.fixture
def start(programs: Programs, tmp_path: Path) -> Start:
    """Start one, in a folder of its own, that is reached over loopback only."""

    def start(name: str, *arguments: str | Path, **environment: str) -> Terminal:
        folder = tmp_path / name
        folder.mkdir()
        here = ("--bind", "127.0.0.1", "--no-port-mapping", "--state-dir", folder)
        return programs.enter_context(Terminal(p2p_peer("token", *arguments, *here), folder, **environment))

    return start


def shown_token(terminal: Terminal) -> str:
    """The token, from lines that the terminal alone has broken."""
    terminal.stands(QUESTION)
    lines = terminal.lines
    first = next(number for number, line in enumerate(lines) if "your token, good until" in line) + 1
    token = lines[first]
    while len(lines[first]) == COLUMNS:
        first += 1
        token += lines[first]
    assert token.isalnum()
    assert token.encode() in terminal.raw  # nothing stands in it
    return token


def bracketed(text: str) -> str:
    """What a terminal makes of text that is pasted."""
    return f"\x1b[200~{text}\x1b[201~"


def test_two_people_paste(start: Start) -> None:
    alice, bob = start("alice"), start("bob")
    of_alice, of_bob = shown_token(alice), shown_token(bob)
    alice.shows(QUESTION)
    alice.types("what is this?")
    alice.shows("this is not a token")
    alice.shows(QUESTION)
    alice.types(of_alice)
    alice.shows("this is this side's own token")
    alice.shows(QUESTION)
    alice.types(of_bob[:-1] + ("0" if of_bob[-1] != "0" else "1"))
    alice.shows("the token is mistyped")
    alice.shows(QUESTION)
    alice.presses(bracketed(f"> {of_bob[:60]}\r\n> {of_bob[60:]}\r\n") + "\r")
    alice.shows("the other side's token is good")
    bob.shows(QUESTION)
    bob.types(of_alice[:60])
    bob.shows("this is only the beginning of a token")
    bob.types(of_alice[60:])
    words = []
    for terminal in (alice, bob):
        terminal.shows("compare the words aloud")
        terminal.shows(HINT)
        rows = [line.removeprefix("* ") for line in terminal.lines]
        yours = next(number for number, row in enumerate(rows) if row.startswith("yours"))
        words.append([" ".join(row[8:] for row in rows[at : at + 3]) for at in (yours, yours + 3)])
    assert words[0] == words[1][::-1]
    assert all(len(side.split()) == 12 for side in words[0])
    alice.types("hello")
    bob.shows("> hello")
    alice.types("/quit")
    assert [terminal.process.wait(PATIENCE) for terminal in (alice, bob)] == [0, 0]


def test_who_comes_by_itself_ends_the_question(start: Start, keys: tuple[Keys, Keys]) -> None:
    alice, bob = keys
    waiting = start("alice", alice.pair, bob.public)
    token = shown_token(waiting)
    coming = start("bob", bob.pair, alice.public, "--token", token)
    waiting.shows("the other side has come by itself: its token is not needed")
    waiting.shows(HINT)
    coming.shows(HINT)
    assert QUESTION not in "".join(coming.lines)
    waiting.types("hello")  # is a message now, and no token
    coming.shows("> hello")
    coming.types("/quit")
    assert [terminal.process.wait(PATIENCE) for terminal in (waiting, coming)] == [0, 0]


def test_an_errand_asks_at_a_terminal_too(start: Start, tmp_path: Path) -> None:
    alice, bob = start("alice", "--message", "from alice"), start("bob", "--message", "from bob", TERM="dumb")
    of_alice, of_bob = shown_token(alice), shown_token(bob)
    alice.shows(QUESTION)
    lines = alice.lines
    code, heading, question = (
        next(number for number, line in enumerate(lines) if mark in line) for mark in ("▀", "your token", QUESTION)
    )
    assert len(lines) - LINES <= code < heading < question  # and all of it is seen
    alice.stands("it leads here from this network only: no STUN server is set, or none answered")
    bob.stands("no QR code of it, as this is no terminal that could show one")
    assert b"\x1b" not in bob.raw
    alice.types("oops")
    alice.shows("this is not a token")
    alice.types(of_bob)
    bob.types(f"{of_alice[:60]}\n{of_alice[60:]}")
    alice.shows("> from bob")
    bob.shows("> from alice")
    assert [terminal.process.wait(PATIENCE) for terminal in (alice, bob)] == [0, 0]


@pytest.mark.parametrize("keystrokes", ["/quit\r", "\x04", "\x03"])
def test_leaving_while_it_is_asked(start: Start, keystrokes: str) -> None:
    alice = start("alice", "--no-qr")
    alice.shows(QUESTION)
    assert "▀" not in "".join(alice.lines)
    alice.presses(keystrokes)
    assert alice.process.wait(PATIENCE) == 130
    assert alice.is_as_before()
