"""The other side's token, as it is pasted at a terminal or comes in a pipe: perhaps over several lines."""

import asyncio
from collections.abc import Awaitable, Callable

from p2p_core.errors import Malformed, TokenRejected, TokenUnreadable
from p2p_core.token_terms import ReadToken
from p2p_core.wire.token_text import is_partial

from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report

__all__ = ["PastedToken"]

_AT_ONCE = 0.3  # s within which all lines of a paste are there


class PastedToken:
    """Reads lines until they are a token. A person who mistypes is asked again."""

    def __init__(self, prompt: Prompt, report: Report) -> None:
        self._prompt, self._report = prompt, report

    async def read(self, open_token: Callable[[str], Awaitable[ReadToken]], *, optional: bool) -> ReadToken | None:
        """Return the token that `open_token` takes; None when no line will come any more.

        `optional`: the other side may come without one. Where nobody can be asked again, what `open_token` raises is
        raised: `TokenUnreadable`, `TokenRejected` and below, or `Malformed`.
        """
        way_out = ", unless it can come by itself with yours" if optional else ""
        while (text := await self._text(f"paste the other side's token{way_out}:")) is not None:
            try:
                return await open_token(text)
            except (TokenUnreadable, TokenRejected, Malformed) as error:
                if not self._prompt.is_person:
                    raise
                self._report.notice(str(error))
                self._report.notice(error.advice)
        return None

    async def _text(self, question: str) -> str | None:
        """Return the first line that is not empty, and those behind it that it goes on in."""
        text = ""
        while not text.strip():
            line = await self._prompt.line(question)
            if line is None:
                return None
            text = line
        while is_partial(text) and (line := await self._next()):
            text = f"{text}\n{line}"
        return text

    async def _next(self) -> str | None:
        """Return the next line; whoever did not paste it at once is told that it is waited for."""
        coming = asyncio.ensure_future(self._prompt.line(""))
        try:
            ready, _ = await asyncio.wait([coming], timeout=_AT_ONCE)
            if not ready and self._prompt.is_person:
                self._report.notice("that is the beginning of a token: its rest, please, or an empty line for another")
            return await coming
        finally:
            coming.cancel()
