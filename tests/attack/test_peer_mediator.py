"""A peer with a valid key towards the mediator: hostile keys, proofs that are not its own, and more than its share."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import grpc
import pytest
from p2p_core.identity import public_der
from p2p_core.limits import MAX_OFFER_BYTES, MAX_RELAY_DATA_BYTES, MAX_SIGNAL_BYTES
from p2p_core.proof import prove
from p2p_proto import mediator_pb2 as pb
from p2p_server.app import Mediator

from tests.attack.hostile_keys import hostile_keys
from tests.server import conftest as server
from tests.server.client import Peer, RelayPeer, until
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched, tickets, welcomed
from tests.server.scraped import value

clock, config, peer, start = server.clock, server.config, server.peer, server.start


@pytest.mark.parametrize("name", hostile_keys())
async def test_a_hello_with_a_hostile_key(start: StartMediator, peer: OpenPeer, name: str) -> None:
    """TRIES: to come in with a key that costs much, proves nothing, or has two names: e = 3, 8200 bits, even, cut.

    OUTCOME: refused before any signature is verified with it.
    """
    mediator = await start()
    a = peer(mediator, 0)
    await a.hello(public_key=hostile_keys()[name])
    end = await a.end()
    assert (end.code, end.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "bad-key")


async def test_the_proof_of_another(start: StartMediator, peer: OpenPeer) -> None:
    """TRIES: to come in as another peer: with its public key and nonce, and its proof overheard, or one by another key.

    OUTCOME: not admitted, as a proof holds for one challenge; the true peer's stream goes on.
    """
    mediator = await start()
    victim = peer(mediator, 0)
    challenge = await victim.challenged()
    overheard = prove(victim.key, victim.transcript(challenge))
    await victim.send(proof=pb.Proof(signature=overheard))
    await victim.read("welcome")
    for signature in (overheard, None):
        thief = peer(mediator, 1)
        thief.id, thief.nonce = victim.id, victim.nonce
        await thief.hello(public_key=public_der(victim.key.public_key()))
        own = prove(thief.key, thief.transcript(await thief.read("challenge")))
        await thief.send(proof=pb.Proof(signature=signature or own))
        assert (await thief.end()).reason == "not-admitted"
    await victim.taken()


FLOODS: dict[str, tuple[str, Callable[[Peer, Peer, int], Awaitable[None]]]] = {
    "ten thousand wanted peers": ("too-many-advertisements", lambda a, b, n: a.advertise(n.to_bytes(32))),
    "one peer wanted again and again": ("step-rate", lambda a, b, n: a.advertise(bytes(32))),
    "matches left again and again": ("step-rate", lambda a, b, n: a.leave(bytes(32))),
    "signals to its match": ("signal-rate", lambda a, b, n: a.signal(b.id, b"x" * MAX_SIGNAL_BYTES)),
    "a signal to nobody": ("not-your-match", lambda a, b, n: a.signal(bytes(32), b"x")),
    "a signal to itself": ("not-your-match", lambda a, b, n: a.signal(a.id, b"x")),
    "a signal that is too large": ("too-large", lambda a, b, n: a.signal(b.id, bytes(MAX_SIGNAL_BYTES + 1))),
    "an offer that is too large": ("too-large", lambda a, b, n: a.advertise(b.id, bytes(MAX_OFFER_BYTES + 1))),
    "itself wanted": ("advertised-self", lambda a, b, n: a.advertise(a.id)),
    "hello again": ("out-of-order", lambda a, b, n: a.hello()),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_more_than_its_share(start: StartMediator, peer: OpenPeer, name: str) -> None:
    """TRIES: floods by a peer that was welcomed: peers wanted, steps, signals; what is too large or not its own.

    OUTCOME: its own stream ends with the reason; nothing of it stays in the store, and others meet.
    """
    reason, step = FLOODS[name]
    mediator = await start()
    a, b = await matched(mediator, peer)
    for number in range(10_000):
        if a.call.done():
            break
        await step(a, b, number)
    await until(lambda: ended_by(mediator, "meet", reason) == 1)  # a client that goes on writing may not hear it
    assert a.id not in mediator._meet._setting.store._table._by_peer
    others = peer(mediator, 2), peer(mediator, 3)
    for each in others:
        await each.enter()
    await tickets(*others)


async def test_more_than_its_share_of_the_relay(start: StartMediator, peer: OpenPeer, stack: AsyncExitStack) -> None:
    """TRIES: to fill the relay: more relays at once than a key may have, and more bytes than two may send in a day.

    OUTCOME: the relays beyond are refused, the one that is full ends; other peers' relays go on.
    """
    mediator = await start(max_relays_per_key=1, relay_bytes=3 * MAX_RELAY_DATA_BYTES)
    a, b = await welcomed(mediator, peer)
    c, d = peer(mediator, 2), peer(mediator, 3)
    await c.enter()
    await d.enter()
    ours = [await come(stack, mediator, ticket) for ticket in await tickets(a, b)]
    theirs = [await come(stack, mediator, ticket) for ticket in await tickets(c, d)]
    for stream in (*ours, *theirs):
        await stream.present()
    extra, _ = await tickets(a, c)
    assert (await (await come(stack, mediator, extra)).end()).reason == "relay-limit"
    for _ in range(4):
        await ours[0].send(data=bytes(MAX_RELAY_DATA_BYTES))
    assert (await ours[1].end()).reason == "relay-limit"
    await until(lambda: ended_by(mediator, "relay", "relay-limit") == 3)  # the one that went on writing may not hear it
    await theirs[0].send(data=b"still here")
    assert (await theirs[1].read()).data == b"still here"


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def come(stack: AsyncExitStack, mediator: Mediator, ticket: bytes) -> RelayPeer:
    """Open a `Relay` stream with a ticket."""
    stream = RelayPeer(mediator)
    stack.push_async_callback(stream.close)
    await stream.send(ticket=ticket)
    return stream


def ended_by(mediator: Mediator, rpc: str, reason: str) -> float:
    """Return how many streams the mediator ended for this reason."""
    return value(mediator._meet._setting.metrics, "streams_ended_total", rpc=rpc, reason=reason)
