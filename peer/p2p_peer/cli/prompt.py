"""Asks whoever sits at the terminal, while there is no session yet."""

from p2p_peer.cli.chat import Chat
from p2p_peer.cli.console import Console
from p2p_peer.cli.report import Report

__all__ = ["Prompt"]


class Prompt:
    """Where lines come from: typed by a person, who is asked for them, or from a pipe or a file."""

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

    async def line(self, question: str) -> str | None:
        """Return the next line, for which a person is asked; None if none will come."""
        if self._chat is not None:
            return await self._chat.ask_line(question)
        if self.is_person:
            self._report.notice(question)
        return await self._console.next()
