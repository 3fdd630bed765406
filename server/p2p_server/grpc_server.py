"""A gRPC server for the methods it was told of. Whoever asks for any other one is cut off, unread.

grpcio's own answers those too, and reads their names for it: a name that is no UTF-8 ends the loop that takes calls,
and nobody is served any more (docs/decisions/unknown-methods.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server

__all__ = ["Service", "new_server"]


@dataclass(frozen=True, slots=True)
class Service:
    """The name of a service, and what takes the calls of its methods."""

    name: str
    methods: "Mapping[str, grpc.RpcMethodHandler[Any, Any]]"


def new_server(options: Sequence[tuple[str, int]], services: Sequence[Service]) -> grpc.aio.Server:
    """Return a server of these services and no others, which is not started."""
    return cast("grpc.aio.Server", _Server(options, services))


class _Server(_server.Server):
    """As `grpc.aio.server` makes one, with the part below it exchanged."""

    def __init__(self, options: Sequence[tuple[str, int]], services: Sequence[Service]) -> None:
        self._loop = cygrpc.get_working_loop()
        self._server = _AioServer(self._loop, None, (), None, tuple(options), None)
        for service in services:
            self.add_registered_method_handlers(service.name, dict(service.methods))


class _AioServer(cygrpc.AioServer):  # type: ignore[misc]
    async def _request_call(self) -> None:
        """Take a call of a method that was not registered, and forget it, which resets it; never return."""
        while True:
            await super()._request_call()
