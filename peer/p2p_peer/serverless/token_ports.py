"""The ports that a token names, open from when it is made until the other side is there."""

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from p2p_core.errors import NoPath
from p2p_core.wire.candidate import listed

from p2p_peer.events import AddressServiceUnusable, CandidatesFound, ConnectEvent, StunServerUnusable
from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.port_mapping.mapping import PortMapping
from p2p_peer.gather.stun_servers import Unheard
from p2p_peer.options import ConnectOptions
from p2p_peer.paths.base import BUDGET

__all__ = ["Ports"]

_log = logging.getLogger(__name__)


class Ports:
    """The ports that are punched from, and what a router maps to them, which outlives them."""

    def __init__(self) -> None:
        self.gathered = Gathered.nothing()
        self._ports, self._mapping = AsyncExitStack(), PortMapping()
        self._is_lent = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._ports.aclose()
        if not self._is_lent:
            await self._mapping.close()

    async def open(self, options: ConnectOptions, notify: Callable[[ConnectEvent], None]) -> Gathered:
        """Open them, and find out where they can be reached. Raises `NoPath`."""

        def unheard(one: Unheard) -> None:
            if not one.was_asked:
                notify(StunServerUnusable(one.server, one.why))

        self.gathered = await gather(
            options,
            None,
            (),
            self._ports,
            self._mapping,
            budget=BUDGET,
            unheard=unheard,
            service_failed=lambda why: notify(AddressServiceUnusable(why)),
        )
        notify(CandidatesFound(self.gathered.candidates()))
        _log.info("our candidates: %s", listed(self.gathered.candidates()))
        if not self.gathered.candidates():
            raise NoPath(
                "this computer has no address that another one could reach",
                advice="Connect it to a network; to try it on this computer alone, give --bind 127.0.0.1 on both "
                "sides.",
            )
        return self.gathered

    def reopen(self) -> None:
        """Take the UDP ports again, which went with a path that came to nothing; one that is lost is not missed."""
        for udp in self.gathered.udp_sockets:
            try:
                udp.reopen()
            except OSError as error:
                _log.info("UDP port %d is lost: %s", udp.number, error.strerror)

    async def lend(self, resources: AsyncExitStack) -> None:
        """Close the ports, which have done their work, and let what the router maps live as long as `resources`."""
        await self._ports.aclose()
        resources.push_async_callback(self._mapping.close)
        self._is_lent = True
