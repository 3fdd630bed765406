"""The man pages in share/: well-formed, and as complete as the help."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from p2p_peer.cli import parser as peer_parser
from p2p_peer.cli.manual import EVENTS, HELP
from p2p_server import flags as server_flags

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "share" / "man" / "man1"
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "COMMANDS"]
PEER_SECTIONS = [*SECTIONS, "CHAT", "EVENTS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]
SERVER_SECTIONS = [
    *SECTIONS,
    *("SIZES", "OUTPUT", "SIGNALS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"),
]


def plain(page: Path) -> str:
    """What a reader sees, near enough: without macros and escapes, one space between words."""
    text = re.sub(r"\\f[BIR]", "", page.read_text())
    for escape, character in ((r"\-", "-"), (r"\(ti", "~"), (r"\(aq", "'"), (r"\&", "")):
        text = text.replace(escape, character)
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["p2p-peer.1", "p2p-server.1"])
@pytest.mark.parametrize(
    "command", [["groff", "-man", "-Tutf8", "-ww", "-z"], ["mandoc", "-T", "lint"]], ids=["groff", "mandoc"]
)
def test_nothing_to_complain_of(name: str, command: list[str]) -> None:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run([*command, str(PAGES / name)], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(("name", "sections"), [("p2p-peer.1", PEER_SECTIONS), ("p2p-server.1", SERVER_SECTIONS)])
def test_the_sections(name: str, sections: list[str]) -> None:
    assert re.findall(r"^\.SH (.+)$", (PAGES / name).read_text(), re.MULTILINE) == sections


@pytest.mark.parametrize(
    ("name", "commands"),
    [("p2p-peer.1", list(peer_parser.PARSERS)), ("p2p-server.1", ["authorize"])],
)
def test_nothing_stands_at_the_level_of_the_commands(name: str, commands: list[str]) -> None:
    section = (PAGES / name).read_text().partition(".SH COMMANDS\n")[2].partition("\n.SH ")[0]
    assert re.findall(r"^\.SS (.+)$", section, re.MULTILINE) == commands


def test_every_flag_of_the_peer() -> None:
    page = plain(PAGES / "p2p-peer.1")
    for parser in (peer_parser.chat_parser(), *(make() for make in peer_parser.PARSERS.values())):
        usage = parser.format_help()
        for flag in re.findall(r"--[a-z-]+", usage.partition("commands:")[0]):
            assert flag in page


def test_every_flag_of_the_server() -> None:
    page = plain(PAGES / "p2p-server.1")
    for word in re.findall(r"--[a-z-]+|P2P_SERVER_[A-Z_]+", server_flags.make_parser().format_help()):
        assert word in page


def test_all_that_the_help_says_besides() -> None:
    page = plain(PAGES / "p2p-peer.1")
    for title in ("CHAT", "EXIT STATUS", "ENVIRONMENT"):
        for item in HELP[title]:
            for text in item if isinstance(item, tuple) else (item,):
                assert " ".join(text.split()) in page


def test_the_readme_has_the_same_events() -> None:
    readme = (ROOT / "README.md").read_text().replace("`", "")
    for name, fields, when in EVENTS:
        assert f"| {name} | {fields} | {when} |".replace("|  |", "| |") in readme


def test_the_readme_has_every_flag() -> None:
    readme = (ROOT / "README.md").read_text()
    parsers = [
        peer_parser.chat_parser(),
        *(make() for make in peer_parser.PARSERS.values()),
        server_flags.make_parser(),
    ]
    for parser in parsers:
        for flag in set(re.findall(r"--[a-z0-9-]+", parser.format_usage())) - {"--version"}:
            assert re.search(rf"`[^`]*{flag}\b", readme), flag
