"""The keeper alone: what it asks for, and when; the other side, the mediator and the attempts are made up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from p2p_core.agreement import OtherSession
from p2p_core.errors import (
    ConnectionLost,
    MediatorUnreachable,
    NoPath,
    PeerDidNotCome,
    PunchwireError,
    Replaced,
)
from p2p_core.identity import PeerId
from p2p_core.machines.channels import FellSilent
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchPurpose
from p2p_core.wire import rejoin
from p2p_peer import keeper as keeper_module
from p2p_peer.keeper import Keeper
from p2p_peer.options import Paths
from p2p_peer.paths.relay import RelayLimit

from tests.peer.pair import agreement, soon, until

LOST = ConnectionLost("the cable is out")
SILENT = FellSilent("nobody says anything")
GONE = "it has left the mediator, too: its program has ended, or it is cut off"


@dataclass
class Client:
    signals: asyncio.Queue[tuple[PeerId, bytes]] = field(default_factory=asyncio.Queue)
    sent: list[bytes] = field(default_factory=list)
    gone: bool = False
    asked: int = 0  # how often, whether the other side is

    async def signalled(self) -> tuple[PeerId, bytes]:
        return await self.signals.get()

    async def signal(self, peer: PeerId, body: bytes) -> None:
        self.sent.append(body)

    def has_left(self, peer: PeerId) -> bool:
        self.asked += 1
        return self.gone


@dataclass
class Mediation:
    client: Client = field(default_factory=Client)
    down: PunchwireError | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)  # not set: it wants to be left alone for now
    doubts: list[bool] = field(default_factory=list)  # with each renewal

    def __post_init__(self) -> None:
        self.open.set()

    @property
    def is_lost(self) -> bool:
        return self.down is not None or not self.open.is_set()

    async def renew(self, *, is_doubtful: bool = False) -> None:
        self.doubts.append(is_doubtful)
        await self.open.wait()
        if self.down is not None:
            raise self.down


@dataclass
class Attempt:
    """One that is under way."""

    number: int
    relay: bool
    outcome: "asyncio.Future[Any]"

    def makes(self, kind: PathKind) -> None:
        channel = SimpleNamespace(path=SimpleNamespace(kind=kind))
        made = SimpleNamespace(channel=channel, agreement=SimpleNamespace(counter=self.number), why_no_better="")
        self.outcome.set_result(made)

    def fails(self, error: Exception | None = None) -> None:
        self.outcome.set_exception(error or PeerDidNotCome("nobody"))


@dataclass
class Attempts:
    peer: PeerId
    made: list[Attempt] = field(default_factory=list)

    async def further(self, session: Any, number: int, *, wait: float, relay: bool) -> Any:
        self.made.append(Attempt(number, relay, asyncio.get_running_loop().create_future()))
        return await self.made[-1].outcome


@dataclass
class Session:
    path: PathKind
    is_over: bool = False
    moves: list[Any] = field(default_factory=list)
    given_up: list[str] = field(default_factory=list)
    why_looking: list[str] = field(default_factory=list)

    def move_to(self, channel: Any, why_no_better: str) -> None:
        self.moves.append(channel)
        self.path = channel.path.kind

    def still_looking(self, why: str) -> None:
        self.why_looking.append(why)

    def give_up(self, error: PunchwireError) -> None:
        self.given_up.append(str(error))
        self.is_over = True


class Scene:
    """A session that is kept, from one side."""

    def __init__(self, role: Role, path: PathKind, paths: Paths = Paths.ANY) -> None:
        self.agreement = agreement(role)
        self.mediation, self.attempts = Mediation(), Attempts(self.agreement.other.peer)
        self.session = Session(path)
        self.keeper = Keeper(self.agreement, cast("Any", self.attempts), cast("Any", self.mediation), paths)
        self.keeper.watch(cast("Any", self.session))

    def call(self, number: int) -> None:
        """The other side calls."""
        key = self.agreement.punch_key(self.agreement.role.other, PunchPurpose.REJOIN)
        self.mediation.client.signals.put_nowait((self.agreement.other.peer, rejoin.encode(number, key)))

    async def attempt(self, count: int = 1) -> Attempt:
        """Return attempt number `count`, once it is under way."""
        await until(lambda: len(self.attempts.made) >= count)
        assert len(self.attempts.made) == count
        return self.attempts.made[-1]

    @property
    def calls(self) -> list[int]:
        """The channels that were called for."""
        key = self.agreement.punch_key(self.agreement.role, PunchPurpose.REJOIN)
        return [rejoin.decode(body, key) for body in self.mediation.client.sent]


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "RETRY_AFTER", 0.0)
    monkeypatch.setattr(keeper_module, "LOOK_EVERY", 0.001)
    monkeypatch.setattr(keeper_module, "UPGRADE_AFTER", (0.0, 0.0))


@pytest.fixture
async def scenes() -> AsyncIterator[list[Scene]]:
    begun: list[Scene] = []
    yield begun
    for scene in begun:
        await soon(scene.keeper.stop())
        assert not scene.keeper._tasks


async def some_turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.mark.parametrize("role", [Role.INITIATOR, Role.RESPONDER])
async def test_a_lost_channel_is_replaced(scenes: list[Scene], role: Role) -> None:
    scenes.append(scene := Scene(role, PathKind.TCP))
    assert scene.keeper.channel_lost(LOST)
    first = await scene.attempt()
    assert (first.number, first.relay, scene.calls) == (1, True, [1])
    first.fails()
    (await scene.attempt(2)).makes(PathKind.QUIC)
    await until(lambda: len(scene.session.moves) == 1)
    assert scene.calls == [1, 1]
    await some_turns()
    assert len(scene.attempts.made) == 2
    assert scene.keeper.channel_lost(LOST)
    assert (await scene.attempt(3)).number == 2


async def test_a_call_is_answered_and_not_called_back(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.call(3)
    attempt = await scene.attempt()
    assert (attempt.number, attempt.relay, scene.calls) == (3, True, [])


async def test_a_call_for_what_there_is_means_nothing(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.call(1)
    (await scene.attempt()).makes(PathKind.TCP)
    scene.call(1)
    await until(lambda: scene.mediation.client.signals.empty() and len(scene.session.moves) == 1)
    await some_turns()
    assert len(scene.attempts.made) == 1


async def test_a_call_during_an_attempt_that_fails_is_not_forgotten(scenes: list[Scene]) -> None:
    """The other side, which failed a moment before, is back already."""
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.RELAY))
    scene.call(1)
    first = await scene.attempt()
    scene.call(1)
    await until(lambda: scene.keeper._wanted == 1)
    first.fails()
    assert (await scene.attempt(2)).number == 1


async def test_a_call_is_answered_once(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.RELAY))
    scene.call(1)
    (await scene.attempt()).fails()
    await some_turns()
    assert len(scene.attempts.made) == 1


async def test_the_initiator_looks_for_something_better_than_the_relay(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.INITIATOR, PathKind.RELAY))
    first = await scene.attempt()
    assert (first.number, first.relay, scene.calls) == (1, False, [1])
    first.fails()
    (await scene.attempt(2)).fails()
    await some_turns()
    assert len(scene.attempts.made) == 2, "it has an end"


async def test_a_relay_that_dies_during_an_attempt_without_it_is_not_waited_for(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.INITIATOR, PathKind.RELAY))
    upgrade = await scene.attempt()
    scene.keeper.channel_lost(LOST)
    recovery = await scene.attempt(2)
    assert upgrade.outcome.cancelled()
    assert (recovery.number, recovery.relay, scene.calls) == (2, True, [1, 2])
    recovery.makes(PathKind.RELAY)
    await until(lambda: len(scene.session.moves) == 1)
    assert (await scene.attempt(3)).number == 3


async def test_a_call_for_a_later_channel_ends_the_attempt_that_the_other_side_has_left(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.RELAY))
    scene.call(1)
    first = await scene.attempt()
    scene.keeper.channel_lost(LOST)
    scene.call(2)
    second = await scene.attempt(2)
    assert first.outcome.cancelled()
    assert (second.number, second.relay, scene.calls) == (2, True, [])


async def test_an_attempt_with_the_relay_goes_on_when_the_channel_is_lost(scenes: list[Scene]) -> None:
    """The other side has noticed before us, and called for the same channel."""
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.RELAY))
    scene.call(1)
    attempt = await scene.attempt()
    scene.keeper.channel_lost(LOST)
    scene.call(1)
    await until(scene.mediation.client.signals.empty)
    await some_turns()
    assert (await scene.attempt()).outcome is attempt.outcome
    assert not attempt.outcome.done()


@pytest.mark.parametrize(
    ("role", "path", "paths"),
    [
        (Role.RESPONDER, PathKind.RELAY, Paths.ANY),
        (Role.INITIATOR, PathKind.QUIC, Paths.ANY),
        (Role.INITIATOR, PathKind.RELAY, Paths.RELAY_ONLY),
    ],
)
async def test_nobody_else_does(scenes: list[Scene], role: Role, path: PathKind, paths: Paths) -> None:
    scenes.append(scene := Scene(role, path, paths))
    await some_turns()
    assert scene.attempts.made == []


async def test_nothing_is_tried_for_a_session_that_is_over(scenes: list[Scene]) -> None:
    """Its user may take his time to close it."""
    scenes.append(scene := Scene(Role.INITIATOR, PathKind.TCP))
    scene.keeper.channel_lost(LOST)
    attempt = await scene.attempt()
    scene.session.is_over = True
    attempt.fails()
    await until(lambda: not scene.keeper._tasks)
    assert len(scene.attempts.made) == 1


async def test_an_upgrade_is_not_tried_for_a_session_that_is_over(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.INITIATOR, PathKind.RELAY))
    scene.session.is_over = True
    await until(lambda: not scene.keeper._tasks)
    assert scene.attempts.made == []


async def test_stopped_in_the_middle_of_an_attempt(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.INITIATOR, PathKind.RELAY))
    attempt = await scene.attempt()
    await soon(scene.keeper.stop())
    assert attempt.outcome.cancelled()


async def test_the_other_side_has_left_the_mediator_for_good(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "GONE_TIME", 0.01)
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.keeper.channel_lost(LOST)
    await scene.attempt()
    await some_turns()
    assert scene.session.given_up == []
    scene.mediation.client.gone = True
    await until(lambda: scene.session.given_up == [f"{LOST}; {GONE}"])


@pytest.mark.parametrize(
    ("path", "error"),
    [(PathKind.TCP, SILENT), (PathKind.QUIC, SILENT), (PathKind.RELAY, SILENT), (PathKind.RELAY, LOST)],
)
async def test_the_other_side_may_be_changing_networks(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch, path: PathKind, error: ConnectionLost
) -> None:
    """Nobody has ended the path, or only the mediator: its program may be there, and need as long as we to notice."""
    monkeypatch.setattr(keeper_module, "GONE_TIME", 0.0)
    scenes.append(scene := Scene(Role.RESPONDER, path))
    scene.mediation.client.gone = True
    scene.keeper.channel_lost(error)
    await until(lambda: scene.mediation.client.asked > 5)
    assert scene.session.given_up == []
    (await scene.attempt()).makes(PathKind.TCP)
    await until(lambda: len(scene.session.moves) == 1)
    monkeypatch.setattr(keeper_module, "RETURN_TIME", 0.01)
    scene.keeper.channel_lost(SILENT)
    await until(lambda: scene.session.given_up == [f"{SILENT}; {GONE}"])


async def test_the_mediator_is_doubted_once_the_path_is_lost(scenes: list[Scene]) -> None:
    """But not where a call has just come over it."""
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.RELAY))
    scene.call(1)
    (await scene.attempt()).fails()
    scene.keeper.channel_lost(SILENT)
    lost = await scene.attempt(2)
    scene.call(2)
    lost.fails()
    await scene.attempt(3)
    assert scene.mediation.doubts == [False, True, False]


async def test_an_upgrade_is_under_way_when_the_other_side_goes(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "RETURN_TIME", 0.01)
    scenes.append(scene := Scene(Role.INITIATOR, PathKind.RELAY))
    await scene.attempt()
    scene.mediation.client.gone = True
    scene.keeper.channel_lost(LOST)
    await until(lambda: scene.session.given_up == [f"{LOST}; {GONE}"])


async def test_the_mediator_is_away_for_a_while(scenes: list[Scene]) -> None:
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.mediation.down = MediatorUnreachable("it restarts")
    scene.keeper.channel_lost(LOST)
    await some_turns()
    assert scene.attempts.made == []
    scene.mediation.down = None
    (await scene.attempt()).makes(PathKind.TCP)
    await until(lambda: len(scene.session.moves) == 1)


async def test_the_mediator_wants_to_be_left_alone_for_now(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "SAY_EVERY", 0.01)
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.mediation.open.clear()
    scene.keeper.channel_lost(LOST)
    await until(lambda: scene.session.why_looking[:1] == ["the mediator cannot be reached"])
    assert scene.attempts.made == []
    scene.mediation.open.set()
    (await scene.attempt()).makes(PathKind.TCP)
    await until(lambda: len(scene.session.moves) == 1)


async def test_it_wants_that_for_longer_than_anybody_is_looked_for(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_module, "RECOVERY_TIME", 0.05)
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.mediation.open.clear()
    scene.keeper.channel_lost(LOST)
    what = "the cable is out; no other connection came up within 0.05 s"
    await until(lambda: scene.session.given_up == [f"{what}: the mediator cannot be reached"])


async def test_nobody_is_looked_for_for_ever(scenes: list[Scene], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "RECOVERY_TIME", 0.01)
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.keeper.channel_lost(LOST)
    what = "the cable is out; no other connection came up within 0.01 s"
    await until(lambda: scene.session.given_up == [f"{what}: the other side has not come yet"])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (PeerDidNotCome("the other peer (abcdefgh) did not come within 10 s"), "the other side did not come"),
        (MediatorUnreachable("no answer from 127.0.0.1:1"), "the mediator cannot be reached"),
        (NoPath("no connection to the other side came up"), "no connection to the other side came up"),
    ],
)
async def test_what_the_last_attempt_failed_of_is_said(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch, error: PunchwireError, why: str
) -> None:
    monkeypatch.setattr(keeper_module, "RETRY_AFTER", 60.0)
    monkeypatch.setattr(keeper_module, "SAY_EVERY", 0.01)
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.keeper.channel_lost(LOST)
    (await scene.attempt()).fails(error)
    await until(lambda: scene.session.why_looking[-2:] == [why, why])
    monkeypatch.setattr(keeper_module, "RECOVERY_TIME", 0.0)
    what = "the cable is out; no other connection came up within 0 s"
    await until(lambda: scene.session.given_up == [f"{what}: {why}"])


async def test_what_an_earlier_search_failed_of_is_forgotten(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.keeper.channel_lost(LOST)
    (await scene.attempt()).fails()
    (await scene.attempt(2)).makes(PathKind.TCP)
    await until(lambda: len(scene.session.moves) == 1)
    monkeypatch.setattr(keeper_module, "SAY_EVERY", 0.01)
    scene.keeper.channel_lost(LOST)
    await until(lambda: scene.session.why_looking == ["the other side has not come yet"])


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OtherSession(), "the other side has begun a new session"),
        (Replaced("another process took our place"), "another process took our place"),
        (RelayLimit("the mediator relays no more"), "the mediator relays no more"),
    ],
)
async def test_what_makes_no_sense_is_not_tried_again(scenes: list[Scene], error: Exception, said: str) -> None:
    scenes.append(scene := Scene(Role.RESPONDER, PathKind.TCP))
    scene.keeper.channel_lost(LOST)
    (await scene.attempt()).fails(error)
    await until(lambda: scene.session.given_up == [said])
    await some_turns()
    assert len(scene.attempts.made) == 1
