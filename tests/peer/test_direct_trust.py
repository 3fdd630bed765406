"""Whom a direct connection believes, and whom it remembers. Who attacks it: tests/attack."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import NotAdmitted, PeerUnknown, ProofFailed, UsageError
from p2p_core.wire.candidate import Address
from p2p_peer.events import NotReached, PeerMet, Standing, TurnedAway
from p2p_peer.serverless.connections import Connections
from p2p_peer.serverless.direct import DirectMode
from p2p_peer.serverless.judging import Judge
from p2p_peer.trust import TrustStore

from tests.keys import key
from tests.peer.directly import ALICE, BOB, HERE, MALLORY, Direct, Meetings, id_of, is_one_session, own_ports
from tests.peer.pair import soon


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Meetings]:
    async with Meetings(tmp_path) as meetings:
        yield meetings


async def test_the_screen_is_not_filled_with_who_was_turned_away(tmp_path: Path) -> None:
    told: list[TurnedAway] = []
    judge = Judge(TrustStore(tmp_path), id_of(BOB), None, require_known=False)
    async with Connections(key(ALICE), judge, told.append) as ours:
        for last, _ in itertools.product(range(1, 31), range(2)):
            ours._turn_away(Address.of(f"192.0.2.{last}", 8000), ProofFailed("another key"))
    assert [turned.address.host for turned in told] == [f"192.0.2.{last}" for last in range(1, 17)]


async def test_whoever_is_turned_away_goes_on_waiting_where_it_can(start: Meetings) -> None:
    """That it was turned away is not certain: a connection ends in the same way when another one is chosen."""
    waits = start(BOB, DirectMode.LISTEN, peer_key=key(ALICE).public_key())
    both = start(MALLORY, DirectMode.BOTH, await waits.port())
    assert "when it saw this side's key" in (await both.wait_for(NotReached)).why
    assert not both.meeting.done()


async def met(start: Meetings, number: int, port: int, **options: Any) -> tuple[Direct, Direct]:
    """Alice dials `port`, at which the peer `number` listens; they meet, and part."""
    waits = start(number, DirectMode.LISTEN, port=port)
    dials = start(ALICE, DirectMode.CONNECT, await waits.port(), **options)
    session, other = await dials.session(), await waits.session()
    await soon(asyncio.gather(session.close(), other.close()))
    return dials, waits


async def test_a_peer_is_remembered(start: Meetings) -> None:
    dials, waits = await met(start, BOB, 0)
    assert [one.all(PeerMet)[0].standing for one in (dials, waits)] == [Standing.FIRST_USE, Standing.FIRST_USE]
    [bob] = start.store(ALICE).peers()
    [alice] = start.store(BOB).peers()
    port = await waits.port()
    assert (bob.id, bob.targets) == (id_of(BOB), (f"{HERE}:{port}",))
    assert (alice.id, alice.targets) == (id_of(ALICE), ())  # it came; where it can be reached is not known
    start.store(ALICE).rename(bob.id, "Bob")
    dials, waits = await met(start, BOB, port, require_known=True)
    assert dials.all(PeerMet) == [PeerMet(id_of(BOB), Standing.REMEMBERED, id_of(ALICE), "Bob")]
    assert waits.all(PeerMet)[0].standing is Standing.REMEMBERED


async def test_whoever_comes_from_the_targets_address_is_remembered_as_the_target(start: Meetings) -> None:
    with own_ports() as (target, _):
        alice = start(ALICE, DirectMode.BOTH, target)
        port = await alice.port()
        await alice.wait_for(NotReached)
        await start(BOB, DirectMode.CONNECT, port).session()
        await alice.session()
    assert [peer.targets for peer in start.store(ALICE).peers()] == [(f"{HERE}:{target}",)]


async def test_only_known_ones(start: Meetings) -> None:
    waits = start(BOB, DirectMode.LISTEN, require_known=True)
    port = await waits.port()
    assert isinstance(await start(ALICE, DirectMode.CONNECT, port).error(), NotAdmitted)
    [turned] = waits.all(TurnedAway)
    assert isinstance(turned.error, PeerUnknown)
    assert str(turned.error) == f"the peer at {turned.address} is {id_of(ALICE).short}, whose key is not known"
    assert start.store(ALICE).peers() == start.store(BOB).peers() == ()
    start.store(BOB).met(id_of(ALICE), None, 1)
    await is_one_session(await start(ALICE, DirectMode.CONNECT, port).session(), await waits.session())


async def test_the_one_that_is_dialled_is_not_known(start: Meetings) -> None:
    waits = start(BOB, DirectMode.LISTEN)
    error = await start(ALICE, DirectMode.CONNECT, await waits.port(), require_known=True).error()
    assert isinstance(error, PeerUnknown)
    assert not waits.meeting.done()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_memory_that_is_damaged(start: Meetings, when: str) -> None:
    """It is for our user to repair, whoever made us look."""
    path = start.store(BOB).path
    path.parent.mkdir()
    if when == "before":
        path.write_text("{")
    waits = start(BOB, DirectMode.LISTEN)
    if when == "meanwhile":
        port = await waits.port()
        path.write_text("{")
        await start(ALICE, DirectMode.CONNECT, port).error()
    assert type(await waits.error()) is UsageError
