"""How our own token is shown: what has to be seen at once, and what else."""

import time
from datetime import datetime

import pytest
from p2p_peer.cli.console_lines import LineConsole
from p2p_peer.cli.own_token import QUESTION_OR_WAIT, show_token
from p2p_peer.cli.rows import in_rows
from p2p_peer.events import TokenMade

TOKEN = "1" + "abc" * 39 + "12"  # 120 characters, as of an ordinary home
NOT_PUBLIC = (
    "* it leads here from this network only: no STUN server is set, or none answered (--stun HOST, or stun = [...] in "
    "the configuration)"
)


class Sized(LineConsole):
    """Says how large the terminal is, and writes down what it shows, in order."""

    def __init__(self, room: tuple[int, int] | None) -> None:
        super().__init__()
        self._room = room
        self.shown: list[str] = []

    @property
    def room(self) -> tuple[int, int] | None:
        return self._room

    def notice(self, text: str) -> None:
        self.shown.append(f"* {text}")

    def verbatim(self, text: str) -> None:
        self.shown.append(text)


def shown(
    room: tuple[int, int] | None, *, shows_qr: bool = True, is_public: bool = True, seconds: int = 600
) -> list[str]:
    console = Sized(room)
    show_token(console, TokenMade(TOKEN, int(time.time()) + seconds, is_public), shows_qr=shows_qr)
    return console.shown


def test_the_token_stands_below_its_qr_code() -> None:
    code, heading, token = shown((80, 40))
    assert "▀" in code
    assert heading.startswith("* your token, good until ")
    assert token == TOKEN


@pytest.mark.parametrize(("room", "rows"), [((80, 40), 40), ((80, 28), 28), ((60, 28), 28), ((120, 26), 26)])
@pytest.mark.parametrize("is_public", [True, False])
def test_all_of_it_is_seen_while_it_is_asked_for(room: tuple[int, int], rows: int, is_public: bool) -> None:
    """As a terminal shows it, with the longest question and a row to type in."""
    columns, _ = room
    taken = 1
    for line in (*shown(room, is_public=is_public), f"* {QUESTION_OR_WAIT}"):
        if line.startswith("*"):
            taken += len(in_rows(line, columns).split("\n"))
        elif line == TOKEN:
            taken += -(-len(TOKEN) // columns)
        else:
            taken += len(line.split("\n"))
    assert taken <= rows


@pytest.mark.parametrize(
    ("room", "why"),
    [
        (None, "as this is no terminal that could show one"),
        ((80, 24), "as the terminal is too small: it takes 43 columns and 28 rows"),
        ((80, 27), "as the terminal is too small: it takes 43 columns and 28 rows"),
        ((40, 60), "as the terminal is too small: it takes 43 columns and 31 rows"),
    ],
)
def test_no_qr_code(room: tuple[int, int] | None, why: str) -> None:
    first, heading, token = shown(room)
    assert first == f"* no QR code of it, {why}"
    assert "your token" in heading
    assert token == TOKEN


def test_no_qr_code_is_wanted() -> None:
    assert len(shown((80, 40), shows_qr=False)) == 2


def test_a_token_that_leads_here_from_this_network_only() -> None:
    assert shown((80, 40), is_public=False, shows_qr=False)[1:] == [TOKEN, NOT_PUBLIC]


@pytest.mark.parametrize(
    ("seconds", "words"), [(600, "10 min"), (3600, "60 min"), (120, "2 min"), (119, "119 s"), (30, "30 s")]
)
def test_how_long_it_is_good(monkeypatch: pytest.MonkeyPatch, seconds: int, words: str) -> None:
    now = 1_700_000_000
    monkeypatch.setattr(time, "time", lambda: now)
    heading, _ = shown((80, 40), shows_qr=False, seconds=seconds)
    until = f"{datetime.fromtimestamp(now + seconds).astimezone():%H:%M:%S}"
    assert heading == f"* your token, good until {until} ({words}), for the other side:"
