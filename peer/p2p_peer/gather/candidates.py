"""All candidates of this peer, from every source in parallel."""

import asyncio
import logging
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from p2p_core import limits
from p2p_core.errors import Malformed
from p2p_core.printable import printable
from p2p_core.targets import may_dial
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from p2p_peer.gather.interfaces import local_addresses
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.stun import ANSWER_TIME, StunConnection, StunFailed

__all__ = ["Gathered", "gather"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found, and the connections that keep it true; they belong to the stack given to `gather`."""

    hosts: tuple[Candidate, ...]
    stun: tuple[StunConnection, ...]

    def candidates(self) -> tuple[Candidate, ...]:
        """Return the candidates as they are now: a keepalive may have shown that a mapping moved."""
        reflexive = (
            Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.TCP, connection.mapped) for connection in self.stun
        )
        # One candidate for each address; where STUN shows an address of our own, there is no NAT.
        found = {candidate.address: candidate for candidate in (*reflexive, *self.hosts)}
        return tuple(found.values())[: limits.MAX_CANDIDATES]


async def gather(
    port: PunchPort,
    servers: Iterable[tuple[str, int]],
    mediator: Address,
    keep: AsyncExitStack,
) -> Gathered:
    """Gather candidates for `port`; `servers` are STUN servers over TCP as (host, port).

    `mediator` is where the mediator answered. If that is this machine, the other peer may be here too; else no
    server on this machine is asked, as the mediator that names it may mean another service. Raises `NoPath` when
    this machine does not tell its addresses.
    """
    addresses = local_addresses()
    if mediator.ip.is_loopback:
        addresses.append(mediator.ip)
    hosts = tuple(
        Candidate(CandidateKind.HOST, Transport.TCP, Address(ip, port.number)) for ip in dict.fromkeys(addresses)
    )
    answers = await asyncio.gather(*(_ask(port, *server, mediator, keep) for server in servers))
    return Gathered(hosts, tuple(answer for of_server in answers for answer in of_server))


async def _ask(
    port: PunchPort, host: str, number: int, mediator: Address, keep: AsyncExitStack
) -> list[StunConnection]:
    """Ask one server over each address family it has: each shows another address of ours. Return what answered."""
    try:
        async with asyncio.timeout(ANSWER_TIME):
            addresses = await _resolve(host, number, mediator)
    except TimeoutError:
        _log.info("STUN server %s: its name was not resolved within %g s", printable(host), ANSWER_TIME)
    except OSError as error:
        _log.info("STUN server %s: %s", printable(host), error.strerror or error)
    except (ValueError, Malformed) as error:  # what the mediator named is no name at all
        _log.info("STUN server %s: %s", printable(host), error)
    else:
        answers = await asyncio.gather(*(_ask_at(port, address, mediator, keep) for address in addresses))
        return [answer for answer in answers if answer is not None]
    return []


async def _ask_at(port: PunchPort, server: Address, mediator: Address, keep: AsyncExitStack) -> StunConnection | None:
    if not may_dial(server, loopback=mediator.ip.is_loopback):
        _log.info("STUN server %s is not asked: the mediator has no business to name such an address", server)
        return None
    _log.debug("asking STUN server %s", server)
    try:
        connection = await keep.enter_async_context(await StunConnection.open(port, server))
    except StunFailed as error:
        _log.info("STUN server %s", error)
        return None
    _log.info("STUN server %s sees us at %s", server, connection.mapped)
    return connection


async def _resolve(host: str, number: int, mediator: Address) -> list[Address]:
    """Return an address of each family that `host` has, the mediator's before others: it answers."""
    found = await asyncio.get_running_loop().getaddrinfo(host, number, type=socket.SOCK_STREAM)
    addresses = [Address.of(str(name[0]), number) for _, _, _, _, name in found]
    addresses.sort(key=lambda address: address.ip != mediator.ip)
    return list({address.ip.version: address for address in reversed(addresses)}.values())
