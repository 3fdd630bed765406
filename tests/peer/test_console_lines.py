import os
import sys
from pathlib import Path

import pytest
from p2p_peer.cli import outputs
from p2p_peer.cli.console_lines import LineConsole

from tests.peer.pair import soon


def at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> LineConsole:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # in whose place the console puts another until it is closed
    return LineConsole()


def test_in_a_pipe_a_message_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    console = LineConsole()
    console.message("bob", "hello\tthere\x1b")
    console.notice("noted")
    console.progress(1, "a film")
    console.progress_over(1)
    outputs.flush()
    said = capsys.readouterr()
    assert (said.out, said.err) == ("hello\tthere\\x1b\n", "* noted\n")


def test_at_a_terminal_it_stands_behind_its_sender(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_a_terminal(monkeypatch).message("bob", "hello")
    outputs.flush()
    assert capsys.readouterr().out == "bob> hello\n"


def test_what_became_of_own_messages(capsys: pytest.CaptureFixture[str]) -> None:
    console = LineConsole()
    console.own_message("one")(True)
    console.own_message("two")(False)
    assert capsys.readouterr().err == "* delivered\n* not delivered: two\n"


def test_own_messages_that_wait(capsys: pytest.CaptureFixture[str]) -> None:
    console = LineConsole()
    console.waiting(waits=True)
    settle = console.own_message("one")
    console.waiting(waits=False)
    console.own_message("two")
    settle(True)
    assert capsys.readouterr().err == "* waiting: it is sent when there is a connection again\n* delivered\n"


async def test_progress_is_one_line_that_makes_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = at_a_terminal(monkeypatch)
    console.progress(1, "a longer line")
    console.progress(1, "short")
    console.notice("noted")
    console.progress(1, "x" * 100)
    console.progress_over(1)
    console.progress_over(1)
    console.progress(1, "y\x1b")
    await console.close()
    wiped = f"\r{' ' * 39}\r"  # all of the row: the terminal may have put ^C behind what was shown
    rows = [f"\r{row:39}" for row in ("a longer line", "short", "x" * 39, "y\\x1b")]
    assert capsys.readouterr().err == f"{rows[0]}{rows[1]}{wiped}* noted\n{rows[2]}{wiped}{rows[3]}{wiped}"


async def test_what_others_write_takes_the_place_of_progress(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A story is told beside it."""
    before = sys.stderr
    console = at_a_terminal(monkeypatch)
    console.progress(1, "a film")
    print("[0.1] a step", file=sys.stderr, flush=True)
    assert sys.stderr.isatty()
    await console.close()
    assert sys.stderr is before
    assert capsys.readouterr().err == f"\r{'a film':39}\r{' ' * 39}\r[0.1] a step\n"


@pytest.mark.parametrize("term", ["dumb", None])
def test_no_progress_where_the_cursor_cannot_go_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, term: str | None
) -> None:
    at_a_terminal(monkeypatch)
    monkeypatch.delenv("TERM") if term is None else monkeypatch.setenv("TERM", term)
    LineConsole().progress(1, "a film")
    assert capsys.readouterr().err == ""


async def test_lines_are_read_from_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "typed").write_text("one\ntwo\n")
    with (tmp_path / "typed").open() as typed:
        monkeypatch.setattr(sys, "stdin", typed)
        console = LineConsole()
        assert os.lseek(typed.fileno(), 0, os.SEEK_CUR) == 0  # nothing is read before it is asked for
        assert [await soon(console.next()) for _ in range(3)] == ["one", "two", None]


@pytest.mark.parametrize(("term", "room"), [("xterm", (40, 24)), ("dumb", None)])
def test_what_is_shown_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, term: str, room: tuple[int, int] | None
) -> None:
    console = at_a_terminal(monkeypatch)
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("LINES", "24")
    assert console.room == room
    console.verbatim("x" * 50 + "\n\x1b[0my")
    assert capsys.readouterr().err == "x" * 50 + "\n\x1b[0my\n"


def test_a_pipe_has_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    assert LineConsole().room is None
