"""How the other peer is met: one interface, and an implementation of it for each command that makes a session."""

import argparse
from collections.abc import Callable, Mapping
from typing import Protocol

from p2p_core.errors import PunchwireError

from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report
from p2p_peer.events import ConnectEvent
from p2p_peer.session import Session

__all__ = ["Way", "advise", "way_of"]


class Way(Protocol):
    """Meets the other peer as the command line said. Made before the event loop: it may ask for a passphrase."""

    @property
    def meets_again(self) -> bool:
        """Whether the same two can meet once more when their session is lost."""

    @property
    def advice(self) -> Mapping[type[PunchwireError], str]:
        """What to do about errors where the advice of their class does not fit this way."""

    @property
    def missing(self) -> PunchwireError:
        """What there is no session for, as far as the way has been gone."""

    async def meet(self, notify: Callable[[ConnectEvent], None]) -> Session:
        """Connect, and return the session. Raises the leaves of `PunchwireError`."""


def advise(error: PunchwireError, advice: Mapping[type[PunchwireError], str]) -> None:
    """Give an error the advice for its class, unless whoever raised it knew better."""
    if "advice" in vars(error):
        return
    for kind in type(error).__mro__:
        if issubclass(kind, PunchwireError) and kind in advice:
            error.advice = advice[kind]
            return
        if "advice" in vars(kind):
            return


def way_of(options: argparse.Namespace, report: Report, prompt: Prompt) -> Way:
    """Return how the command meets the other peer, of which only that is imported. Raises `UsageError` and below."""
    if options.command == "token":
        from p2p_peer.cli.meet_by_token import MeetByToken

        return MeetByToken(options, report, prompt)
    if options.command == "direct":
        from p2p_peer.cli.meet_directly import MeetDirectly

        return MeetDirectly(options, report, prompt)
    from p2p_peer.cli.meet_by_mediator import MeetByMediator

    return MeetByMediator(options, report, prompt)
