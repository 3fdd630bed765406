"""`grpc.health.v1`, by gRPC's own client and by one that does not take its answers."""

import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from p2p_server.app import Mediator
from p2p_server.stores.memory import MemoryStore

from tests.server.client import PATIENCE, channel_to, until
from tests.server.conftest import StartMediator
from tests.server.logged import events
from tests.server.raw_http2 import ShutConnection

CHECK = "/grpc.health.v1.Health/Check"
_STATUS = {
    health_pb2.HealthCheckResponse.SERVING: grpc.StatusCode.OK,
    health_pb2.HealthCheckResponse.NOT_SERVING: grpc.StatusCode.UNAVAILABLE,
}


async def check(mediator: Mediator, service: str = "") -> grpc.StatusCode:
    """Ask; return OK if the service serves, UNAVAILABLE if it does not, else how the call ended."""
    async with channel_to(mediator) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return _STATUS[answer.status]


async def test_the_server_and_its_service_serve(mediator: Mediator) -> None:
    assert await check(mediator) is grpc.StatusCode.OK
    assert await check(mediator, "punchwire.v1.Mediator") is grpc.StatusCode.OK
    assert await check(mediator, "another") is grpc.StatusCode.NOT_FOUND


async def test_while_it_drains_it_does_not_serve(mediator: Mediator) -> None:
    await mediator.drain(0.0)
    assert await check(mediator) is grpc.StatusCode.UNAVAILABLE
    assert await check(mediator, "punchwire.v1.Mediator") is grpc.StatusCode.UNAVAILABLE
    assert await check(mediator, "another") is grpc.StatusCode.NOT_FOUND


async def test_without_its_store_it_does_not_serve(start: StartMediator, monkeypatch: pytest.MonkeyPatch) -> None:
    mediator = await start()
    monkeypatch.setattr(MemoryStore, "is_available", False)
    assert await check(mediator) is grpc.StatusCode.UNAVAILABLE
    monkeypatch.undo()
    assert await check(mediator) is grpc.StatusCode.OK


async def test_without_a_redis_it_waits_for_one_and_does_not_serve(
    start: StartMediator, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as taken:  # nobody listens there
        taken.bind(("127.0.0.1", 0))
        mediator = await start(store=f"redis://127.0.0.1:{taken.getsockname()[1]}")
        assert await check(mediator) is grpc.StatusCode.UNAVAILABLE
        assert len(events(caplog, "not-advertised")) == 1
        await mediator.stop()


async def test_nobody_watches(mediator: Mediator) -> None:
    async with channel_to(mediator) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await watch.read()
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_what_does_not_parse_is_refused(mediator: Mediator) -> None:
    async with channel_to(mediator) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await channel.unary_unary(CHECK)(b"\xff")
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("limit", ["health_checks", "health_checks_per_source"])
async def test_checks_under_way_are_few(start: StartMediator, limit: str) -> None:
    """One does not take its answer, another sends no request."""
    mediator = await start(**{limit: 2})
    shut = await ShutConnection.open(mediator)
    first = shut.call(CHECK, b"")
    shut.call(CHECK, None)
    await until(lambda: first in shut.begun)
    assert await check(mediator) is grpc.StatusCode.RESOURCE_EXHAUSTED
    shut.open_window(first, 1000)
    await until(lambda: first in shut.over)
    assert await check(mediator) is grpc.StatusCode.OK
    await shut.close()


@pytest.mark.parametrize("switch", ["insecure", "behind_proxy"])
async def test_behind_a_proxy_checks_are_counted_in_all_only(start: StartMediator, switch: str) -> None:
    mediator = await start(health_checks_per_source=0, **{switch: True})
    assert await check(mediator) is grpc.StatusCode.OK
