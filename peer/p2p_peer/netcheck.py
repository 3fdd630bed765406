"""What the network of this computer is like: what `p2p-peer netcheck` shows.

It gathers as for a connection, and tells what was found. Every part fails alone, and within seconds.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from p2p_core import reach
from p2p_core.errors import MediatorUnreachable
from p2p_core.reach import Network, Reach
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.offer import Mapping

from p2p_peer.gather.candidates import Gathered, gather
from p2p_peer.gather.interfaces import IPAddress, Local, local_addresses
from p2p_peer.gather.port_mapping.mapping import FoundProtocol, find_protocols
from p2p_peer.gather.reflexive import Reflexive
from p2p_peer.gather.stun import ANSWER_TIME
from p2p_peer.gather.stun_servers import Unheard, ask_all
from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.mediator import StunServer
from p2p_peer.mediator_identity import look_at, reach_unauthenticated
from p2p_peer.options import ConnectOptions
from p2p_peer.trust import MediatorId

__all__ = ["MediatorSeen", "NetworkSeen", "Outside", "look_around", "stun_servers_of"]

MEDIATOR_TIME = 3.0  # s for it to answer; after that people think that the program hangs
HAIRPIN_PACKETS = 4  # there and back: a NAT may drop what comes first, and lets in whoever was sent to
HAIRPIN_PAUSE = 0.1  # s after each of them; our own router is a few milliseconds away
STUN_PORT = 54701  # of a mediator; the port behind it is another one over TCP

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MediatorSeen:
    """A mediator that answers."""

    address: Address
    id: MediatorId | None  # that nobody has vouched for; None without TLS
    round_trip: float  # s


@dataclass(frozen=True, slots=True)
class Outside:
    """How one transport looks from outside. Without an answer of a STUN server nothing is known but who was silent."""

    transport: Transport
    seen: tuple[Address, ...] = ()  # where this computer is seen: one of each IP version
    mapping: Mapping = Mapping.UNKNOWN
    step: int = 0  # ports from one mapping to the next, where the NAT is sequential
    is_translated: bool = False  # whether there is a NAT
    unheard: tuple[Unheard, ...] = ()  # all servers that were to be asked, if none answered

    @property
    def answered(self) -> bool:
        """Whether this transport gets out, to a STUN server at least."""
        return bool(self.seen)

    @property
    def may_be(self) -> tuple[Mapping | None, ...]:
        """How a NAT may map its ports, None if nothing gets out: that is taken for sure if a server was silent."""
        if self.answered:
            return (self.mapping,)
        return (None,) if any(one.was_asked for one in self.unheard) else (Mapping.UNKNOWN, None)


@dataclass(frozen=True, slots=True)
class NetworkSeen:
    """All that was found out."""

    addresses: tuple[IPAddress, ...]  # of this computer, that others may reach
    udp: Outside
    tcp: Outside
    hairpin: bool | None  # whether the NAT leads to our own public address; None: it was not tried
    port_mapping: tuple[FoundProtocol, ...] | None  # None: nobody was asked
    mediator: MediatorSeen | MediatorUnreachable | None  # None: none was given

    @property
    def ipv6_address(self) -> IPAddress | None:
        """A global IPv6 address of this computer."""
        return next((ip for ip in self.addresses if ip.version == 6 and ip.is_global), None)

    @property
    def ipv6_seen(self) -> Address | None:
        """Where a STUN server sees this computer over IPv6."""
        return next((address for address in (*self.udp.seen, *self.tcp.seen) if address.ip.version == 6), None)

    @property
    def is_open(self) -> bool:
        """Whether others can begin: there is no NAT, or one that opens ports and is the only one."""
        if any(one.answered and not one.is_translated for one in (self.udp, self.tcp)):
            return True
        public = {address.ip for address in (*self.udp.seen, *self.tcp.seen)}
        return any(found.external in public for found in self.port_mapping or ())

    @property
    def reach(self) -> dict[str, Reach]:
        """What would connect this network with each kind of `p2p_core.reach.OTHERS`."""
        if not (self.udp.answered or self.tcp.answered):
            return dict.fromkeys(reach.OTHERS, Reach.UNKNOWN)
        return {name: self._reach(other) for name, other in reach.OTHERS.items()}

    def _reach(self, other: Network) -> Reach:
        maybe = [Network(udp, tcp, self.is_open) for udp in self.udp.may_be for tcp in self.tcp.may_be]
        found = {reach.reach(own, other) for own in maybe}
        return found.pop() if len(found) == 1 else Reach.UNKNOWN


def stun_servers_of(host: str, port: int) -> tuple[StunServer, ...]:
    """Return where a mediator at `host`:`port` answers STUN, unless its owner has chosen other ports."""
    return (
        StunServer(host, port, Transport.UDP),
        StunServer(host, STUN_PORT, Transport.UDP),
        StunServer(host, STUN_PORT, Transport.TCP),
        StunServer(host, STUN_PORT + 1, Transport.TCP),
    )


async def look_around(mediator: tuple[str, int] | None, options: ConnectOptions) -> NetworkSeen:
    """Look at the network, with a mediator's STUN servers, if there is one, and those of `options`.

    Raises `NoPath` when this computer has no free port, or does not tell its addresses.
    """
    seen = None if mediator is None else await _reached(*mediator, insecure=options.insecure)
    where = seen.address if isinstance(seen, MediatorSeen) else None
    servers = options.stun
    if mediator is not None and (isinstance(seen, MediatorSeen) or not await _is_here(mediator[0])):
        servers += stun_servers_of(*mediator)
    local = Local(options.ip_version, options.bind)
    addresses = tuple(ip for ip in local_addresses() if local.allows(ip))
    (udp, tcp, hairpin), protocols = await asyncio.gather(
        _from_outside(replace(options, stun=servers), where), _protocols(addresses if options.port_mapping else None)
    )
    return NetworkSeen(addresses, udp, tcp, hairpin, protocols, seen)


async def _is_here(host: str) -> bool:
    """Whether a name is this computer's for itself: whoever answers there sees nothing of the network."""
    try:
        async with asyncio.timeout(MEDIATOR_TIME):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError):
        return False
    return all(Address.of(str(address[0]), 1).ip.is_loopback for *_, address in found)


