"""`GET /metrics` for Prometheus and `GET /health` for balancers, over plain HTTP, and nothing else.

Not prometheus_client's own server: that has a thread for each connection, however many come and however long they say
nothing, and would read from its threads what the event loop changes. Here a connection costs a small object, has a few
seconds in all, and makes room when too many newer ones come: whoever asks now is answered, whoever holds on is cut.
"""

import asyncio
import contextlib
from collections.abc import Callable
from http import HTTPStatus

from p2p_server import listeners
from p2p_server.clock import Clock, Timer
from p2p_server.metrics import CONTENT_TYPE as METRICS_TYPE
from p2p_server.metrics import Metrics
from p2p_server.sockets import listen

__all__ = ["MetricsEndpoint"]

_CONNECTIONS = 16  # at once: a few Prometheus servers, and somebody with a browser
_TIME = 5.0  # s; for a connection in all. Prometheus itself gives up after 10 s
_MAX_REQUEST = 8192  # bytes up to the empty line: what a browser with cookies may send
_TEXT_TYPE = "text/plain; charset=utf-8"


class MetricsEndpoint:
    """Shows the metrics of one mediator, and whether it serves, to whoever asks."""

    def __init__(self, metrics: Metrics, is_serving: Callable[[], bool], clock: Clock) -> None:
        self._metrics = metrics
        self._is_serving = is_serving
        self._clock = clock
        self._servers: list[asyncio.Server] = []
        self._open: dict[_Connection, None] = {}  # the oldest first
        self.port = 0

    @classmethod
    async def start(
        cls, metrics: Metrics, is_serving: Callable[[], bool], host: str, port: int, clock: Clock
    ) -> "MetricsEndpoint":
        """Listen on `host`, all addresses if it is empty; port 0 lets the system choose. Raises `UsageError`."""
        sockets = await listen(host, port, advice="Choose what to show the metrics on with --metrics.")
        endpoint = cls(metrics, is_serving, clock)
        endpoint.port = sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        endpoint._servers = [await loop.create_server(endpoint._connection, sock=one) for one in sockets]
        return endpoint

    async def stop(self) -> None:
        """Close all connections and sockets; returns when they are closed."""
        await listeners.stop(self._servers, self._open)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def _connection(self) -> "_Connection":
        return _Connection(self._answer, self._clock, self._open)

    def _answer(self, head: bytes) -> bytes:
        """Return what to answer to a request's head (RFC 9112 §3)."""
        with contextlib.suppress(ValueError):
            method, target, version = head.split(b"\r\n", 1)[0].split(b" ")
            if version.startswith(b"HTTP/1."):
                return self._answer_to(method, target.partition(b"?")[0])
        return _response(HTTPStatus.BAD_REQUEST)

    def _answer_to(self, method: bytes, path: bytes) -> bytes:
        if path not in (b"/metrics", b"/health"):
            return _response(HTTPStatus.NOT_FOUND)
        if method != b"GET":
            return _response(HTTPStatus.METHOD_NOT_ALLOWED)
        if path == b"/metrics":
            return _response(HTTPStatus.OK, self._metrics.render(), METRICS_TYPE)
        if self._is_serving():
            return _response(HTTPStatus.OK, b"serving\n")
        return _response(HTTPStatus.SERVICE_UNAVAILABLE, b"not serving\n")


class _Connection(asyncio.Protocol):
    """One request, and its answer."""

    def __init__(self, answer: Callable[[bytes], bytes], clock: Clock, opened: "dict[_Connection, None]") -> None:
        self._answer = answer
        self._clock = clock
        self._opened = opened
        self.gone = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._timer: Timer | None = None
        self._received = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if len(self._opened) >= _CONNECTIONS:
            next(iter(self._opened)).cut()
        self._opened[self] = None
        self._timer = self._clock.call_at(self._clock.now() + _TIME, self.cut)

    def data_received(self, data: bytes) -> None:
        if self._answered:
            return
        self._received += data
        head, end, _ = self._received.partition(b"\r\n\r\n")
        if end:
            assert self._transport is not None
            self._answered = True
            self._transport.write(self._answer(head))
            self._transport.close()
        elif len(self._received) > _MAX_REQUEST:
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        self.gone.set()

    def cut(self) -> None:
        """Close the connection, whatever is still to be sent."""
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        self._opened.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()


def _response(status: HTTPStatus, body: bytes = b"", content_type: str = _TEXT_TYPE) -> bytes:
    body = body or f"{status.phrase}\n".encode()
    lines = [f"HTTP/1.1 {status} {status.phrase}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET")
    lines += ["Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body
