"""Where STUN servers see one of our ports, and what that tells about the NAT before it."""

import asyncio
import logging
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass

from p2p_core.machines.nat_mapping import mapping_of
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping

from p2p_peer.gather.stun import Asker, StunFailed

__all__ = ["Reflexive"]

# s; the shortest UDP mappings seen last 30 s, though RFC 4787 §4.3 asks for 120. TCP ones live longer, but home routers
# are seen to drop idle ones after a minute or less.
KEEPALIVE = 15.0
SECOND_TRY = 1.0  # s after one that failed, to the same server: the end of a TCP connection is acknowledged by then

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Question:
    server: Address
    mapped: Address | None = None  # not answered


class Reflexive:
    """The server-reflexive side of one local port.

    The mapping that was made last is the one that counts: from there a sequential NAT goes on.
    """

    def __init__(
        self,
        transport: Transport,
        family: socket.AddressFamily,
        asker: Asker,
        own: Collection[Address],
        *,
        heard: Callable[[], None],
        drop: Callable[[Address], None] = lambda server: None,
    ) -> None:
        """Ask through `asker`; `own` is what the port is without a NAT.

        `heard` is called when there is something new, `drop` with each server that will not be asked again.
        """
        self.transport, self.family = transport, family
        self._asker, self._own, self._heard, self._drop = asker, own, heard, drop
        self._questions: list[_Question] = []  # in the order asked
        self._moved: Address | None = None  # where a keepalive saw us last
        self._failed = 0  # keepalives so far

    async def ask(self, server: Address) -> bool:
        """Ask one server, once, and say whether it answered."""
        if any(server == question.server for question in self._questions):
            return False
        question = _Question(server)
        self._questions.append(question)
        _log.debug("asking STUN server %s over %s", server, self.transport.value)
        try:
            question.mapped = await self._asker.ask(server)
        except StunFailed as error:
            _log.info("STUN server %s (%s)", error, self.transport.value)
            return False
        _log.info("STUN server %s sees us at %s (%s)", server, question.mapped, self.transport.value)
        for earlier in self._answered()[:-1]:
            self._drop(earlier.server)
        self._heard()
        return True

    async def hold(self) -> None:
        """Ask the last server that answered again and again, so that the NAT keeps the mapping. Does not return.

        Some close idle TCP connections. The next one is then to another server, if there is one: a NAT that sees the
        same two ends connect again forgets what was, and with it, if there was no other connection, the mapping.
        """
        while True:
            await asyncio.sleep(KEEPALIVE)
            servers = [question.server for question in reversed(self._answered())]
            for _ in range(2 if servers else 0):
                if await self._refresh(servers[self._failed % len(servers)]):
                    break
                self._failed += 1
                if len(servers) == 1:
                    await asyncio.sleep(SECOND_TRY)

    async def _refresh(self, server: Address) -> bool:
        """Ask once; return False if there was no answer."""
        before = self.candidate
        try:
            self._moved = await self._asker.ask(server)
        except StunFailed as error:  # what it said stands: the mapping lives as long as it lives
            _log.debug("STUN server %s (%s)", error, self.transport.value)
            return False
        if self.candidate != before:
            _log.info("STUN server %s now sees us at %s (%s)", server, self._moved, self.transport.value)
            self._heard()
        return True

    @property
    def candidate(self) -> Candidate | None:
        """Where we were last seen; a keepalive may have shown that the mapping moved."""
        answered = self._answered()
        mapped = self._moved or (answered[-1].mapped if answered else None)
        return None if mapped is None else Candidate(CandidateKind.SERVER_REFLEXIVE, self.transport, mapped)

    @property
    def mapping(self) -> tuple[Mapping, int]:
        """How the NAT maps the port, and the step of a sequential one, see `mapping_of`."""
        return mapping_of([question.mapped for question in self._questions if question.mapped is not None], self._own)

    def _answered(self) -> list[_Question]:
        return [question for question in self._questions if question.mapped is not None]
