"""Which protocol maps which port, for how long, and how it is given back."""

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from p2p_core.wire.candidate import Candidate, CandidateKind, Transport

from p2p_peer.gather.port_mapping.gateways import Gateway, find_gateways
from p2p_peer.gather.port_mapping.mapper import Mapped, Mapper, MappingFailed, believable
from p2p_peer.gather.port_mapping.nat_pmp import NatPmp
from p2p_peer.gather.port_mapping.pcp import Pcp
from p2p_peer.gather.port_mapping.upnp import Upnp

__all__ = ["FoundProtocol", "Mappings", "PortMapping", "find_protocols"]

ANSWER_TIME = 1.0  # s to find out what a gateway speaks
RELEASE_TIME = 1.0  # s that giving mappings back may hold up the end of the program; they end by themselves, too
LEAST_PAUSE = 1.0  # s between renewals, whatever a gateway says

Finder = Callable[[Gateway], Coroutine[Any, Any, Mapper]]
FINDERS: Mapping[str, Finder] = {"PCP": Pcp.find, "NAT-PMP": NatPmp.find, "UPnP": Upnp.find}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FoundProtocol:
    """A protocol for mapping ports that a gateway speaks."""

    protocol: str  # for people: PCP, NAT-PMP, UPnP
    gateway: IPv4Address
    external: IPv4Address | None  # its address on the outside; PCP does not tell without a mapping


class PortMapping:
    """The ports of ours that gateways have opened: those of the latest attempt, until they are given back.

    They are kept beyond the attempt, as a path may rest on them: some gateways cut off what came in by a mapping when
    it ends. The next attempt is made when there is no such path, or none any more.
    """

    def __init__(self) -> None:
        self._latest: Mappings | None = None
        self._releases: set[asyncio.Task[None]] = set()

    def start(self, udp_port: int | None, tcp_port: int | None, local: Iterable[IPv4Address]) -> "Mappings":
        """Have the gateways of the networks of `local` map our ports. What was mapped before is given back."""
        self._release_latest()
        ports = {Transport.UDP: udp_port, Transport.TCP: tcp_port}
        self._latest = Mappings({transport: port for transport, port in ports.items() if port is not None}, local)
        return self._latest

    async def close(self) -> None:
        """Give everything back, which takes `RELEASE_TIME` at most."""
        self._release_latest()
        await asyncio.gather(*self._releases)

    def _release_latest(self) -> None:
        if self._latest is not None:
            release = asyncio.create_task(self._latest.release())
            self._releases.add(release)
            release.add_done_callback(self._releases.discard)
            self._latest = None


class Mappings:
    """What all gateways map of one pair of ports, renewed until it is given back. What fails is logged."""

    def __init__(self, ports: Mapping[Transport, int], local: Iterable[IPv4Address]) -> None:
        self._holdings = [_Holding(gateway, ports) for gateway in find_gateways(local)] if ports else []

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """One for each gateway, done when it will map no more. None of them raises anything."""
        return [holding.mapping for holding in self._holdings]

    def candidates(self) -> list[Candidate]:
        """Return what leads to our ports by now."""
        return [candidate for holding in self._holdings for candidate in holding.candidates()]

    async def release(self) -> None:
        """Give back what is mapped, and what comes to be mapped meanwhile, in `RELEASE_TIME` at most."""
        try:
            async with asyncio.timeout(RELEASE_TIME):
                await asyncio.gather(*(holding.release() for holding in self._holdings))
        except TimeoutError:
            _log.info("not all port mappings were given back within %g s; they end by themselves", RELEASE_TIME)


async def find_protocols(local: Iterable[IPv4Address]) -> tuple[FoundProtocol, ...]:
    """Ask the gateways of the networks of `local` which protocols they speak; return those that answer within 1 s."""
    tasks: list[asyncio.Task[FoundProtocol | None]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_TIME), asyncio.TaskGroup() as group:
            for gateway in find_gateways(local):
                tasks += [group.create_task(_look(gateway, protocol)) for protocol in FINDERS]
    answers = [task.result() for task in tasks if not task.cancelled()]
    return tuple(answer for answer in answers if answer is not None)


