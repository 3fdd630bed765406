import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from p2p_core.identity import PeerId, public_pem
from p2p_server.app import Mediator
from p2p_server.config import Config
from p2p_server.limits import Limits
from p2p_server.metrics import Metrics

from tests import keys, redis_server
from tests.redis_server import RedisServer
from tests.server.client import Peer
from tests.server.clock import ManualClock
from tests.server.redis_instances import Instances


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")

StartMediator = Callable[..., Awaitable[Mediator]]
OpenPeer = Callable[..., Peer]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A mediator on loopback that admits everybody and may be stopped at once."""
    return Config(
        state_dir=tmp_path / "state",
        authorized=None,
        host="127.0.0.1",
        port=0,
        stun_port=0,
        limits=Limits(stop_grace=0.05),
    )


@pytest.fixture
async def start(config: Config, clock: ManualClock) -> AsyncIterator[StartMediator]:
    """Start a mediator whose configuration differs in some fields; limits are given by name."""
    async with AsyncExitStack() as stack:

        async def start(**changed: Any) -> Mediator:
            limits = {name: changed.pop(name) for name in Limits.__dataclass_fields__ if name in changed}
            wanted = replace(config, **changed)
            wanted = replace(wanted, limits=replace(wanted.limits, **limits))
            mediator = await Mediator.start(wanted, clock)
            stack.push_async_callback(mediator.stop)
            return mediator

        yield start


@pytest.fixture
async def peer() -> AsyncIterator[OpenPeer]:
    """Open a stream for test key `n`; nothing has been said on it."""
    async with AsyncExitStack() as stack:

        def peer(mediator: Mediator, n: int, *options: tuple[str, Any]) -> Peer:
            opened = Peer(mediator, keys.key(n), *options)
            stack.push_async_callback(opened.close)
            return opened

        yield peer


@pytest.fixture(params=["tls", "insecure"])
async def mediator(request: pytest.FixtureRequest, start: StartMediator) -> Mediator:
    return await start(insecure=request.param == "insecure")


@pytest.fixture
def admit(tmp_path: Path) -> Callable[..., Path]:
    """Make a folder of authorized keys with these test keys in it."""

    def admit(*numbers: int) -> Path:
        folder = tmp_path / "authorized"
        folder.mkdir(exist_ok=True)
        for number in numbers:
            public = keys.key(number).public_key()
            (folder / f"{PeerId.of(public)}.pem").write_bytes(public_pem(public))
        return folder

    return admit


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """One for all tests that leave it as it is, and empty."""
    redis_server.needed()
    with RedisServer() as server:
        yield server


@pytest.fixture
def mortal_redis() -> Iterator[RedisServer]:
    """One that may be killed."""
    redis_server.needed()
    with RedisServer() as server:
        yield server


@pytest.fixture
async def instances(redis: RedisServer) -> AsyncIterator[Instances]:
    made = Instances(redis)
    yield made
    await made.close()
    made.check_nothing_is_left()


@pytest.fixture
async def mortal_instances(mortal_redis: RedisServer) -> AsyncIterator[Instances]:
    made = Instances(mortal_redis)
    yield made
    await made.close()
