"""`p2p-peer HOST PORT KEYPAIR PEERKEY`: a mediator introduces the two."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace

from p2p_core.errors import Malformed, MediatorUnreachable, NoPath, PeerDidNotCome, PunchwireError, UsageError
from p2p_core.identity import PeerId

from p2p_peer.app import connect
from p2p_peer.cli.network_flags import chosen_paths, connect_options
from p2p_peer.cli.preflight import own_key, peer_key
from p2p_peer.cli.prompt import Prompt
from p2p_peer.cli.report import Report
from p2p_peer.events import Advertised, ConnectEvent, Matched
from p2p_peer.session import Session
from p2p_peer.trust import MediatorId

__all__ = ["MeetByMediator"]


class MeetByMediator:
    """Implements `Way`."""

    meets_again = True
    advice: Mapping[type[PunchwireError], str] = {}

    def __init__(self, options: argparse.Namespace, report: Report, prompt: Prompt) -> None:
        """Raises `UsageError` and below."""
        if options.insecure and options.mediator_id is not None:
            raise UsageError(
                "without TLS the mediator shows no key, so --mediator-id cannot be checked",
                advice="Leave out --mediator-id or --insecure.",
            )
        self._report, self._prompt = report, prompt
        self._connect_options = replace(
            connect_options(options),
            wait=options.wait,
            mediator_id=_mediator_id(options.mediator_id),
            confirm_mediator=self._confirm if prompt.is_chat else None,
            insecure=options.insecure,
            paths=chosen_paths(options),
        )
        self._host, self._port = options.host, options.port
        self._key, self._peer_key = own_key(options.keypair), peer_key(options.peerkey)
        self.missing: PunchwireError = MediatorUnreachable("the mediator did not let this peer in")

    async def meet(self, notify: Callable[[ConnectEvent], None]) -> Session:
        """As in `Way`."""

        def on_connecting(event: ConnectEvent) -> None:
            match event:
                case Advertised():
                    self.missing = PeerDidNotCome(f"the other peer ({PeerId.of(self._peer_key).short}) did not come")
                case Matched():
                    self.missing = NoPath("no connection to the other peer came up")
            notify(event)

        return await connect(
            self._host,
            self._port,
            self._key,
            self._peer_key,
            options=self._connect_options,
            notify=on_connecting,
        )

    async def _confirm(self, mediator: MediatorId) -> bool:
        """Ask whether a mediator met for the first time is the right one."""
        self._report.notice("first connection to this mediator. Its id is")
        self._report.notice(str(mediator))
        return await self._prompt.yes_or_no("is that the one its owner told you? Please type yes or no")


def _mediator_id(text: str | None) -> MediatorId | None:
    """Return the value of --mediator-id."""
    if text is None:
        return None
    try:
        return MediatorId.parse(text)
    except Malformed:
        raise UsageError(
            f"{text!r} is not a mediator id", advice="p2p-server prints its id when it starts: 52 letters and digits."
        ) from None
