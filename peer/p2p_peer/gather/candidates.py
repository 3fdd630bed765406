"""All candidates of this peer, from every source in parallel. docs/protocol/punching.md."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from p2p_core import limits
from p2p_core.packet_budget import PacketBudget
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping

from p2p_peer.gather.address_service import AddressService
from p2p_peer.gather.interfaces import IPAddress, Local, local_addresses
from p2p_peer.gather.port_mapping.mapping import Mappings, PortMapping
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.reflexive import Reflexive
from p2p_peer.gather.stun import ANSWER_TIME, TcpStun
from p2p_peer.gather.stun_servers import Unheard, ask_all
from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.mediator import StunServer
from p2p_peer.options import ConnectOptions

__all__ = ["Gathered", "gather"]

# How long the silent are waited for, once others have answered. TCP answers after two round trips, UDP after one, or
# two and RETRANSMIT if a packet was lost: three times the slowest answer so far leaves room for either of the others,
# and the least for two lost packets on a short way. What comes later still counts, in the offers made after that.
PATIENCE_FACTOR = 3
LEAST_PATIENCE = 0.35  # s
GATEWAY_PATIENCE = 0.15  # s; a router is one hop away: by PCP and NAT-PMP it answers in ms, by UPnP mostly within 0.1 s

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found, and the ports it was found for; they belong to the stack given to `gather`."""

    hosts: tuple[Candidate, ...]
    reflexive: tuple[Reflexive, ...]  # IPv4 before IPv6
    mappings: Mappings | None  # of our ports by the router
    tcp_port: PunchPort | None
    udp_sockets: tuple[UdpSocket, ...]  # one of each address family
    changed: asyncio.Event  # set when there is something new since it was cleared
    service: AddressService | None = None  # that is asked where STUN tells nothing

    @classmethod
    def nothing(cls) -> "Gathered":
        """Return what a peer has that tells no address of its own."""
        return cls((), (), None, None, (), asyncio.Event())

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the candidates as they are now, the most useful first: there may be more, and mappings may move."""
        seen = _seen(self.reflexive)
        mapped = () if self.mappings is None else self.mappings.candidates()
        guessed = () if self.service is None else self.service.candidates(_versions(seen))
        found = (*mapped, *seen, *guessed, *self.hosts)
        # One candidate for each address, the last one: what STUN sees tells how the NAT maps, whether it is mapped or
        # not; and where it sees an address of our own, there is no NAT.
        by_address = {(candidate.transport, candidate.address): candidate for candidate in found}
        return tuple(by_address.values())[: limits.MAX_CANDIDATES]

    @property
    def udp_mapping(self) -> Mapping:
        """How our NAT maps UDP ports."""
        return self._mapping(Transport.UDP)[0]

    @property
    def udp_port_step(self) -> int:
        """By how many UDP ports our NAT advances with each destination; 0 unless it is sequential."""
        return self._mapping(Transport.UDP)[1]

    @property
    def tcp_mapping(self) -> Mapping:
        """How our NAT maps TCP ports."""
        return self._mapping(Transport.TCP)[0]

    def _mapping(self, transport: Transport) -> tuple[Mapping, int]:
        """Tell it of IPv4, as there are few NATs in IPv6; or of IPv6, if that is all there is."""
        mappings = (reflexive.mapping for reflexive in self.reflexive if reflexive.transport is transport)
        known = (mapping for mapping in mappings if mapping[0] is not Mapping.UNKNOWN)
        return next(known, (Mapping.UNKNOWN, 0))


def _ignore(what: object) -> None:
    """Tell nobody."""


async def gather(
    options: ConnectOptions,
    mediator: Address | None,
    named: Iterable[StunServer],
    keep: AsyncExitStack,
    port_mapping: PortMapping | None = None,
    *,
    budget: PacketBudget | None = None,
    unheard: Callable[[Unheard], None] = _ignore,
    service_failed: Callable[[str], None] = _ignore,
) -> Gathered:
    """Open the ports to punch from, and gather candidates for them; all that has to stay open belongs to `keep`.

    Ports are mapped by `port_mapping`, if it is given and `options` do not forbid it; it outlives `keep`, and so does
    `budget`, which is for the servers that the mediator names. `unheard` is told of each server that tells nothing,
    `service_failed` why the address service of `options` does not, if it is asked.
    `mediator` is where the mediator answered, `named` the STUN servers it names, each with a host. If the mediator is
    this machine, the other peer may be here too; else no server on this machine is asked that the mediator names, as it
    may mean another service. Without a mediator (None) the other peer is here if `options` bind us to this machine.
    Returns within `ANSWER_TIME`, and mostly after one or two round trips; an address service is waited for where nobody
    answers. Raises `NoPath` when this machine has no port or does not tell its addresses.
    """
    local = Local(options.ip_version, options.bind)
    meeting_at = options.bind if mediator is None else mediator.ip
    here = meeting_at if meeting_at is not None and meeting_at.is_loopback else None  # the other peer is as well
    addresses = _addresses(local, here)
    port = PunchPort.open(local)
    keep.callback(port.close)
    sockets = tuple(_udp_sockets(local, port.number, keep))
    hosts = _hosts(addresses, port, sockets)
    tcp_stun = TcpStun(port.socket_towards)
    keep.callback(tcp_stun.close)
    own = [host.address for host in hosts]
    patience, changed = _Patience(), asyncio.Event()

    def heard() -> None:
        patience.heard()
        changed.set()

    reflexive = (
        *(
            Reflexive(Transport.TCP, one.family, tcp_stun, own, heard=heard, drop=tcp_stun.drop)
            for one in port.listeners
        ),
        *(Reflexive(Transport.UDP, one.family, one, own, heard=heard) for one in sockets),
    )
    asking = ask_all(reflexive, options.stun, named, mediator, budget, failed=unheard)
    may_map = options.port_mapping and here is None
    mappings = _mapped(port_mapping, hosts) if port_mapping is not None and may_map else None
    mapping = [] if mappings is None else mappings.tasks
    for task in mapping:
        task.add_done_callback(lambda _: changed.set())
    service = None
    if options.address_service is not None and here is None:
        service = AddressService(options.address_service, local, hosts, service_failed)
    resorting = asyncio.ensure_future(_resort_to(service, asking, reflexive, changed))
    keepers = [asyncio.ensure_future(one.hold()) for one in reflexive]
    keep.push_async_callback(_end, [*asking, resorting, *keepers])
    await patience.wait(asking, mapping)
    if not _seen(reflexive):
        await asyncio.wait([resorting])
    changed.clear()
    return Gathered(hosts, reflexive, mappings, port, sockets, changed, service)


async def _resort_to(
    service: AddressService | None,
    stun: Iterable["asyncio.Task[None]"],
    reflexive: Iterable[Reflexive],
    changed: asyncio.Event,
) -> None:
    """Ask the service, if there is one, when no STUN server is left that may answer."""
    if service is not None:
        await _all_done(stun)
        if await service.ask(_versions(_seen(reflexive))):
            changed.set()


def _seen(reflexive: Iterable[Reflexive]) -> list[Candidate]:
    """Return where STUN servers see us."""
    return [one.candidate for one in reflexive if one.candidate is not None]


def _versions(candidates: Iterable[Candidate]) -> set[int]:
    """Return the IP versions that are among them."""
    return {candidate.address.ip.version for candidate in candidates}


def _addresses(local: Local, here: IPAddress | None) -> list[IPAddress]:
    found = [ip for ip in local_addresses() if local.allows(ip)]
    if here is not None and local.allows(here):
        found.append(here)
    return list(dict.fromkeys(found))


def _udp_sockets(local: Local, number: int, keep: AsyncExitStack) -> Iterator[UdpSocket]:
    """Open a socket of each family at port `number`, the one that TCP has: a token is the shorter for it."""
    for family in local.families:
        try:
            try:
                sock = UdpSocket.open(family, number, local.host(family))
            except OSError:  # somebody else's
                sock = UdpSocket.open(family, 0, local.host(family))
        except OSError as error:
            _log.info("no UDP over %s: %s", family.name, error.strerror)
            continue
        keep.callback(sock.close)
        yield sock


def _hosts(addresses: Iterable[IPAddress], port: PunchPort, sockets: Sequence[UdpSocket]) -> tuple[Candidate, ...]:
    """Pair addresses and ports, address by address, so that a long list keeps both transports when it is cut."""
    udp_number = {sock.family: sock.number for sock in sockets}
    tcp_number = {listener.family: port.number for listener in port.listeners}
    return tuple(
        Candidate(CandidateKind.HOST, transport, Address(ip, numbers[family]))
        for ip in addresses
        for family in [socket.AF_INET6 if ip.version == 6 else socket.AF_INET]
        for transport, numbers in ((Transport.TCP, tcp_number), (Transport.UDP, udp_number))
        if family in numbers
    )


def _mapped(port_mapping: PortMapping, hosts: Iterable[Candidate]) -> Mappings:
    """Begin to map the ports of the IPv4 addresses: before those there are NATs."""
    numbers: dict[Transport, int] = {}
    addresses: list[IPv4Address] = []
    for host in hosts:
        if isinstance(host.address.ip, IPv4Address) and not host.address.ip.is_loopback:
            numbers[host.transport] = host.address.port
            addresses.append(host.address.ip)
    return port_mapping.start(numbers.get(Transport.UDP), numbers.get(Transport.TCP), dict.fromkeys(addresses))


class _Patience:
    """Waits for those who answer, and not too long for those who do not."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._over = asyncio.Event()
        self._timer = self._loop.call_at(self._began + ANSWER_TIME, self._over.set)

    def heard(self) -> None:
        """Take in that somebody has answered."""
        longest = max(LEAST_PATIENCE, PATIENCE_FACTOR * (self._loop.time() - self._began))
        self._timer.cancel()
        self._timer = self._loop.call_at(self._began + min(ANSWER_TIME, longest), self._over.set)

    async def wait(self, servers: Iterable["asyncio.Task[None]"], gateways: Sequence["asyncio.Task[None]"]) -> None:
        """Wait until all are done, or waiting for the rest makes no sense."""
        everybody = asyncio.ensure_future(_all_done(servers))
        everybody.add_done_callback(lambda _: self._over.set())
        try:
            await self._over.wait()
        finally:
            everybody.cancel()
            self._timer.cancel()
        if gateways:
            await asyncio.wait(gateways, timeout=max(0.0, self._began + GATEWAY_PATIENCE - self._loop.time()))


async def _all_done(tasks: Iterable["asyncio.Task[None]"]) -> None:
    for task in tasks:
        await asyncio.wait([task])


async def _end(tasks: Sequence["asyncio.Future[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
