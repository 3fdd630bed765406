"""Our token at a terminal: a QR code, and below it what has to be seen with it while the other side's is asked for."""

import time
from datetime import datetime

from p2p_peer.cli.console import Console
from p2p_peer.cli.qr_code import NoRoom, qr_code
from p2p_peer.cli.rows import in_rows
from p2p_peer.events import TokenMade

__all__ = ["QUESTION", "QUESTION_OR_WAIT", "show_token"]

QUESTION = "paste the other side's token here:"
QUESTION_OR_WAIT = "paste the other side's token here (or wait: if the other side can reach you, it needs only yours):"

_NOT_PUBLIC = (
    "it leads here from this network only: no STUN server is set, or none answered "
    "(--stun HOST, or stun = [...] in the configuration)"
)
_MARK = 2  # columns before each of these sentences
_ANSWER = 1  # row, for what is typed


def show_token(console: Console, made: TokenMade, *, shows_qr: bool) -> None:
    """Show it, with a QR code above if that is wanted and there is room for all of it at once."""
    until = f"{datetime.fromtimestamp(made.expires).astimezone():%H:%M:%S}"
    heading = f"your token, good until {until} ({_in_words(made.expires - time.time())}), for the other side:"
    below = [] if made.is_public else [_NOT_PUBLIC]
    if shows_qr:
        _show_qr(console, made.text, [heading, *below, QUESTION_OR_WAIT])
    console.notice(heading)
    console.verbatim(made.text)
    for sentence in below:
        console.notice(sentence)


def _in_words(seconds: float) -> str:
    return f"{round(seconds)} s" if seconds < 120 else f"{round(seconds / 60)} min"


def _show_qr(console: Console, token: str, sentences: list[str]) -> None:
    if (room := console.room) is None:
        console.notice("no QR code of it, as this is no terminal that could show one")
        return
    columns, rows = room
    below = [*(in_rows(sentence, columns, _MARK) for sentence in sentences), _broken(token, columns)]
    try:
        code = qr_code(token, columns, rows, below=_ANSWER + sum(text.count("\n") + 1 for text in below))
    except NoRoom as why:
        console.notice(f"no QR code of it, as the terminal is too small: {why}")
    else:
        console.verbatim(code)


def _broken(token: str, columns: int) -> str:
    """Return the token as the terminal breaks it."""
    return "\n".join(token[at : at + columns] for at in range(0, len(token), max(columns, 1)))
