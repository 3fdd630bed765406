"""`grpc.health.v1`: does the mediator serve? Load balancers and orchestrators ask, without a key.

Only `Check`. Each `Watch` would be a stream that anybody may hold open; who probes (Kubernetes, Envoy,
grpc_health_probe) asks `Check`, and a gRPC client that watches takes UNIMPLEMENTED for healthy (gRFC A17). A mediator
that drains, or whose store cannot be asked, does not serve: a balancer sends peers to another one.

Whoever reaches the port for peers can take all the places here, and then nobody is answered. So what takes a mediator
out of a balancer should rather ask `GET /health`, at the port of the metrics, which is not for strangers.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2 as pb

from p2p_server import observed
from p2p_server.clock import Clock, Timer
from p2p_server.endings import Ending
from p2p_server.grpc_server import Service
from p2p_server.quota import Quota, source_of
from p2p_server.stream import Context, Stream, when_gone

__all__ = ["HealthService"]

_REQUEST_TIME = 2.0  # s; a checker sends its request with the call, and has half a round trip for it
_SERVICE = pb.DESCRIPTOR.services_by_name["Health"].full_name


class HealthService:
    """Answers for the whole server (the empty name) and for each of its services."""

    def __init__(self, services: Iterable[str], quota: Quota, is_serving: Callable[[], bool], clock: Clock) -> None:
        """Answer what `is_serving` says, to as many at once as `quota` has places."""
        self._services = frozenset(("", *services))
        self._quota = quota
        self._is_serving = is_serving
        self._clock = clock

    def service(self) -> Service:
        """Return what gRPC calls.

        To gRPC it is a stream, although one message comes and one goes: of a unary call it would tell only once the
        request is there, so that a client which sends none would not be counted.
        """
        check: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self.check)
        watch: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(self.watch)
        return Service(_SERVICE, {"Check": check, "Watch": watch})

    async def watch(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Tell that there is no such method."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask Check")

    async def check(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Answer one request. The client is counted until gRPC has done with the call: it may not take the answer."""
        source = source_of(observed.from_grpc(context.peer()))
        if not self._quota.enter(source):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many health checks at once")
        when_gone(lambda: self._quota.leave(source))
        stream = Stream(context)
        timer = self._clock.call_at(self._clock.now() + _REQUEST_TIME, lambda: stream.end(Ending.STEP_TIMEOUT))
        await stream.run(self._answer(stream, context, timer), timer.cancel)

    async def _answer(self, stream: Stream, context: Context, timer: Timer) -> None:
        data = await stream.read_bytes()
        timer.cancel()  # now: the stream may not be ended while the answer is written
        try:
            request = pb.HealthCheckRequest.FromString(data)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        status = pb.HealthCheckResponse.SERVING if self._is_serving() else pb.HealthCheckResponse.NOT_SERVING
        try:
            await context.write(pb.HealthCheckResponse(status=status).SerializeToString())
        except grpc.aio.BaseError:  # the call is gone
            raise asyncio.CancelledError from None  # which gRPC takes without an error in its log
