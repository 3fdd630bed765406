"""`GET /metrics` and `GET /health`, for those who ask and those who only hold on."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from p2p_core.errors import UsageError
from p2p_server.metrics import Metrics
from p2p_server.metrics_endpoint import MetricsEndpoint

from tests.server.clock import ManualClock

PATIENCE = 10.0
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def endpoint(metrics: Metrics, clock: ManualClock) -> AsyncIterator[MetricsEndpoint]:
    endpoint = await MetricsEndpoint.start(metrics, lambda: True, "127.0.0.1", 0, clock)
    yield endpoint
    await endpoint.stop()


class Client:
    """Connections to the endpoint, which are closed at the end."""

    def __init__(self, endpoint: MetricsEndpoint) -> None:
        self._port = endpoint.port
        self._endpoint = endpoint
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self, data: bytes = b"") -> Streams:
        before = self._endpoint.connections
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(writer)
        writer.write(data)
        if not data:
            async with asyncio.timeout(PATIENCE):
                while self._endpoint.connections == before < 16:
                    await asyncio.sleep(0)
        return reader, writer

    async def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return the status, the header fields and the body of the answer."""
        reader, _ = await self.open(data)
        return await answer(reader)

    async def close(self) -> None:
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(PATIENCE):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    names = dict(line.split(": ", 1) for line in rest)
    assert names["Connection"] == "close"
    assert int(names["Content-Length"]) == len(body)
    return int(first.split()[1]), names, body


async def cut(reader: asyncio.StreamReader) -> bool:
    """Whether the connection ends without an answer."""
    async with asyncio.timeout(PATIENCE):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


@pytest.fixture
async def client(endpoint: MetricsEndpoint) -> AsyncIterator[Client]:
    client = Client(endpoint)
    yield client
    await client.close()


async def test_the_metrics_are_answered(client: Client, metrics: Metrics) -> None:
    metrics.matched(0.01)
    status, names, body = await client.ask(GET)
    assert (status, names["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"\npunchwire_matches_total 1.0\n" in body
    metrics.matched(0.01)
    assert b"\npunchwire_matches_total 2.0\n" in (await client.ask(GET))[2]


async def test_whether_it_serves_is_answered(metrics: Metrics, clock: ManualClock) -> None:
    serves = [True, False]
    endpoint = await MetricsEndpoint.start(metrics, lambda: serves.pop(0), "127.0.0.1", 0, clock)
    client = Client(endpoint)
    health = b"GET /health HTTP/1.0\r\n\r\n"  # as HAProxy asks
    for status, body in ((200, b"serving\n"), (503, b"not serving\n")):
        found, names, said = await client.ask(health)
        assert (found, said, names["Content-Type"]) == (status, body, "text/plain; charset=utf-8")
    await client.close()
    await endpoint.stop()


async def test_a_request_may_come_in_pieces(client: Client) -> None:
    reader, writer = await client.open()
    for byte in GET:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert (await answer(reader))[0] == 200


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics?name=x HTTP/1.0", 200),
        (b"GET / HTTP/1.1", 404),
        (b"GET /healthy HTTP/1.1", 404),
        (b"HEAD /health HTTP/1.1", 405),
        (b"GET /metrics/ HTTP/1.1", 404),
        (b"GET /../metrics HTTP/1.1", 404),
        (b"POST / HTTP/1.1", 404),
        (b"POST /metrics HTTP/1.1", 405),
        (b"HEAD /metrics HTTP/1.1", 405),
        (b"GET /metrics HTTP/2.0", 400),
        (b"GET  /metrics HTTP/1.1", 400),
        (b"GET /metrics", 400),
        (b"", 400),
        (b"\xff\x00 \xff \xff", 400),
    ],
)
async def test_and_nothing_else(client: Client, request_line: bytes, status: int) -> None:
    found, names, body = await client.ask(request_line + b"\r\n\r\n")
    assert found == status
    assert (b"punchwire_" in body) == (status == 200)
    assert ("Allow" in names) == (status == 405)


async def test_what_comes_after_a_request_is_passed_over(client: Client, metrics: Metrics) -> None:
    status, _, body = await client.ask(GET + GET)
    assert (status, body.count(b"\npunchwire_matches_total ")) == (200, 1)


async def test_a_request_that_does_not_end_is_cut(client: Client) -> None:
    reader, _ = await client.open(GET[:-2] + b"x" * 9000)
    assert await cut(reader)


async def test_who_says_nothing_has_five_seconds(client: Client, endpoint: MetricsEndpoint, clock: ManualClock) -> None:
    reader, _ = await client.open()
    clock.advance(4.9)
    assert endpoint.connections == 1
    clock.advance(0.1)
    assert endpoint.connections == 0
    assert await cut(reader)


async def test_who_does_not_read_has_five_seconds(
    client: Client, endpoint: MetricsEndpoint, metrics: Metrics, clock: ManualClock
) -> None:
    for number in range(1000):  # 8 MB: more than the system keeps for one that does not read
        metrics.watch(f"filler_{number}", "x" * 8000, lambda: 0)
    _, writer = await client.open()
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(GET)
    (connection,) = endpoint._open
    async with asyncio.timeout(PATIENCE):
        while not connection._answered:
            await asyncio.sleep(0)
    clock.advance(5)
    assert endpoint.connections == 0
    await asyncio.wait_for(connection.gone.wait(), PATIENCE)
    assert clock.pending == 0


async def test_whoever_asks_is_answered_while_others_hold_on(
    client: Client, endpoint: MetricsEndpoint, clock: ManualClock
) -> None:
    silent = [(await client.open())[0] for _ in range(16)]
    assert endpoint.connections == 16
    for _ in range(2):
        assert (await client.ask(GET))[0] == 200
    assert endpoint.connections <= 16
    assert await cut(silent[0])
    assert not silent[-1].at_eof()


async def test_many_connections_hold_nothing(client: Client, endpoint: MetricsEndpoint, clock: ManualClock) -> None:
    readers = [(await client.open())[0] for _ in range(100)]
    for reader in readers[: 100 - 16]:
        assert await cut(reader)
    assert endpoint.connections == 16
    assert clock.pending == 16


async def test_the_stop_closes_everything(metrics: Metrics, clock: ManualClock) -> None:
    endpoint = await MetricsEndpoint.start(metrics, lambda: True, "127.0.0.1", 0, clock)
    client = Client(endpoint)
    reader, _ = await client.open()
    late = await asyncio.open_connection("127.0.0.1", endpoint.port)  # accepted, perhaps, and not made yet
    await endpoint.stop()
    assert await cut(reader)
    assert await cut(late[0])
    assert clock.pending == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", endpoint.port)
    late[1].close()
    await client.close()


async def test_a_port_that_is_taken_is_named(endpoint: MetricsEndpoint, metrics: Metrics, clock: ManualClock) -> None:
    with pytest.raises(UsageError, match=f"port {endpoint.port}: it is in use") as caught:
        await MetricsEndpoint.start(metrics, lambda: True, "127.0.0.1", endpoint.port, clock)
    assert "--metrics" in caught.value.advice


async def test_ipv6(metrics: Metrics, clock: ManualClock) -> None:
    endpoint = await MetricsEndpoint.start(metrics, lambda: True, "::1", 0, clock)
    reader, writer = await asyncio.open_connection("::1", endpoint.port)
    writer.write(GET)
    assert (await answer(reader))[0] == 200
    writer.close()
    await endpoint.stop()
