"""The way to a mediator that follows a script: how often it is gone, and when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from p2p_core.errors import MediatorUnreachable, NotAdmitted, Replaced
from p2p_core.wire.candidate import Address
from p2p_peer import mediation as mediation_module
from p2p_peer import mediator as mediator_module
from p2p_peer.events import Admitted, ConnectEvent, MediatorBack, MediatorLost, MediatorReached
from p2p_peer.mediation import Mediation
from p2p_peer.mediator_identity import MediatorIdentity, reach_unauthenticated
from p2p_peer.options import ConnectOptions
from p2p_server import tls

from tests.keys import key
from tests.peer.a_mediator import real_mediator
from tests.peer.mediator_script import Script, Stream, scripted_mediator
from tests.peer.pair import soon, until

LOST = MediatorUnreachable("it went away")


@dataclass
class Backoff:
    """Writes down what is asked and told, and holds nobody up."""

    told_seconds: list[float] = field(default_factory=list)
    pauses: int = 0

    def admitted(self, now: float) -> None:
        """It makes no difference."""

    def told(self, now: float, seconds: float) -> None:
        self.told_seconds.append(seconds)

    def closed_for(self, now: float) -> float:
        return 0.0

    def pause(self, now: float) -> float:
        self.pauses += 1
        return 0.0


@dataclass
class Scene:
    mediation: Mediation
    backoff: Backoff
    told: list[ConnectEvent] = field(default_factory=list)

    async def open(self) -> None:
        await soon(self.mediation.open(self.told.append))

    @property
    def steps(self) -> list[type[ConnectEvent]]:
        return [type(event) for event in self.told]


@asynccontextmanager
async def scene(script: Script, *, is_deaf: bool = False, **options: Any) -> AsyncIterator[Scene]:
    async with scripted_mediator(script, is_deaf=is_deaf) as mediator:
        chosen = ConnectOptions(insecure=True, **options)
        mediation = Mediation("127.0.0.1", mediator.address.port, key(0), chosen)
        backoff = Backoff()
        mediation._backoff = cast("Any", backoff)
        try:
            yield Scene(mediation, backoff)
        finally:
            await soon(mediation.close())


def one_after_the_other(*scripts: Script) -> Script:
    """What each stream meets; the last one all further ones, too."""
    left = list(scripts)

    async def script(stream: Stream) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(stream)

    return script


async def welcome(stream: Stream) -> None:
    await stream.admit()
    await stream.stay()


def refusing(retry_after: str = "", reason: str = "too-many-handshakes") -> Script:
    async def script(stream: Stream) -> None:
        await stream.read("hello")
        await stream.end(grpc.StatusCode.RESOURCE_EXHAUSTED, "details", reason, retry_after)

    return script


def admitting_for_a_moment(retry_after: str = "", reason: str = "shutting-down") -> Script:
    async def script(stream: Stream) -> None:
        await stream.admit()
        await stream.end(grpc.StatusCode.UNAVAILABLE, "details", reason, retry_after)

    return script


# The first contact.


async def test_it_is_let_in() -> None:
    async with scene(welcome) as at:
        await at.open()
        assert at.steps == [MediatorReached, Admitted]
        assert not at.mediation.is_lost


async def test_it_comes_again_as_often_as_it_is_told() -> None:
    async with scene(one_after_the_other(refusing("2"), refusing("7", "shutting-down"), welcome)) as at:
        await at.open()
        assert at.steps == [MediatorReached, MediatorLost, MediatorBack, Admitted]
        assert at.backoff.told_seconds == [2, 7]


async def test_it_comes_later_each_time_that_it_is_refused() -> None:
    async with scene(one_after_the_other(refusing("2"), refusing("2"), refusing("2"), welcome)) as at:
        await at.open()
        assert at.backoff.pauses == 2  # after the first refusal it comes when it was told


async def test_who_only_refused_is_not_recognised_again(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = counted(monkeypatch)
    async with scene(one_after_the_other(refusing("2"), refusing("2"), admitting_for_a_moment(), welcome)) as at:
        await at.open()
        assert len(dialled) == 1
        await until(lambda: at.mediation.is_lost)
        await soon(at.mediation.renew())
        assert len(dialled) == 2


async def test_a_certificate_of_the_same_key_is_taken_when_it_is_met(tmp_path: Path) -> None:
    """One instance was recognised, and the balancer sends the stream to another one."""
    async with real_mediator(tmp_path) as first:
        (tmp_path / "mediator" / tls.CERTIFICATE_FILE).unlink()
        async with real_mediator(tmp_path) as second:
            assert first.certificate != second.certificate
            options = ConnectOptions(state_dir=tmp_path / "peer")
            mediation = Mediation("127.0.0.1", first.listening.port, key(0), options)
            recognised = await soon(mediation._reach())
            mediation._identity = replace(recognised, address=Address.of("127.0.0.1", second.listening.port))
            mediation._client = await soon(mediation._greet())
            assert mediation.identity.leaf_pem != recognised.leaf_pem
            assert mediation.identity.id == recognised.id
            await soon(mediation.close())


async def test_it_does_not_come_again_if_it_is_not_told() -> None:
    async with scene(one_after_the_other(refusing(), welcome)) as at:
        with pytest.raises(MediatorUnreachable, match="details"):
            await at.open()
        assert at.steps == [MediatorReached]


async def test_it_is_told_no_more() -> None:
    async with scene(one_after_the_other(refusing("2"), refusing(), welcome)) as at:
        with pytest.raises(MediatorUnreachable, match="details"):
            await at.open()
        assert at.steps == [MediatorReached, MediatorLost]


async def test_it_is_not_admitted_when_it_comes_again() -> None:
    async with scene(one_after_the_other(refusing("2"), refusing("2", "not-admitted"))) as at:
        with pytest.raises(NotAdmitted):
            await at.open()


async def test_it_comes_no_more_when_the_waiting_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = asyncio.timeout(None)

    async def over(stream: Stream) -> None:
        limit.reschedule(asyncio.get_running_loop().time())
        await stream.stay()

    async with scene(one_after_the_other(refusing("2"), refusing("3"), over)) as at:
        monkeypatch.setattr(at.mediation.waiting, "timeout", lambda: limit)
        with pytest.raises(MediatorUnreachable, match="details") as caught:
            await at.open()
        assert caught.value.retry_after == 3
        assert at.steps == [MediatorReached, MediatorLost]


# Once it was admitted.


async def test_a_stream_that_goes_on_is_not_renewed() -> None:
    async with scene(welcome) as at:
        await at.open()
        client = at.mediation.client
        await soon(at.mediation.renew())
        assert at.mediation.client is client


async def test_a_mediator_that_answers_is_not_doubted_any_more() -> None:
    async with scene(welcome) as at:
        await at.open()
        client = at.mediation.client
        await soon(at.mediation.renew(is_doubtful=True))
        assert at.mediation.client is client


async def test_a_stream_over_which_nothing_answers_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of networks it may take gRPC half a minute to notice."""
    monkeypatch.setattr(mediator_module, "ANSWER_TIME", 0.05)
    async with scene(welcome, is_deaf=True) as at:
        await at.open()
        silent = at.mediation.client
        await soon(at.mediation.renew())
        assert at.mediation.client is silent
        await soon(at.mediation.renew(is_doubtful=True))
        assert at.mediation.client is not silent
        assert silent.why_ended is not None
        assert not at.mediation.is_lost


