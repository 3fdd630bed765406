"""Tokens: the content, the text as it is pasted, and the content sealed."""

from dataclasses import replace

from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from p2p_core.errors import Malformed, TokenExpired, TokenRejected, TokenUnreadable
from p2p_core.token_sealing import _context, check_slot, check_times, open_token
from p2p_core.wire import token, token_text
from p2p_core.wire.token import MAX_LIFE, Token
from p2p_core.wire.token_text import SealedToken

from tests.fuzz.shapes import chosen, shown, text_of
from tests.fuzz.target import Target
from tests.vectors import pages
from tests.vectors.made.inputs import ISSUED

_KEY = bytes(range(64))
_LEAST, _MOST = token_text.MIN_SEALED_BYTES, token_text.SIV_BYTES + token.MAX_CONTENT_BYTES


def _content(data: bytes) -> Token:
    return token.decode(data, ISSUED)


def _content_holds(read: Token) -> None:
    """What is said again fits, and from then on is said the same way each time."""
    assert 0 < read.expires - read.issued <= MAX_LIFE
    said = replace(read, candidates=token.fitting(read.candidates))
    again = _content(token.encode(said))
    assert replace(again, candidates=()) == replace(read, candidates=())
    assert set(again.candidates) <= set(read.candidates)
    assert token.encode(again) == token.encode(said)
    shown(" ".join(map(str, read.candidates)))


def _noisy(data: bytes) -> str:
    """Return a token that is right, with something between its characters."""
    size = _LEAST + data[0] % (_MOST - _LEAST + 1) if data else _LEAST
    place, body, noise = data[1:2], data[2 : 2 + size + 4], data[2 + size + 4 :]
    body = body.ljust(size + 4, b"\0")
    text = SealedToken(int.from_bytes(body[:4]), body[4:]).text
    at = place[0] % (len(text) + 1) if place else 0
    return text[:at] + text_of(noise) + text[at:]


def _text(data: bytes) -> tuple[str, SealedToken]:
    way, data = chosen(data, 2)
    text = _noisy(data) if way else text_of(data)
    token_text.is_partial(text)
    return text, token_text.parse(text)


def _text_holds(parsed: tuple[str, SealedToken]) -> None:
    _, read = parsed
    assert _LEAST <= len(read.sealed) <= token_text.SIV_BYTES + token.MIN_CONTENT_BYTES + 61
    assert token_text.parse(read.text) == read
    assert read.text.isascii()
    assert read.text.isalnum()
    assert not token_text.is_partial(read.text)


def _opened(data: bytes) -> Token:
    """Open what somebody has sealed who has the phrase."""
    way, data = chosen(data, 2)
    sealed = data if way else AESSIV(_KEY).encrypt(data or b"\0", _context(ISSUED))
    made = SealedToken(ISSUED, sealed)
    check_slot(made, ISSUED + 30.0)
    read = open_token(made, _KEY)
    check_times(read, ISSUED + 30.0)
    return read


def _contents() -> list[bytes]:
    return [pages.read(name) for name in ("token-content", "token-content-ports")]


TARGETS = (
    Target(
        name="token-content",
        of=("p2p_core.wire.token.decode",),
        parse=_content,
        raises=(Malformed,),
        seeds=_contents,
        holds=_content_holds,
    ),
    Target(
        name="token-text",
        of=(
            "p2p_core.wire.token_text.parse",
            "p2p_core.wire.token_text.cleaned",
            "p2p_core.wire.token_text.is_partial",
        ),
        parse=_text,
        raises=(TokenUnreadable,),
        seeds=lambda: [
            b"\0" + pages.read_text("token-text").encode(),
            b"\0my token: `" + pages.read_text("token-text").encode() + b"`\n",
            b"\1\5\7" + bytes(80),
            b"\1\5\7" + bytes(range(80)) + " \u200b\n> ".encode(),
        ],
        holds=_text_holds,
    ),
    Target(
        name="token-opened",
        of=("p2p_core.token_sealing.open_token",),
        parse=_opened,
        raises=(TokenExpired, TokenRejected),
        seeds=lambda: [b"\0" + content for content in _contents()],
        holds=_content_holds,
    ),
)
