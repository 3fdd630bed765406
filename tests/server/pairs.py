"""Two peers of a mediator, as far as most tests need them."""

from p2p_server.app import Mediator

from tests.server.client import Peer
from tests.server.conftest import OpenPeer

__all__ = ["matched", "tickets", "welcomed"]


async def welcomed(mediator: Mediator, peer: OpenPeer) -> tuple[Peer, Peer]:
    """Return two peers that have been welcomed."""
    a, b = peer(mediator, 0), peer(mediator, 1)
    await a.enter()
    await b.enter()
    return a, b


async def matched(mediator: Mediator, peer: OpenPeer) -> tuple[Peer, Peer]:
    """Return two peers that were told of their match."""
    a, b = await welcomed(mediator, peer)
    await tickets(a, b)
    return a, b


async def tickets(a: Peer, b: Peer) -> tuple[bytes, bytes]:
    """Let two peers that are welcome match; return their tickets for the relay."""
    await a.advertise(b.id)
    await b.advertise(a.id)
    return (await a.read("match")).relay_ticket, (await b.read("match")).relay_ticket
