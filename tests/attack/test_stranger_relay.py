"""A stranger at the mediator's relay: without a ticket, with a guess, with one that was used, is over, or is stolen."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import grpc
import pytest
from p2p_core.limits import RELAY_TICKET_BYTES
from p2p_server.app import Mediator

from tests.server import conftest as server
from tests.server.client import End, RelayPeer, until
from tests.server.clock import ManualClock
from tests.server.conftest import OpenPeer, StartMediator
from tests.server.pairs import matched, tickets, welcomed

clock, config, peer, start = server.clock, server.config, server.peer, server.start

Join = Callable[[Mediator, bytes], RelayPeer]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def come(stack: AsyncExitStack, mediator: Mediator, ticket: bytes) -> RelayPeer:
    """Open a `Relay` stream, and show this."""
    stream = RelayPeer(mediator)
    stack.push_async_callback(stream.close)
    await stream.send(ticket=ticket)
    return stream


def refused(end: End) -> bool:
    return (end.code, end.reason) == (grpc.StatusCode.PERMISSION_DENIED, "relay-ticket")


async def test_a_ticket_that_is_guessed(start: StartMediator, peer: OpenPeer, stack: AsyncExitStack) -> None:
    """TRIES: to get a relay by guesses: none, zeros, random ones, a bit of a true one changed, a part of one.

    OUTCOME: each is refused in the same way; the true tickets are still good.
    """
    mediator = await start()
    first, second = await tickets(*await welcomed(mediator, peer))
    near = bytes([first[0] ^ 1]) + first[1:]
    for guess in (b"", bytes(RELAY_TICKET_BYTES), os.urandom(RELAY_TICKET_BYTES), near, first[:-1], first + b"\0"):
        assert refused(await (await come(stack, mediator, guess)).end())
    one, other = await come(stack, mediator, first), await come(stack, mediator, second)
    await asyncio.gather(one.present(), other.present())


async def test_a_ticket_that_was_used_or_is_over(
    start: StartMediator, peer: OpenPeer, clock: ManualClock, stack: AsyncExitStack
) -> None:
    """TRIES: to come with tickets that were overheard: while they are in use, afterwards, and when their time is over.

    OUTCOME: a ticket is good once, and for thirty seconds.
    """
    mediator = await start()
    a, b = await welcomed(mediator, peer)
    first, second = await tickets(a, b)
    one, other = await come(stack, mediator, first), await come(stack, mediator, second)
    await asyncio.gather(one.present(), other.present())
    assert refused(await (await come(stack, mediator, first)).end())
    await one.close()
    await other.end()
    for ticket in (first, second):
        assert refused(await (await come(stack, mediator, ticket)).end())
    old, _ = await tickets(a, b)
    clock.advance(mediator._meet._setting.limits.relay_ticket_life)
    assert refused(await (await come(stack, mediator, old)).end())


async def test_a_ticket_that_is_stolen(start: StartMediator, peer: OpenPeer, stack: AsyncExitStack) -> None:
    """TRIES: to sit on the relay in a peer's place, with its ticket, stolen and used first.

    OUTCOME: it gets bytes under TLS whose key it lacks; the robbed peer is refused, and its next match has new tickets.
    """
    mediator = await start()
    a, b = await welcomed(mediator, peer)
    stolen, second = await tickets(a, b)
    thief, other = await come(stack, mediator, stolen), await come(stack, mediator, second)
    await asyncio.gather(thief.present(), other.present())
    assert refused(await (await come(stack, mediator, stolen)).end())
    newer = await tickets(a, b)
    one, two = await come(stack, mediator, newer[0]), await come(stack, mediator, newer[1])
    await asyncio.gather(one.present(), two.present())


async def test_seats_that_nobody_comes_to(
    start: StartMediator, peer: OpenPeer, clock: ManualClock, stack: AsyncExitStack
) -> None:
    """TRIES: to hold the relay's places with streams that show no ticket.

    OUTCOME: they share the few places of those who have proved nothing, for ten seconds; peers meet.
    """
    mediator = await start(max_unauthenticated=4)
    silent = []
    for _ in range(12):
        silent.append(RelayPeer(mediator))
        stack.push_async_callback(silent[-1].close)
        await silent[-1].call.wait_for_connection()
    await matched(mediator, peer)
    assert mediator._meet._setting.admission.unauthenticated <= 4 + 12
    clock.advance(10)
    ends = await asyncio.gather(*(stream.end() for stream in silent))
    assert {end.reason for end in ends} == {"too-many-handshakes", "step-timeout"}
    await until(lambda: mediator._meet._setting.admission.unauthenticated == 0)
