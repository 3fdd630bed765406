"""The other side's token, as it is pasted at a terminal or comes in a pipe: perhaps over several lines."""

import asyncio
from collections.abc import Awaitable, Callable

from p2p_core.errors import PunchwireError, TokenExpired, TokenRejected, TokenUnreadable
from p2p_core.token_terms import HeldToken
from p2p_core.wire.token_text import cleaned, is_partial, parse

from p2p_peer.cli.console import LineSource
from p2p_peer.cli.meet import advise
from p2p_peer.cli.prompt import Prompt

__all__ = ["pasted_token"]

_AT_ONCE = 0.3  # s within which all lines of a paste are there
_ADVICE: dict[type[PunchwireError], str] = {TokenExpired: "Ask the other side for a new one, and paste it here."}

OpenToken = Callable[[str], Awaitable[HeldToken]]


async def pasted_token(prompt: Prompt, open_token: OpenToken, question: str) -> HeldToken | None:
    """Return the token that `open_token` takes; None when no line will come any more. A person is asked again.

    Where nobody can be asked, what `open_token` raises is raised: `TokenUnreadable`, or `TokenRejected` and below.
    """
    with prompt.lines() as lines:
        while True:
            prompt.say(question)
            text = await _text(lines, prompt)
            if text is None:
                return None
            try:
                return await open_token(text)
            except (TokenUnreadable, TokenRejected) as error:
                if not prompt.is_person:
                    raise
                advise(error, _ADVICE)
                prompt.say(str(error))
                prompt.say(error.advice)


async def _text(lines: LineSource, prompt: Prompt) -> str | None:
    """Return the first line that is not empty, and those behind it that it goes on in; or a whole one behind it."""
    text: str | None = ""
    while text is not None and not text.strip():
        text = await lines.next()
    while text is not None and is_partial(text) and not _is_whole(text) and (line := await _rest(lines, prompt)):
        text = line if _is_whole(line) else cleaned(text) + cleaned(line)
    return text


def _is_whole(line: str) -> bool:
    try:
        parse(line)
    except TokenUnreadable:
        return False
    return True


async def _rest(lines: LineSource, prompt: Prompt) -> str | None:
    """Return the next line; whoever did not paste it at once is told that it is waited for."""
    coming = asyncio.ensure_future(lines.next())
    try:
        ready, _ = await asyncio.wait([coming], timeout=_AT_ONCE)
        if not ready:
            prompt.say("this is only the beginning of a token: paste the rest, or press Enter to start over")
        return await coming
    finally:
        coming.cancel()