async def test_it_is_still_made_again_when_that_failed_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mediator_module, "ANSWER_TIME", 0.05)
    async with scene(one_after_the_other(welcome, refusing(), welcome), is_deaf=True) as at:
        await at.open()
        with pytest.raises(MediatorUnreachable, match="details"):
            await soon(at.mediation.renew(is_doubtful=True))
        assert at.mediation.is_lost
        await soon(at.mediation.renew())
        assert not at.mediation.is_lost


async def test_it_is_not_made_again_when_another_took_our_place_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def replaced(stream: Stream) -> None:
        await stream.admit()
        await soon(asked.wait())
        await stream.end(grpc.StatusCode.ABORTED, "details", "replaced")

    async with scene(replaced) as at:
        await at.open()
        real = at.mediation.client.answers

        async def answers() -> bool:
            asked.set()
            await until(lambda: at.mediation.is_lost)
            return await real()

        monkeypatch.setattr(at.mediation.client, "answers", answers)
        with pytest.raises(Replaced):
            await soon(at.mediation.renew(is_doubtful=True))


async def test_what_a_stream_says_at_its_end_is_heeded_at_once() -> None:
    async with scene(admitting_for_a_moment("9")) as at:
        await at.open()
        await until(lambda: at.mediation.is_lost)
        assert at.backoff.told_seconds == [9]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return what gets the port each time that a mediator is recognised."""
    dialled: list[int] = []

    async def dial(host: str, port: int) -> MediatorIdentity:
        dialled.append(port)
        return await reach_unauthenticated(host, port)

    monkeypatch.setattr(mediation_module, "reach_unauthenticated", dial)
    return dialled


async def test_it_is_not_dialled_sooner_than_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled = counted(monkeypatch)
    async with scene(one_after_the_other(admitting_for_a_moment(), welcome)) as at:
        await at.open()
        await until(lambda: at.mediation.is_lost)
        monkeypatch.setattr(at.backoff, "closed_for", lambda now: 3600.0)
        renewing = asyncio.create_task(at.mediation.renew())
        await asyncio.wait([renewing], timeout=0.05)
        assert (len(dialled), renewing.done()) == (1, False)
        renewing.cancel()
        monkeypatch.setattr(at.backoff, "closed_for", lambda now: 0.0)
        await soon(at.mediation.renew())
        assert (len(dialled), at.mediation.is_lost) == (2, False)


async def test_it_is_found_again() -> None:
    """The user is told once that it is lost, and once that it is back."""
    streams = admitting_for_a_moment(), refusing(), refusing("3"), refusing(reason="internal"), welcome
    async with scene(one_after_the_other(*streams)) as at:
        await at.open()
        await until(lambda: at.mediation.is_lost)
        await soon(at.mediation.find_again(LOST, at.told.append))
        assert at.steps == [MediatorReached, Admitted, MediatorLost, MediatorBack]
        assert at.told[2] == MediatorLost(LOST)
        assert at.backoff.pauses == 4
        assert at.backoff.told_seconds == [3]
        assert not at.mediation.is_lost


async def test_it_is_not_looked_for_when_another_took_our_place() -> None:
    async with scene(admitting_for_a_moment(reason="replaced")) as at:
        await at.open()
        await until(lambda: at.mediation.is_lost)
        with pytest.raises(Replaced):
            await soon(at.mediation.find_again(LOST, at.told.append))
        assert at.backoff.pauses == 1


async def test_nobody_is_there_any_more() -> None:
    async with scene(admitting_for_a_moment()) as at:
        await at.open()
        await until(lambda: at.mediation.is_lost)
    looking = asyncio.create_task(at.mediation.find_again(LOST, at.told.append))
    await until(lambda: at.backoff.pauses > 2)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    assert at.steps[-1] is MediatorLost
    await at.mediation.close()