async def _reached(host: str, port: int, *, insecure: bool) -> MediatorSeen | MediatorUnreachable:
    try:
        async with asyncio.timeout(MEDIATOR_TIME):
            if insecure:
                address, mediator = (await reach_unauthenticated(host, port)).address, None
            else:
                address, mediator = await look_at(host, port)
            return MediatorSeen(address, mediator, await _round_trip(address))
    except MediatorUnreachable as error:
        return error
    except TimeoutError:
        return MediatorUnreachable(f"no answer from {host}:{port} within {MEDIATOR_TIME:g} s")
    except OSError as error:
        return MediatorUnreachable(f"{host}:{port} answered once, and then no more: {error.strerror or error}")


async def _round_trip(address: Address) -> float:
    """Return how long it takes to connect, in seconds: one round trip."""
    loop = asyncio.get_running_loop()
    with socket.socket(_family(address)) as sock:
        sock.setblocking(False)
        began = loop.time()
        await loop.sock_connect(sock, (address.host, address.port))
        return loop.time() - began


async def _protocols(addresses: Iterable[IPAddress] | None) -> tuple[FoundProtocol, ...] | None:
    if addresses is None:
        return None
    return await find_protocols(ip for ip in addresses if isinstance(ip, IPv4Address))


async def _from_outside(options: ConnectOptions, mediator: Address | None) -> tuple[Outside, Outside, bool | None]:
    """Return how UDP and TCP look from outside, and what `_hairpin` says."""
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as keep:
        silent_until = loop.time() + ANSWER_TIME
        unheard: dict[StunServer, Unheard] = {}
        gathered = await gather(options, mediator, (), keep, unheard=lambda one: unheard.update({one.server: one}))
        await asyncio.sleep(silent_until - loop.time())  # it returns before the slowest has answered
        for server in options.stun:  # who takes longer still
            unheard.setdefault(server, Unheard(server, "no answer", is_own=True))
        udp, tcp = (_outside(gathered, transport, unheard.values()) for transport in (Transport.UDP, Transport.TCP))
        return udp, tcp, await _hairpin(gathered, options, mediator)


