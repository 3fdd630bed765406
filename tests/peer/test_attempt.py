"""Attempts against the real mediator: the first one's rules are in `test_app`, here are those of the further ones."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from p2p_core.agreement import Agreement, OtherSession
from p2p_core.errors import ConnectionLost, NoPath, PeerDidNotCome
from p2p_core.identity import PeerId
from p2p_core.proof import PathKind, Role
from p2p_core.wire.candidate import Transport
from p2p_peer import attempt, meeting
from p2p_peer.attempt import Attempts, Made
from p2p_peer.channel import channel
from p2p_peer.channel.channel import Channel
from p2p_peer.events import (
    Advertised,
    Authenticated,
    CandidatesFound,
    ConnectEvent,
    Encrypted,
    Matched,
    PathFound,
    StunServerUnusable,
)
from p2p_peer.mediation import Mediation
from p2p_peer.mediator import MediatorClient, StunServer
from p2p_peer.options import ConnectOptions, Paths
from p2p_server.limits import Limits
from p2p_server.matching import Table

from tests.keys import key
from tests.peer.a_mediator import real_mediator
from tests.peer.pair import soon, until

A_MOMENT = 0.2  # s in which nobody comes


class Side:
    """One peer at the mediator."""

    def __init__(self, port: int, folder: Path, n: int, paths: Paths = Paths.ANY, **chosen: Any) -> None:
        options = ConnectOptions(state_dir=folder / f"peer {n}", paths=paths, **chosen)
        self.mediation = Mediation("127.0.0.1", port, key(n), options)
        self.attempts = Attempts(key(n), key(1 - n).public_key(), self.mediation, options)
        self.made: list[Made] = []

    async def first(self, notify: Callable[[ConnectEvent], None] = lambda event: None) -> None:
        self.made.append(await self.attempts.first(notify))

    async def further(self, number: int, wait: float = 10.0, *, relay: bool = True) -> None:
        agreement = self.made[0].agreement
        self.made.append(await self.attempts.further(agreement, number, wait=wait, relay=relay))

    async def end(self) -> None:
        for made in self.made:
            made.channel.stream.close()
        await self.attempts.close()
        await self.mediation.close()


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    """Two peers that are connected."""
    async with real_mediator(tmp_path) as mediator:
        sides = Side(mediator.listening.port, tmp_path, 0), Side(mediator.listening.port, tmp_path, 1)
        try:
            for side in sides:
                await soon(side.mediation.open(lambda event: None))
            await soon(asyncio.gather(*(side.first() for side in sides)))
            yield sides
        finally:
            for side in sides:
                await soon(side.end())


@pytest.fixture
def withdrawn(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once the mediator has taken an offer back. What the other side says comes another way, and may come first."""
    real, event = Table.withdraw, asyncio.Event()

    def withdraw(table: Table, *arguments: Any) -> None:
        real(table, *arguments)
        event.set()

    monkeypatch.setattr(Table, "withdraw", withdraw)
    return event


async def test_a_further_channel(sides: tuple[Side, Side]) -> None:
    await soon(asyncio.gather(sides[0].further(3), sides[1].further(1)))
    first, further = sides[0].made[0].agreement, sides[0].made[1].agreement
    assert (further.session_id, further.role, further.counter) == (first.session_id, first.role, 3)


async def test_a_mediator_is_asked_whether_it_is_there(sides: tuple[Side, Side]) -> None:
    mediation = sides[0].mediation
    stream = mediation.client
    for _ in range(3):
        assert await soon(stream.answers())
    await soon(mediation.renew(is_doubtful=True))
    assert mediation.client is stream


async def test_a_further_channel_when_one_has_come_again_to_the_mediator(sides: tuple[Side, Side]) -> None:
    ours, theirs = sides
    await soon(ours.mediation.client.close())
    await soon(ours.mediation.renew())
    await until(lambda: theirs.mediation.client.has_left(ours.attempts._setting.parties.own))
    await soon(asyncio.gather(ours.further(1), theirs.further(1)))
    assert theirs.mediation.client.is_matched(ours.attempts._setting.parties.own)


