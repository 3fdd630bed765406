"""The golden blocks of docs/protocol/*.md: fences with the info string `golden NAME` (hex) or `golden-text NAME`."""

import re
import textwrap
from pathlib import Path

__all__ = ["FOLDER", "names", "read", "read_text", "write"]

FOLDER = Path(__file__).parents[2] / "docs" / "protocol"
_BLOCK = re.compile(r"^```golden(?P<text>-text)? (?P<name>[a-z0-9-]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_HEX_COLUMNS = 96
_TEXT_COLUMNS = 150


def names(page: str) -> list[str]:
    """Return the names of a page's blocks, in order."""
    return [match["name"] for match in _BLOCK.finditer((FOLDER / page).read_text("utf-8"))]


def read(name: str) -> bytes:
    """Return the bytes of block `name`; empty when nobody has made them yet."""
    match = _find(name)[1]
    assert match["text"] is None, f"{name} is text"
    return bytes.fromhex(match["body"])


def read_text(name: str) -> str:
    """Return the words of text block `name`, one space between each."""
    match = _find(name)[1]
    assert match["text"] is not None, f"{name} is hex"
    return " ".join(match["body"].split())


def write(name: str, value: bytes | str) -> None:
    """Put `value` into block `name`."""
    page, match = _find(name)
    assert (match["text"] is not None) is isinstance(value, str), f"{name} is of the other kind"
    printed, columns = (value, _TEXT_COLUMNS) if isinstance(value, str) else (value.hex(), _HEX_COLUMNS)
    text = page.read_text("utf-8")
    body = "".join(f"{line}\n" for line in textwrap.wrap(printed, columns))
    page.write_text(text[: match.start("body")] + body + text[match.end("body") :], "utf-8")


def _find(name: str) -> tuple[Path, re.Match[str]]:
    found = [
        (page, match)
        for page in sorted(FOLDER.glob("*.md"))
        for match in _BLOCK.finditer(page.read_text("utf-8"))
        if match["name"] == name
    ]
    assert len(found) == 1, f"{len(found)} golden blocks named {name}"
    return found[0]
