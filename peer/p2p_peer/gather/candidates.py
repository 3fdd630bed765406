"""All candidates of this peer, from every source in parallel."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from p2p_core import limits
from p2p_core.errors import Malformed
from p2p_core.safe_names import printable
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from p2p_peer.gather.interfaces import local_addresses
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.stun import ANSWER_TIME, StunConnection, StunFailed

__all__ = ["Gathered", "gather"]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was found, and the connections that keep it true; they belong to the stack given to `gather`."""

    hosts: tuple[Candidate, ...]
    stun: tuple[StunConnection, ...]
    failures: tuple[str, ...]  # one sentence for each source that gave nothing

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
    loopback: Address | None,
    keep: AsyncExitStack,
) -> Gathered:
    """Gather candidates for `port`; `servers` are STUN servers over TCP as (host, port).

    `loopback` is the mediator's address when it runs on this machine: the other peer may run here too.
    """
    addresses = local_addresses()
    if loopback is not None:
        addresses.append(loopback.ip)
    hosts = tuple(
        Candidate(CandidateKind.HOST, Transport.TCP, Address(ip, port.number)) for ip in dict.fromkeys(addresses)
    )
    answers = [
        answer
        for of_server in await asyncio.gather(*(_ask(port, *server, keep) for server in servers))
        for answer in of_server
    ]
    connections = tuple(answer for answer in answers if isinstance(answer, StunConnection))
    return Gathered(hosts, connections, tuple(answer for answer in answers if isinstance(answer, str)))


async def _ask(port: PunchPort, host: str, number: int, keep: AsyncExitStack) -> list[StunConnection | str]:
    """Ask one server over each address family it has: each shows another address of ours.

    Returns connections that know our address, and a sentence for each that does not.
    """
    try:
        async with asyncio.timeout(ANSWER_TIME):
            addresses = await _resolve(host, number)
    except TimeoutError:
        return [f"STUN server {host}: its name was not resolved within {ANSWER_TIME:g} s"]
    except OSError as error:
        return [f"STUN server {host}: {error.strerror or error}"]
    except (UnicodeError, Malformed) as error:  # what the mediator named is no name at all
        return [f"STUN server {printable(host)}: {error}"]
    return await asyncio.gather(*(_ask_at(port, address, keep) for address in addresses))


async def _ask_at(port: PunchPort, server: Address, keep: AsyncExitStack) -> StunConnection | str:
    try:
        return await keep.enter_async_context(await StunConnection.open(port, server))
    except StunFailed as error:
        return f"STUN server {error}"


async def _resolve(host: str, number: int) -> list[Address]:
    """Return the first address of each family that `host` has."""
    found = await asyncio.get_running_loop().getaddrinfo(host, number, type=socket.SOCK_STREAM)
    first = {family: Address.of(str(name[0]), number) for family, _, _, _, name in reversed(found)}
    return list(first.values())
