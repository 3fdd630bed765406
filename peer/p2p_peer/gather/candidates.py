"""All candidates of this peer, from every source in parallel."""

import asyncio
import socket
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from p2p_core import limits
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport

from p2p_peer.gather.interfaces import local_addresses
from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.gather.stun import StunConnection, StunFailed

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
        seen = {candidate.address: candidate for candidate in (*reflexive, *self.hosts)}
        known_hosts = {candidate.address: candidate for candidate in self.hosts}
        return tuple({**seen, **known_hosts}.values())[: limits.MAX_CANDIDATES]


async def gather(
    port: PunchPort, servers: Iterable[tuple[str, int]], observed: Address | None, keep: AsyncExitStack
) -> Gathered:
    """Gather candidates for `port`; `servers` are STUN servers over TCP as (host, port).

    `observed` is our address as the mediator sees it: a loopback address means that it runs on this machine, and the
    other peer may too.
    """
    addresses = local_addresses()
    if observed is not None and observed.ip.is_loopback:
        addresses.append(observed.ip)
    hosts = tuple(
        Candidate(CandidateKind.HOST, Transport.TCP, Address(ip, port.number)) for ip in dict.fromkeys(addresses)
    )
    answers = await asyncio.gather(*(_ask(port, *server) for server in servers))
    connections = [answer for answer in answers if isinstance(answer, StunConnection)]
    for connection in connections:
        await keep.enter_async_context(connection)
    return Gathered(hosts, tuple(connections), tuple(answer for answer in answers if isinstance(answer, str)))


async def _ask(port: PunchPort, host: str, number: int) -> StunConnection | str:
    """Return a connection that knows our address, or a sentence that says why there is none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, number, type=socket.SOCK_STREAM)
        return await StunConnection.open(port, Address.of(str(found[0][4][0]), number))
    except OSError as error:
        return f"STUN server {host}: {error.strerror or error}"
    except StunFailed as error:
        return f"STUN server {error}"
