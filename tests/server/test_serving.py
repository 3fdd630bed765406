"""`p2p-server` as a process, told to stop, to reload, and whom to admit no more."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from p2p_server import tls
from p2p_server.app import Listening, Mediator
from p2p_server.config import Config
from p2p_server.serving import serve

from tests.server.client import PATIENCE, End, Peer, RelayPeer, channel_to
from tests.server.conftest import OpenPeer
from tests.server.pairs import tickets

ROOT = Path(__file__).parents[2]
PATHS = os.pathsep.join(str(ROOT / folder) for folder in ("proto", "core", "server"))


class Served:
    """A mediator in a process of its own, as the peers of these tests know one."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder

    @classmethod
    async def start(cls, folder: Path, *flags: str | Path) -> Self:
        """Start it, with the certificate and the key that lie in `folder`."""
        where = ("--host", "127.0.0.1", "--port", "0", "--no-stun", "--state-dir", folder / "state")
        files = ("--tls-cert", folder / tls.CERTIFICATE_FILE, "--tls-key", folder / tls.KEY_FILE)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "p2p_server", *map(str, (*where, *files, *flags)), "--log-format", "json"),
            env={name: value for name, value in os.environ.items() if not name.startswith("P2P_SERVER_")}
            | {"PYTHONPATH": PATHS},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        served = cls(process, folder)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        said = json.loads(line or b"{}")
        assert said.get("event") == "listening", await served.errors()
        served.listening = Listening("127.0.0.1", said["port"], None, (), said["mediator_id"], None)
        return served

    @property
    def certificate(self) -> tls.Certificate:
        return tls.load(self.folder / tls.CERTIFICATE_FILE, self.folder / tls.KEY_FILE)

    async def told(self, event: str) -> dict[str, Any]:
        """Wait until it has logged this."""
        assert self.process.stderr is not None
        async with asyncio.timeout(PATIENCE):
            while line := await self.process.stderr.readline():
                said: dict[str, Any] = json.loads(line)
                if said.get("event") == event:
                    return said
        raise AssertionError(f"it ended before it said {event}")

    async def errors(self) -> str:
        assert self.process.stderr is not None
        return (await self.process.stderr.read()).decode()

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    async def health(self) -> int:
        async with channel_to(cast("Mediator", self)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
            return answer.status

    async def close(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


StartServed = Callable[..., Awaitable[Served]]


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[StartServed]:
    async with AsyncExitStack() as stack:
        tls.load_or_create(tmp_path / "served", datetime.now(UTC))

        async def start(*flags: str | Path) -> Served:
            one = await Served.start(tmp_path / "served", *flags)
            stack.push_async_callback(one.close)
            return one

        yield start


@dataclass(frozen=True)
class Pair:
    """Two peers that were just matched."""

    a: Peer
    b: Peer
    tickets: tuple[bytes, bytes]

    @classmethod
    async def meet(cls, a: Peer, b: Peer) -> Self:
        await a.enter()
        await b.enter()
        return cls(a, b, await tickets(a, b))


def is_sent_away(end: End) -> bool:
    shutting_down = (end.code, end.reason) == (grpc.StatusCode.UNAVAILABLE, "shutting-down")
    return shutting_down and end.retry_after is not None and end.retry_after >= 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_who_waits_is_sent_away_and_it_ends(served: StartServed, peer: OpenPeer, number: int) -> None:
    mediator = await served("--open")
    waiting, idle = peer(mediator, 0), peer(mediator, 1)
    await waiting.enter()
    await idle.enter()
    await waiting.advertise(bytes(32))
    mediator.process.send_signal(number)
    for one in (waiting, idle):
        assert is_sent_away(await one.end())
    assert await mediator.ended() == 0  # long before the 30 s that it might take
    assert "Traceback" not in await mediator.errors()


async def test_who_is_just_meeting_goes_on(served: StartServed, peer: OpenPeer) -> None:
    mediator = await served("--open")
    pair = await Pair.meet(peer(mediator, 0), peer(mediator, 1))
    late = peer(mediator, 2)
    assert await mediator.health() == health_pb2.HealthCheckResponse.SERVING
    mediator.process.terminate()
    await mediator.told("draining")
    assert await mediator.health() == health_pb2.HealthCheckResponse.NOT_SERVING
    assert is_sent_away(await late.end())  # which says nothing: its Hello might be cut off, and the reason with it
    await pair.a.signal(pair.b.id, b"another way")
    assert (await pair.b.read("signal")).body == b"another way"
    sides = [RelayPeer(cast("Mediator", mediator)) for _ in pair.tickets]
    for side, ticket in zip(sides, pair.tickets, strict=True):
        await side.send(ticket=ticket)
    for side in sides:
        await side.present()
    await pair.a.close()
    await pair.b.close()
    await sides[0].send(data=b"over the relay")
    assert (await sides[1].read()).data == b"over the relay"
    assert mediator.process.returncode is None
    for side in sides:
        await side.close()
    assert await mediator.ended() == 0
    assert "Traceback" not in await mediator.errors()


async def test_who_is_meeting_for_too_long_is_cut(served: StartServed, peer: OpenPeer) -> None:
    mediator = await served("--open", "--drain-seconds", "1")
    pair = await Pair.meet(peer(mediator, 0), peer(mediator, 1))
    mediator.process.terminate()
    assert is_sent_away(await pair.a.end())
    assert is_sent_away(await pair.b.end())
    assert await mediator.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(served: StartServed, peer: OpenPeer, number: int) -> None:
    mediator = await served("--open")
    await Pair.meet(peer(mediator, 0), peer(mediator, 1))
    mediator.process.terminate()
    await mediator.told("draining")
    mediator.process.send_signal(number)
    assert await mediator.ended() == -number
    assert "Traceback" not in await mediator.errors()


@pytest.mark.parametrize("told", [True, False], ids=["SIGHUP", "by itself"])
async def test_another_certificate_is_shown_and_nobody_is_cut(
    served: StartServed, peer: OpenPeer, *, told: bool
) -> None:
    mediator = await served("--open")
    before = mediator.certificate
    old, late = peer(mediator, 0), peer(mediator, 1)
    await old.enter()
    challenge = await late.challenged()
    renewed = tls._self_signed(before.key_pem, datetime.now(UTC) + timedelta(hours=1))
    (mediator.folder / tls.CERTIFICATE_FILE).write_bytes(renewed)
    if told:
        mediator.process.send_signal(signal.SIGHUP)
        await mediator.told("reloading")
    await mediator.told("certificate-exchanged")
    assert mediator.certificate.leaf_der != before.leaf_der
    await late.prove(challenge, before)
    await late.read("welcome")
    new = peer(mediator, 2)  # trusts nothing but what is in the file now
    await new.connected()
    await new.enter()
    await old.advertise(new.id)
    await new.advertise(old.id)
    assert (await old.read("match")).peer == new.id
    mediator.process.terminate()
    assert is_sent_away(await late.end())
    for one in (old, new):
        await one.close()
    assert await mediator.ended() == 0


@pytest.mark.parametrize("told", [True, False], ids=["SIGHUP", "by itself"])
async def test_whose_key_is_removed_is_sent_away(
    served: StartServed, peer: OpenPeer, admit: Callable[..., Path], *, told: bool
) -> None:
    folder = admit(0, 1)
    mediator = await served("--authorized", folder)
    pair = await Pair.meet(peer(mediator, 0), peer(mediator, 1))
    side = RelayPeer(cast("Mediator", mediator))
    await side.send(ticket=pair.tickets[0])
    if told:  # written over in place, which by itself would be seen in a while
        (folder / f"{pair.a.id}.pem").write_bytes(b"")
        mediator.process.send_signal(signal.SIGHUP)
    else:
        (folder / f"{pair.a.id}.pem").unlink()
    for end in (await pair.a.end(), await side.end()):
        assert (end.code, end.reason) == (grpc.StatusCode.UNAUTHENTICATED, "not-admitted")
    assert (await pair.b.read("leave")).peer == pair.a.id
    await side.close()


async def test_whose_key_is_removed_while_it_drains_is_sent_away(
    served: StartServed, peer: OpenPeer, admit: Callable[..., Path]
) -> None:
    folder = admit(0, 1)
    mediator = await served("--authorized", folder)
    pair = await Pair.meet(peer(mediator, 0), peer(mediator, 1))
    mediator.process.terminate()
    await mediator.told("draining")
    (folder / f"{pair.a.id}.pem").unlink()
    assert (await pair.a.end()).reason == "not-admitted"
    await pair.b.close()
    assert await mediator.ended() == 0


async def test_an_exchange_that_is_under_way_is_finished(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[bool] = []
    finished: list[bool] = []

    async def look(_mediator: Mediator, *, thoroughly: bool) -> None:
        begun.append(thoroughly)
        if len(begun) == 1:  # a second signal would end these tests
            signal.raise_signal(signal.SIGTERM)
        for _ in range(100):
            await asyncio.sleep(0)
        finished.append(thoroughly)

    monkeypatch.setattr(Mediator, "look", look)
    monkeypatch.setattr("p2p_server.serving._LOOK_EACH", 0.01)
    monkeypatch.setattr("p2p_server.descriptors.raise_limit", lambda: None)
    await serve(replace(config, limits=replace(config.limits, relay=False)), lambda _: None)
    assert begun
    assert finished == begun


def test_who_has_no_redis_needs_no_redis() -> None:
    code = "import sys, p2p_server.serving; sys.exit('redis' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": PATHS}, check=True)


async def test_it_does_not_go_on_without_looking_at_the_keys(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look(_mediator: Mediator, *, thoroughly: bool) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(Mediator, "look", look)
    monkeypatch.setattr("p2p_server.serving._LOOK_EACH", 0.01)
    monkeypatch.setattr("p2p_server.descriptors.raise_limit", lambda: None)  # this process's is to stay as it is
    with pytest.raises(RuntimeError, match="a fault"):
        await serve(replace(config, limits=replace(config.limits, relay=False)), lambda _: None)
