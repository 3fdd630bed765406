"""The table of endings is the one in docs/protocol/mediator.md."""

import re
from pathlib import Path

import grpc
from p2p_server.endings import REASON_KEY, RETRY_AFTER_KEY, Ending, trailing_metadata

PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "mediator.md"


def test_the_page_and_the_program_have_one_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert rows == [(ending.reason, ending.code.name) for ending in Ending]
    assert f"`{REASON_KEY}`" in text
    assert f"`{RETRY_AFTER_KEY}`" in text


def test_it_is_said_when_to_try_again_wherever_time_helps_and_nowhere_else() -> None:
    helped_by_time = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
    assert [
        ending for ending in Ending if (ending.retry_after is not None) is not (ending.code in helped_by_time)
    ] == []


def test_what_programs_are_told() -> None:
    assert trailing_metadata(Ending.MALFORMED) == ((REASON_KEY, "malformed"),)
    assert trailing_metadata(Ending.TOO_SLOW) == ((REASON_KEY, "too-slow"), (RETRY_AFTER_KEY, "5"))


def test_seconds_are_whole_and_at_least_one() -> None:
    for wait, said in ((0.0, "1"), (0.2, "1"), (2.0, "2"), (2.01, "3")):
        assert trailing_metadata(Ending.SIGNAL_RATE, wait)[1] == (RETRY_AFTER_KEY, said)