async def _look(gateway: Gateway, protocol: str) -> FoundProtocol | None:
    try:
        mapper = await FINDERS[protocol](gateway)
    except MappingFailed as failure:
        _log.debug("gateway %s, %s: %s", gateway, protocol, failure)
        return None
    mapper.close()
    return FoundProtocol(protocol, gateway.ip, mapper.external)


class _Holding:
    """What one gateway maps for us, from the first question until all is given back."""

    def __init__(self, gateway: Gateway, wanted: Mapping[Transport, int]) -> None:
        self._gateway = gateway
        self._finders = {protocol: asyncio.create_task(find(gateway)) for protocol, find in FINDERS.items()}
        self._leases: list[_Lease] = []
        self._over = False
        self.mapping = asyncio.create_task(self._map(dict(wanted)))  # done when nothing more will be mapped

    def candidates(self) -> list[Candidate]:
        """Return what leads to our ports by now."""
        return [
            Candidate(CandidateKind.MAPPED, lease.mapped.transport, lease.mapped.external) for lease in self._leases
        ]

    async def release(self) -> None:
        """Give back what is mapped, and what may be mapped right now: that is waited for."""
        self._over = True
        try:
            for finder in self._finders.values():
                finder.cancel()
            await asyncio.wait([self.mapping])
            await asyncio.gather(*(lease.release() for lease in self._leases))
        finally:
            self.mapping.cancel()
            for lease in self._leases:
                lease.stop()
            for found in await asyncio.gather(*self._finders.values(), return_exceptions=True):
                if not isinstance(found, BaseException):
                    found.close()

    async def _map(self, wanted: dict[Transport, int]) -> None:
        """Map what is wanted in the best protocol that does it. All are looked for at once, which changes nothing."""
        for protocol, finder in self._finders.items():
            await asyncio.wait([finder])
            if finder.cancelled():
                return
            if failure := finder.exception():
                _log.debug("gateway %s, %s: %s", self._gateway, protocol, failure)
                continue
            for transport, port in tuple(wanted.items()):
                if not self._over and await self._map_one(protocol, finder.result(), transport, port):
                    del wanted[transport]
            if not wanted or self._over:
                break
        for finder in self._finders.values():
            finder.cancel()

    async def _map_one(self, protocol: str, mapper: Mapper, transport: Transport, port: int) -> bool:
        """Map one port; return whether that is done."""
        who = f"gateway {self._gateway}, {protocol}"
        if not (mapper.external is None or believable(mapper.external, self._gateway)):
            _log.info("%s: it says that its address on the outside is %s", who, mapper.external)
            return False
        try:
            mapped = await mapper.map(transport, port, None)
            if not believable(mapped.external.ip, self._gateway):
                await mapper.unmap(mapped)
                raise MappingFailed(f"it says that it mapped {mapped.external}")
        except MappingFailed as failure:
            _log.info("%s: %s port %d is not mapped: %s", who, transport.value, port, failure)
            return False
        _log.info("%s: %s %s leads to our port %d", who, transport.value, mapped.external, port)
        self._leases.append(_Lease(mapper, mapped))
        return True


class _Lease:
    """One mapping, renewed until it is given back."""

    def __init__(self, mapper: Mapper, mapped: Mapped) -> None:
        self.mapped = mapped
        self._mapper = mapper
        self._renewal = asyncio.create_task(self._renew())

    async def release(self) -> None:
        """Give the mapping back, once; where that fails, it ends by itself when its time is over."""
        self.stop()
        try:
            await self._mapper.unmap(self.mapped)
        except MappingFailed as failure:
            _log.info("the mapping of %s was not given back: %s", self.mapped.external, failure)

    def stop(self) -> None:
        """Renew no more."""
        self._renewal.cancel()

    async def _renew(self) -> None:
        """Ask again when half of the time that is left is over (RFC 6887 §11.2.1), until there is none left."""
        now = asyncio.get_running_loop().time
        expires = now() + self.mapped.lifetime
        while math.isfinite(expires) and (left := expires - now()) > 0:
            await asyncio.sleep(max(left / 2, LEAST_PAUSE))
            try:
                self.mapped = await self._mapper.map(self.mapped.transport, self.mapped.port, self.mapped)
            except MappingFailed as failure:
                _log.info("the mapping of %s was not renewed: %s", self.mapped.external, failure)
            else:
                expires = now() + self.mapped.lifetime
