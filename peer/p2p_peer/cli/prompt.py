"""Asks whoever sits at the terminal, while there is no session yet."""

import contextlib
from collections.abc import Iterator

from p2p_peer.cli.chat import Chat
from p2p_peer.cli.console import Console, LineSource
from p2p_peer.cli.report import Report

__all__ = ["Prompt"]


class Prompt:
    """Whom to ask: a person at a terminal, who may be going to chat, or a pipe or a file."""

    def __init__(self, chat: Chat | None, console: Console, report: Report, *, is_person: bool) -> None:
        self._chat, self._console, self._report = chat, console, report
        self.is_person = is_person

    @property
    def is_chat(self) -> bool:
        """Whether a person chats, and can be asked more than what the command line is about."""
        return self._chat is not None

    async def yes_or_no(self, question: str) -> bool:
        """Return what a person who chats says to `question`."""
        assert self._chat is not None
        return await self._chat.ask(question)

    @contextlib.contextmanager
    def lines(self) -> Iterator[LineSource]:
        """Yield where lines come from; within this, none of a chat is a message."""
        if self._chat is None:
            yield self._console
            return
        with self._chat.diverted() as lines:
            yield lines

    def say(self, text: str) -> None:
        """Tell a person, if there is one."""
        if self.is_person:
            self._report.notice(text)