async def test_a_stun_server_of_the_users_without_an_address_is_told_of_once(tmp_path: Path) -> None:
    told: list[ConnectEvent] = []
    server = StunServer("a..b", 3478, Transport.UDP)
    async with real_mediator(tmp_path) as mediator:
        silent = StunServer("127.0.0.1", 1, Transport.UDP)
        side = Side(mediator.listening.port, tmp_path, 0, stun=(server, silent), wait=A_MOMENT)
        try:
            await soon(side.mediation.open(lambda event: None))
            with pytest.raises(PeerDidNotCome):
                await soon(side.first(told.append))
        finally:
            await soon(side.end())
    unknown = [event for event in told if isinstance(event, StunServerUnusable)]
    assert [event.server for event in unknown] == [server]
    assert unknown[0].why.startswith("that is no name of a computer")


async def test_the_relay_only_where_there_is_none(tmp_path: Path) -> None:
    async with real_mediator(tmp_path, limits=Limits(stop_grace=0.05, relay=False)) as mediator:
        side = Side(mediator.listening.port, tmp_path, 0, Paths.RELAY_ONLY)
        try:
            await soon(side.mediation.open(lambda event: None))
            with pytest.raises(NoPath, match="this mediator relays nothing, and this side wants the relay only"):
                await soon(side.first())
        finally:
            await soon(side.end())


@pytest.mark.parametrize("why", [PeerDidNotCome, asyncio.CancelledError])
async def test_nobody_is_matched_with_who_has_given_up_waiting(
    sides: tuple[Side, Side], withdrawn: asyncio.Event, monkeypatch: pytest.MonkeyPatch, why: type[BaseException]
) -> None:
    """Else the other side would punch towards ports that are closed, while this side waits once more."""
    ours, theirs = sides
    waiting = asyncio.create_task(ours.further(1, A_MOMENT if why is PeerDidNotCome else 3600))
    if why is asyncio.CancelledError:
        real = MediatorClient.advertise

        async def advertise(self: MediatorClient, wanted: PeerId, offer: bytes) -> None:
            await real(self, wanted, offer)
            asyncio.get_running_loop().call_soon(waiting.cancel)

        monkeypatch.setattr(MediatorClient, "advertise", advertise)
    with pytest.raises(why):
        await soon(waiting)
    await soon(withdrawn.wait())
    monkeypatch.undo()
    with pytest.raises(PeerDidNotCome):
        await soon(theirs.further(1, A_MOMENT))
    await soon(asyncio.gather(ours.further(2), theirs.further(2)))


