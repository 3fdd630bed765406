"""The table of endings is the one in docs/protocol/mediator.md."""

import re
from pathlib import Path

from p2p_server.endings import REASON_KEY, Ending

PAGE = Path(__file__).parents[2] / "docs" / "protocol" / "mediator.md"


def test_the_page_and_the_program_have_one_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| `([A-Z_]+)` \|", text, re.MULTILINE)
    assert rows == [(ending.reason, ending.code.name) for ending in Ending]
    assert f"`{REASON_KEY}`" in text
