"""`grpc.health.v1`, by gRPC's own client and by one that does not take its answers."""

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from p2p_server.app import Mediator

from tests.server.client import PATIENCE, channel_to, until
from tests.server.conftest import StartMediator
from tests.server.raw_http2 import ShutConnection

CHECK = "/grpc.health.v1.Health/Check"


async def check(mediator: Mediator, service: str = "") -> grpc.StatusCode:
    """Ask; return OK if the service serves, else how the call ended."""
    async with channel_to(mediator) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            return error.code()
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        return grpc.StatusCode.OK


async def test_the_server_and_its_service_serve(mediator: Mediator) -> None:
    assert await check(mediator) is grpc.StatusCode.OK
    assert await check(mediator, "punchwire.v1.Mediator") is grpc.StatusCode.OK
    assert await check(mediator, "another") is grpc.StatusCode.NOT_FOUND


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


async def test_behind_a_proxy_checks_are_counted_in_all_only(start: StartMediator) -> None:
    mediator = await start(insecure=True, health_checks_per_source=0)
    assert await check(mediator) is grpc.StatusCode.OK
