"""Metrics, as Prometheus reads them."""

import asyncio
from collections.abc import Iterator

from p2p_server.app import Mediator
from p2p_server.metrics import Metrics
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

PATIENCE = 10.0


async def scrape(mediator: Mediator) -> bytes:
    """Return what a mediator with `--metrics` shows."""
    where = mediator.listening.metrics
    assert where is not None
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(where.host, where.port)
        writer.write(b"GET /metrics HTTP/1.1\r\n\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 200 ")
    return body


def families(shown: Metrics | bytes) -> list[Metric]:
    """Read what is shown."""
    text = shown if isinstance(shown, bytes) else shown.render()
    return list(text_string_to_metric_families(text.decode()))


def samples(shown: Metrics | bytes, name: str, **labels: str) -> Iterator[Sample]:
    """Return the samples of `punchwire_<name>` that have these labels, and perhaps more."""
    for family in families(shown):
        for sample in family.samples:
            if sample.name == f"punchwire_{name}" and sample.labels.items() >= labels.items():
                yield sample


def value(shown: Metrics | bytes, name: str, **labels: str) -> float:
    """Return the sum of the samples of `punchwire_<name>` that have these labels; 0 while there is none."""
    return float(sum(sample.value for sample in samples(shown, name, **labels)))


def buckets(shown: Metrics | bytes, name: str, **labels: str) -> dict[float, float]:
    """Return how many were observed up to each bound of the histogram `punchwire_<name>`."""
    return {float(sample.labels["le"]): sample.value for sample in samples(shown, f"{name}_bucket", **labels)}
