"""What the mediator counts and times, for Prometheus. docs/observing.md has the same table, and a test compares them.

Every value of a label is a word of this program's, never of a peer's: strangers cannot make the metrics grow.
"""

from collections.abc import Callable, Iterable
from typing import Literal

from p2p_core import __version__
from p2p_core.wire.candidate import Transport
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    generate_latest,
)

from p2p_server.endings import Ending

__all__ = ["CONTENT_TYPE", "GONE", "OK", "Metrics", "Read", "Rpc", "watch_mediator"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of what `Metrics.render` returns

Read = Callable[[], float]
Rpc = Literal["meet", "relay"]

OK = "ok"  # the reason of what ended as it should
GONE = "gone"  # the reason of a stream whose client, or the way to it, went away
_REASONS = (OK, GONE, *(ending.reason for ending in Ending))

# s; upper bounds. A bound that is promised somewhere (a match within 0.25 s, a step within 10 s) is one of them.
_HANDSHAKE = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # two round trips to the peer
_MATCH = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_STORE = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Metrics:
    """The metrics of one mediator; a process may have several."""

    def __init__(self) -> None:
        """Begin at nought."""
        self._registry = registry = CollectorRegistry()
        Info("punchwire_build", "Which version this is.", registry=registry).info({"version": __version__})
        ProcessCollector(registry=registry)
        handshakes = Counter(
            "punchwire_handshakes_total",
            "Handshakes that ended, by how.",
            ["result"],
            registry=registry,
        )
        self._handshakes = {reason: handshakes.labels(reason) for reason in _REASONS}
        self._handshake_seconds = Histogram(
            "punchwire_handshake_seconds",
            "From the opening of a Meet stream to its proof, where that was good.",
            registry=registry,
            buckets=_HANDSHAKE,
        )
        ended = Counter(
            "punchwire_streams_ended_total", "Streams that ended, by how.", ["rpc", "reason"], registry=registry
        )
        rpcs: tuple[Rpc, ...] = ("meet", "relay")
        self._ended = {(rpc, reason): ended.labels(rpc, reason) for rpc in rpcs for reason in _REASONS}
        self._matches = Counter(
            "punchwire_matches_total", "Matches, each counted by the instance of its responder.", registry=registry
        )
        self._match_seconds = Histogram(
            "punchwire_match_seconds",
            "From the second advertisement to the match.",
            registry=registry,
            buckets=_MATCH,
        )
        self._signals = Counter("punchwire_signals_total", "Signals that were passed on.", registry=registry)
        self._relay_bytes = Counter("punchwire_relay_bytes_total", "Bytes that were relayed.", registry=registry)
        self._store_seconds = Histogram(
            "punchwire_store_seconds",
            "What the store took for an operation that it answered.",
            ["operation"],
            registry=registry,
            buckets=_STORE,
        )
        self._store_failures = Counter(
            "punchwire_store_failures_total",
            "Operations that the store did not answer.",
            ["operation"],
            registry=registry,
        )
        stun = Counter(
            "punchwire_stun_answers_total", "STUN requests that were answered.", ["transport"], registry=registry
        )
        self._stun = {transport: stun.labels(transport.value) for transport in Transport}
        self._lag = Histogram(
            "punchwire_event_loop_lag_seconds",
            "How late a timer was called: what everybody waits because of others.",
            registry=registry,
            buckets=_LAG,
        )

    def proved(self, seconds: float) -> None:
        """Count a handshake that succeeded, `seconds` after its stream was opened."""
        self._handshakes[OK].inc()
        self._handshake_seconds.observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a handshake that failed: the reason of an `Ending`, or `GONE`."""
        self._handshakes[reason].inc()

    def ended(self, rpc: Rpc, reason: str) -> None:
        """Count a stream that ended: `OK`, `GONE`, or the reason of an `Ending`."""
        self._ended[rpc, reason].inc()

    def matched(self, seconds: float) -> None:
        """Count a match, `seconds` after the second advertisement. Only the responder's instance calls this."""
        self._matches.inc()
        self._match_seconds.observe(seconds)

    def signalled(self) -> None:
        """Count a signal that was passed on."""
        self._signals.inc()

    def relayed(self, count: int) -> None:
        """Count `count` bytes that were relayed."""
        self._relay_bytes.inc(count)

    def store_asked(self, operation: str, seconds: float) -> None:
        """Count an operation of the store that was answered after `seconds`."""
        self._store_seconds.labels(operation).observe(seconds)

    def store_failed(self, operation: str) -> None:
        """Count an operation that the store did not answer."""
        self._store_failures.labels(operation).inc()

    def stun_answered(self, transport: Transport) -> None:
        """Count an answer to a STUN request."""
        self._stun[transport].inc()

    def lagged(self, seconds: float) -> None:
        """Count a timer that was called `seconds` late."""
        self._lag.observe(seconds)

    def watch(self, name: str, help: str, read: Read) -> None:  # noqa: A002 – Prometheus's own word
        """Show `punchwire_<name>` as what `read` returns whenever somebody looks."""
        Gauge(f"punchwire_{name}", help, registry=self._registry).set_function(read)

    def render(self) -> bytes:
        """Return everything in Prometheus's text format. Call it from the loop: it reads what the loop changes."""
        return generate_latest(_Shown(self._registry))


class _Shown:
    """A registry without the time at which each child was made: one more line for each, that nobody looks at."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def watch_mediator(
    metrics: Metrics,
    *,
    peers: Read,
    peers_waiting: Read,
    unauthenticated_streams: Read,
    relays: Read,
    store_up: Read,
    draining: Read,
    tasks: Read,
    stun_connections: Read,
    connections_allowed: Read,
) -> None:
    """Show how one mediator is doing."""
    metrics.watch("peers", "Peers that proved their key, with a stream to this instance.", peers)
    metrics.watch("peers_waiting", "Those of them that wait for somebody.", peers_waiting)
    metrics.watch(
        "unauthenticated_streams",
        "Streams that no key or ticket stands behind: not yet, or no more.",
        unauthenticated_streams,
    )
    metrics.watch("relays", "Relays, of two sides each.", relays)
    metrics.watch("store_up", "Whether the store can be asked: 1 or 0.", store_up)
    metrics.watch("draining", "Whether this instance is stopping, and takes no new streams: 1 or 0.", draining)
    metrics.watch("tasks", "Tasks of the event loop.", tasks)
    metrics.watch("stun_connections", "Connections for STUN over TCP.", stun_connections)
    metrics.watch("connections_allowed", "Connections to the port for peers that are taken.", connections_allowed)