async def test_a_renewal_that_crossed_with_its_match_is_taken_back(
    sides: tuple[Side, Side], withdrawn: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be matched with the next offer of the other side, which is for the session that began meanwhile."""
    ours, theirs = sides
    real = meeting.Meeting._match_until_it_is_old

    async def match(self: Any, *arguments: Any) -> Any:
        found = await real(self, *arguments)
        if found is not None and self._parties is ours.attempts._setting.parties:
            renewed.append(await self._advertise(arguments[0]))
        return found

    renewed: list[None] = []
    monkeypatch.setattr(meeting.Meeting, "_match_until_it_is_old", match)
    await soon(asyncio.gather(ours.further(1), theirs.further(1)))
    assert len(renewed) == 1
    await soon(withdrawn.wait())
    with pytest.raises(PeerDidNotCome):
        await soon(theirs.further(2, A_MOMENT))


@pytest.mark.parametrize("relay", [True, False])
async def test_nobody_waits_at_the_relay_for_who_does_not_come_there(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch, relay: bool
) -> None:
    relays: dict[Any, bool] = {}

    async def race(gathered: Any, terms: Any, *_: Any, relay: Any, **__: Any) -> None:
        relays[terms.role] = relay is not None
        raise NoPath("none")

    monkeypatch.setattr(attempt, "race", race)
    ends = asyncio.gather(sides[0].further(1, relay=relay), sides[1].further(1), return_exceptions=True)
    assert [type(end) for end in await soon(ends)] == [NoPath, NoPath]
    assert set(relays.values()) == {relay}


async def test_a_peer_that_has_begun_anew(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has not ends its session; the new one waits until it has."""
    monkeypatch.setattr(attempt, "OTHER_SESSION_PAUSE", 0.0)
    ours, theirs = sides
    told: list[ConnectEvent] = []
    anew = asyncio.create_task(theirs.first(told.append))
    with pytest.raises(OtherSession):
        await soon(ours.further(1))
    await soon(asyncio.gather(ours.first(), anew))
    assert ours.made[-1].agreement.session_id == theirs.made[-1].agreement.session_id
    assert ours.made[-1].agreement.session_id != ours.made[0].agreement.session_id
    steps = [CandidatesFound, Advertised, Matched, PathFound, Encrypted, Authenticated]
    assert [type(event) for event in told] == steps, "its user has waited once"


async def test_a_side_that_never_ends_an_earlier_session_is_not_waited_for_for_ever(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "OTHER_SESSION_PAUSE", 0.001)
    monkeypatch.setattr(attempt, "OTHER_SESSION_TRIES", 3)
    ours, theirs = sides

    async def goes_on() -> None:
        while True:
            with contextlib.suppress(OtherSession):
                await theirs.further(1)

    going_on = asyncio.create_task(goes_on())
    with pytest.raises(ConnectionLost, match="goes on with a session"):
        await soon(ours.attempts.first(lambda event: None))
    going_on.cancel()
    await asyncio.gather(going_on, return_exceptions=True)


def responder_leaves(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch, *, path_too: bool) -> None:
    """Have the initiator take UDP, and the responder leave the mediator, or everything, as it begins to speak there."""
    real_race, real_establish = attempt.race, attempt.establish

    async def race(*given: Any, without: frozenset[PathKind], **more: Any) -> Any:
        return await real_race(*given, without=without | {PathKind.TCP}, **more)

    async def establish(path: Any, agreement: Agreement, *given: Any, **more: Any) -> Channel:
        assert path.kind is PathKind.QUIC
        if agreement.role is Role.RESPONDER:
            leaver, other = sorted(sides, key=lambda side: side.attempts.peer != agreement.other.peer)
            await leaver.mediation.close()
            await until(lambda: other.mediation.client.has_left(agreement.own.peer))
            if path_too:
                raise NoPath("interrupted")
        return await real_establish(path, agreement, *given, **more)

    monkeypatch.setattr(attempt, "race", race)
    monkeypatch.setattr(attempt, "establish", establish)


@pytest.mark.parametrize("which", ["the first", "a further one"])
async def test_a_handshake_with_who_has_left_is_given_up(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    """Nothing else tells: a UDP socket that is closed is as silent as one that waits."""
    monkeypatch.setattr(attempt, "DEPARTURE_GRACE", 0.0)
    monkeypatch.setattr(channel, "HANDSHAKE_TIME", 3600)
    responder_leaves(sides, monkeypatch, path_too=True)
    attempts = (side.first() if which == "the first" else side.further(1) for side in sides)
    ends = await soon(asyncio.gather(*attempts, return_exceptions=True))
    assert {type(end) for end in ends} == {NoPath}
    assert {str(end) for end in ends} == {"interrupted", "the other side left before there was a connection"}


async def test_a_side_that_leaves_only_the_mediator_is_still_met(
    sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "DEPARTURE_GRACE", 3600)
    responder_leaves(sides, monkeypatch, path_too=False)
    await soon(asyncio.gather(*(side.further(1) for side in sides)))
    assert [side.made[1].agreement.counter for side in sides] == [1, 1]


@pytest.mark.parametrize("when", ["it waits", "it races"])
async def test_cancelled_in_the_middle(sides: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """No socket and no task is left; the fixtures of this folder say so."""
    racing: list[None] = []

    async def race(*_: Any, **__: Any) -> None:
        racing.append(None)
        await asyncio.Event().wait()

    monkeypatch.setattr(attempt, "race", race)
    before = asyncio.all_tasks()
    tasks = [asyncio.create_task(side.further(1)) for side in sides[: 1 if when == "it waits" else 2]]
    if when == "it races":
        await until(lambda: len(racing) == 2)
    else:
        known = sides[0].attempts._setting.parties.offers
        await until(lambda: bool(known) and len(asyncio.all_tasks()) > len(before) + 2)
    for task in tasks:
        task.cancel()
    await soon(asyncio.gather(*tasks, return_exceptions=True))
    await until(lambda: asyncio.all_tasks() <= before)
