"""Which STUN servers are asked, and in which order: the user's own, and some of those that the mediator names."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from p2p_core.errors import Malformed
from p2p_core.packet_budget import PacketBudget
from p2p_core.printable import printable
from p2p_core.targets import may_dial
from p2p_core.wire.candidate import Address, Transport

from p2p_peer.gather.reflexive import Reflexive
from p2p_peer.gather.stun import ANSWER_TIME
from p2p_peer.mediator import StunServer

__all__ = ["Unheard", "ask_all"]

_PACKETS = 5  # that a server gets which does not answer, at most
MAX_NAMED = 3  # of each transport: two ports and a second address; more would only make us knock at doors

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Unheard:
    """A STUN server that was to be asked, and told nothing."""

    server: StunServer
    why: str  # a clause
    is_own: bool  # the user has named it, not the mediator
    was_asked: bool = True  # it has an address to ask at


def _ignore(unheard: Unheard) -> None:
    """Tell nobody."""


def ask_all(
    ports: Sequence[Reflexive],
    own: Sequence[StunServer],
    named: Iterable[StunServer],
    mediator: Address | None,
    budget: PacketBudget | None = None,
    *,
    failed: Callable[[Unheard], None] = _ignore,
) -> list["asyncio.Task[None]"]:
    """Ask all servers for all ports of their transport; return a task for each.

    `mediator` is where the mediator answered, if there is one, see `gather`; `budget` is for the servers that it names.
    `failed` is told of each server that told nothing. TCP is asked first: where a NAT takes the ports of both
    transports from one sequence, the last one that UDP shows is then where the sequence goes on.
    """
    asking = _Asking(ports, mediator, budget or PacketBudget(), failed)
    named = list(named)
    tasks = []
    for transport in (Transport.TCP, Transport.UDP):
        allowed = [server for server in named if server.transport is transport][:MAX_NAMED]
        tasks += [asking.ask(server, trusted=True) for server in own if server.transport is transport]
        tasks += [asking.ask(server, trusted=False) for server in allowed]
    return [asyncio.create_task(task) for task in tasks]


class _Asking:
    def __init__(
        self,
        ports: Sequence[Reflexive],
        mediator: Address | None,
        budget: PacketBudget,
        failed: Callable[[Unheard], None],
    ) -> None:
        self._ports, self._budget, self._failed = ports, budget, failed
        self._mediator = None if mediator is None else mediator.ip
        self._resolving: dict[str, asyncio.Task[list[str]]] = {}

    async def ask(self, server: StunServer, *, trusted: bool) -> None:
        """Ask one server over each address family it has: each shows another address of ours."""
        try:
            addresses = await self._resolved(server)
        except TimeoutError:
            self._not_known(server, trusted, f"its name was not resolved within {ANSWER_TIME:g} s")
        except OSError as error:
            self._not_known(server, trusted, f"its name does not resolve ({error.strerror or error})")
        except (ValueError, Malformed) as error:  # what the mediator named is no name at all
            self._not_known(server, trusted, f"that is no name of a computer ({error})")
        else:
            asked = [self._ask_at(address, server.transport, trusted) for address in addresses]
            if not any(await asyncio.gather(*asked)):
                self._failed(self._silent(server, addresses, trusted))

    def _not_known(self, server: StunServer, trusted: bool, why: str) -> None:
        _log.info("STUN server %s: %s", printable(server.host), why)
        self._failed(Unheard(server, why, trusted, was_asked=False))

    def _silent(self, server: StunServer, addresses: Iterable[Address], trusted: bool) -> Unheard:
        ports = [port for port in self._ports if port.transport is server.transport]
        versions = {6 if port.family == socket.AF_INET6 else 4 for port in ports}
        if versions & {address.ip.version for address in addresses}:
            return Unheard(server, "no answer", trusted)
        wanted = " or ".join(f"IPv{version}" for version in sorted(versions))
        return Unheard(server, f"it has no {wanted} address", trusted, was_asked=False)

    async def _ask_at(self, server: Address, transport: Transport, trusted: bool) -> bool:
        """Ask one server at one address, and say whether it answered."""
        if not trusted and not may_dial(server, loopback=self._mediator is not None and self._mediator.is_loopback):
            _log.info("STUN server %s is not asked: the mediator has no business to name such an address", server)
            return False
        family = socket.AF_INET6 if server.ip.version == 6 else socket.AF_INET
        answered = False
        for port in self._ports:
            if (port.transport, port.family) == (transport, family):
                if not trusted and not self._may_cost(server):
                    _log.info("STUN server %s is not asked: as many packets went there unanswered as may", server)
                elif await port.ask(server):
                    self._budget.answered(server.ip, asyncio.get_running_loop().time())
                    answered = True
        return answered

    def _may_cost(self, server: Address) -> bool:
        now = asyncio.get_running_loop().time()
        return all(self._budget.spend(server.ip, now) for _ in range(_PACKETS))

    async def _resolved(self, server: StunServer) -> list[Address]:
        """Return an address of each family that the server has, the mediator's before others: it answers."""
        try:
            return [Address.of(server.host, server.port)]
        except Malformed:
            hosts = await self._hosts(server.host)
        addresses = [Address.of(host, server.port) for host in hosts]
        addresses.sort(key=lambda address: address.ip != self._mediator)
        return list({address.ip.version: address for address in reversed(addresses)}.values())

    async def _hosts(self, name: str) -> list[str]:
        """Look a name up once, for all servers that have it: they are then asked in their order."""
        if name not in self._resolving:
            self._resolving[name] = asyncio.create_task(_look_up(name))
        return await asyncio.shield(self._resolving[name])


async def _look_up(name: str) -> list[str]:
    async with asyncio.timeout(ANSWER_TIME):
        found = await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in found]
