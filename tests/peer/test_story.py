import logging
import sys

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