def _outside(gathered: Gathered, transport: Transport, unheard: Iterable[Unheard]) -> Outside:
    """Tell what IPv4 shows, as there are few NATs in IPv6; or IPv6, if that is all there is."""
    answered = [one for one in gathered.reflexive if one.transport is transport and one.candidate is not None]
    if not answered:
        return Outside(transport, unheard=tuple(one for one in unheard if one.server.transport is transport))
    seen = tuple(one.candidate.address for one in answered if one.candidate is not None)
    mapping, step = answered[0].mapping
    return Outside(transport, seen, mapping, step, is_translated=not _is_own(seen[0], gathered))


def _is_own(address: Address, gathered: Gathered) -> bool:
    """Whether this computer has an address: there is no NAT that it is seen at."""
    return address.ip.is_loopback or address in {host.address for host in gathered.hosts}


async def _hairpin(gathered: Gathered, options: ConnectOptions, mediator: Address | None) -> bool | None:
    """Say whether two ports behind the NAT reach each other by their public addresses (RFC 5780 §4.5).

    None where there is no NAT over IPv4, where it takes another port for each destination, or shows none at all.
    """
    ports = {sock.family: sock for sock in gathered.udp_sockets}
    for one in gathered.reflexive:
        if (one.transport, one.family) != (Transport.UDP, socket.AF_INET) or one.candidate is None:
            continue
        if not _is_own(one.candidate.address, gathered) and one.mapping[0] is Mapping.INDEPENDENT:
            return await _reaches_itself(ports[one.family], one.candidate.address, options, mediator)
    return None


async def _reaches_itself(
    sock: UdpSocket, mapped: Address, options: ConnectOptions, mediator: Address | None
) -> bool | None:
    """Send from another port, whose address outside STUN has to tell first, and from both at once as peers do."""
    try:
        other = UdpSocket.open(socket.AF_INET, 0, Local(bind=options.bind).host(socket.AF_INET))
    except OSError as error:
        _log.info("hairpin: no second port: %s", error.strerror)
        return None
    with contextlib.closing(other):
        others_address = await _seen_at(other, options, mediator)
        if others_address is None:
            return None
        came = asyncio.Event()
        secret = b"\x80" + os.urandom(15)  # the first byte has it taken for a probe

        def take(data: bytes, source: Address) -> None:
            if data == secret:
                _log.info("hairpin: a packet came back from %s", source)
                came.set()

        for end in (sock, other):
            end.on_probe(take)
        for _ in range(HAIRPIN_PACKETS):
            sock.send(secret, others_address)
            other.send(secret, mapped)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HAIRPIN_PAUSE):
                    await came.wait()
                    return True
        return False


async def _seen_at(sock: UdpSocket, options: ConnectOptions, mediator: Address | None) -> Address | None:
    """Return where the STUN server that answers first sees a socket."""
    heard = asyncio.Event()
    reflexive = Reflexive(Transport.UDP, sock.family, sock, (), heard=heard.set)
    tasks = ask_all([reflexive], options.stun, (), mediator)
    try:
        async with asyncio.timeout(ANSWER_TIME):
            await heard.wait()
    except TimeoutError:
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return None if reflexive.candidate is None else reflexive.candidate.address


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
