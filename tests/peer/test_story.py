import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from p2p_peer.cli.story import Story, telling

LIBRARY = logging.getLogger("p2p_peer")


def record(message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("p2p_peer.app", logging.INFO, __file__, 1, message, arguments, None)


def test_a_line_a_step_with_the_seconds_since_the_start() -> None:
    now, lines = 1000.0, list[str]()
    story = Story(lines.append, lambda: now)
    story.handle(record("we are %s", "alice"))
    now += 0.25
    story.handle(record("admitted"))
    now += 12345
    story.handle(record("offer renewed"))
    assert lines == ["[  0.000] we are alice", "[  0.250] admitted", "[12345.250] offer renewed"]


def test_nothing_is_left_for_a_terminal_to_obey() -> None:
    lines = list[str]()
    Story(lines.append, lambda: 0).handle(record("the other side leaves: %s", "bye\n[  0.1] admitted\x1b[2J\u202e"))
    assert lines == ["[  0.000] the other side leaves: bye\\n[  0.1] admitted\\x1b[2J\\u202e"]


def test_a_story_that_cannot_be_told_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(logging, "raiseExceptions", False)
    Story(broken).handle(record("admitted"))


def test_where_nobody_reads_on_steps_are_left_out() -> None:
    lines, takes = list[str](), True
    story = Story(lines.append, lambda: 0, lambda: takes)
    story.handle(record("one"))
    takes = False
    for _ in range(1000):
        story.handle(record("somebody knocks"))
    story.tell_what_is_left_out()
    takes = True
    for each in ("two", "three"):
        story.handle(record(each))
    told = [line.partition("] ")[2] for line in lines]
    assert told == ["one", "(1000 left out here, as nobody read on)", "two", "three"]


def test_no_line_is_longer_than_a_pipe_takes_at_once() -> None:
    lines = list[str]()
    story = Story(lines.append, lambda: 0)
    for text in ("a" * 3000, "a" * 70000, "\N{SNOWMAN}" * 70000, "\x1b" * 70000):
        story.handle(record(text))
    assert lines[0] == f"[  0.000] {'a' * 3000}"
    assert all(4000 < len(f"{line}\n".encode("ascii", "backslashreplace")) < 4096 for line in lines[1:])
    assert all(line.endswith("...") for line in lines[1:])


@contextmanager
def pipe_as_standard_error(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Return where it is read."""
    before = os.dup(2)
    read_end, write_end = os.pipe()
    os.dup2(write_end, 2)
    os.close(write_end)
    try:
        with open(2, "w", closefd=False) as stream:
            monkeypatch.setattr(sys, "stderr", stream)
            yield read_end
    finally:
        os.dup2(before, 2)
        for descriptor in (before, read_end):
            os.close(descriptor)


def test_a_pipe_that_nobody_reads_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe_as_standard_error(monkeypatch) as pipe:
        with telling():
            for number in range(10_000):
                LIBRARY.info("somebody knocks: %d", number)
            unread = os.read(pipe, 2**20)
            LIBRARY.info("and then")
        lines = (unread + os.read(pipe, 2**20)).decode().splitlines()
    told = [line.partition("] ")[2] for line in lines]
    count = len(told) - 3
    assert 0 < count < 10_000
    assert len(unread) < 40_000  # there is room for what is no story
    assert told[1:-2] == [f"somebody knocks: {number}" for number in range(count)]
    assert told[-2:] == [f"({10_000 - count} left out here, as nobody read on)", "and then"]


def test_the_end_says_what_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pipe_as_standard_error(monkeypatch) as pipe:
        with telling():
            for number in range(10_000):
                LIBRARY.info("somebody knocks: %d", number)
            told = os.read(pipe, 2**20).count(b"somebody")
        assert os.read(pipe, 2**20).endswith(f"] ({10_000 - told} left out here, as nobody read on)\n".encode())


def test_told_on_standard_error_as_long_as_the_context_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("p2p_peer.paths.tcp")
    log.info("before")
    with telling():
        log.debug("within")
    log.info("after")
    said = capsys.readouterr()
    first, second = said.err.splitlines()
    assert "punchwire " in first
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}." in first
    assert second.endswith("] within")
    assert said.out == ""
    assert (LIBRARY.handlers, LIBRARY.level) == ([], logging.NOTSET)


def test_it_ends_with_an_error_too() -> None:
    with pytest.raises(ValueError, match="why"), telling():
        raise ValueError("why")
    assert LIBRARY.handlers == []
