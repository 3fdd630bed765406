"""The golden blocks of docs/protocol/*.md, fences with an info string.

`golden NAME`       bytes, as hex
`golden-text NAME`  words
`golden-talk NAME`  frames, as hex: a line that begins with > begins one of the initiator, with < one of the responder
"""

import re
import textwrap
from pathlib import Path

__all__ = ["FOLDER", "Talk", "Value", "names", "read", "read_talk", "read_text", "read_value", "write"]

FOLDER = Path(__file__).parents[2] / "docs" / "protocol"
Talk = tuple[tuple[str, bytes], ...]  # frames, each with the role of who says it
Value = bytes | str | Talk

_BLOCK = re.compile(
    r"^```golden(?P<form>-text|-talk|) (?P<name>[a-z0-9-]+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)
_HEX_COLUMNS = 96
_TEXT_COLUMNS = 150
_MARKS = {"initiator": "> ", "responder": "< "}


def names(page: str) -> list[str]:
    """Return the names of a page's blocks, in order."""
    return [match["name"] for match in _BLOCK.finditer((FOLDER / page).read_text("utf-8"))]


def read(name: str) -> bytes:
    """Return the bytes of block `name`; empty when nobody has made them yet."""
    return bytes.fromhex(_body(name, ""))


def read_text(name: str) -> str:
    """Return the words of text block `name`, one space between each."""
    return " ".join(_body(name, "-text").split())


def read_talk(name: str) -> Talk:
    """Return the frames of talk `name`, in order."""
    whose = {mark[0]: role for role, mark in _MARKS.items()}
    frames = re.findall(r"^([<>])([^<>]*)", _body(name, "-talk"), re.MULTILINE)
    return tuple((whose[mark], bytes.fromhex(printed)) for mark, printed in frames)


def read_value(name: str) -> Value:
    """Return what is in block `name`, of whichever form it is."""
    match _find(name)[1]["form"]:
        case "-text":
            return read_text(name)
        case "-talk":
            return read_talk(name)
        case _:
            return read(name)


def write(name: str, value: Value) -> None:
    """Put `value` into block `name`."""
    page, match = _find(name)
    form, lines = _print(value)
    assert match["form"] == form, f"{name} is of another form"
    text = page.read_text("utf-8")
    body = "".join(f"{line}\n" for line in lines)
    page.write_text(text[: match.start("body")] + body + text[match.end("body") :], "utf-8")


def _print(value: Value) -> tuple[str, list[str]]:
    """Return form and lines."""
    match value:
        case bytes():
            return "", textwrap.wrap(value.hex(), _HEX_COLUMNS)
        case str():
            return "-text", textwrap.wrap(value, _TEXT_COLUMNS)
        case talk:
            marked = ((_MARKS[role], frame.hex()) for role, frame in talk)
            return "-talk", [
                line
                for mark, frame in marked
                for line in textwrap.wrap(
                    frame, _HEX_COLUMNS + len(mark), initial_indent=mark, subsequent_indent=" " * len(mark)
                )
            ]


def _body(name: str, form: str) -> str:
    match = _find(name)[1]
    assert match["form"] == form, f"{name} is of another form"
    return match["body"]


def _find(name: str) -> tuple[Path, re.Match[str]]:
    found = [
        (page, match)
        for page in sorted(FOLDER.glob("*.md"))
        for match in _BLOCK.finditer(page.read_text("utf-8"))
        if match["name"] == name
    ]
    assert len(found) == 1, f"{len(found)} golden blocks named {name}"
    return found[0]
