"""`grpc.health.v1`, by gRPC's own client and by one that does not take its answers."""

import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from p2p_server.app import Mediator
from p2p_server.config import HostPort
from p2p_server.stores.memory import MemoryStore

from tests.server.client import PATIENCE, channel_to, until
from tests.server.clock import ManualClock
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


async def test_it_says_the_same_where_it_shows_its_metrics(start: StartMediator) -> None:
    mediator = await start(metrics=HostPort("127.0.0.1", 0))
    assert await status_of_health(mediator) == 200
    await mediator.drain(0.0)
    assert await status_of_health(mediator) == 503


async def status_of_health(mediator: Mediator) -> int:
    assert mediator.listening.metrics is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", mediator.listening.metrics.port)
    writer.write(b"GET /health HTTP/1.1\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), PATIENCE)
    writer.close()
    await writer.wait_closed()
    return int(line.split()[1])


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


async def test_a_request_has_two_seconds(start: StartMediator, clock: ManualClock) -> None:
    mediator = await start(health_checks=1)
    async with channel_to(mediator) as channel:
        silent = channel.stream_unary(CHECK)()
        await silent.wait_for_connection()
        await until_refused(mediator)
        clock.advance(1.9)
        assert await check(mediator) is grpc.StatusCode.RESOURCE_EXHAUSTED
        clock.advance(0.1)
        assert await asyncio.wait_for(silent.code(), PATIENCE) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await check(mediator) is grpc.StatusCode.OK


async def until_refused(mediator: Mediator) -> None:
    async with asyncio.timeout(PATIENCE):
        while await check(mediator) is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            pass


@pytest.mark.parametrize("switch", ["insecure", "behind_proxy"])
async def test_behind_a_proxy_checks_are_counted_in_all_only(start: StartMediator, switch: str) -> None:
    mediator = await start(health_checks_per_source=0, **{switch: True})
    assert await check(mediator) is grpc.StatusCode.OK
