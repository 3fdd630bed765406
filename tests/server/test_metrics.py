"""What is counted, as Prometheus reads it."""

import math

import pytest
from p2p_core import __version__
from p2p_core.wire.candidate import Transport
from p2p_server.endings import Ending
from p2p_server.metrics import Metrics, Rpc, watch_mediator

from tests.server.scraped import buckets, families, value


def test_at_first_nothing_has_happened() -> None:
    shown = [sample for family in families(Metrics()) for sample in family.samples]
    ours = [sample for sample in shown if sample.name.startswith("punchwire_")]
    assert [(sample.name, sample.labels) for sample in ours if sample.value] == [
        ("punchwire_build_info", {"version": __version__})
    ]


def test_handshakes() -> None:
    metrics = Metrics()
    metrics.proved(0.2)
    metrics.proved(0.3)
    metrics.refused("not-admitted")
    metrics.refused("gone")
    assert value(metrics, "handshakes_total", result="ok") == 2
    assert value(metrics, "handshakes_total", result="not-admitted") == 1
    assert value(metrics, "handshakes_total", result="gone") == 1
    assert value(metrics, "handshake_seconds_count") == 2
    assert value(metrics, "handshake_seconds_sum") == pytest.approx(0.5)
    found = buckets(metrics, "handshake_seconds")
    assert (found[0.1], found[0.25], found[0.5], found[math.inf]) == (0, 1, 2, 2)


def test_matches() -> None:
    metrics = Metrics()
    metrics.matched(0.004)
    metrics.matched(0.26)
    assert value(metrics, "matches_total") == 2
    found = buckets(metrics, "match_seconds")
    assert (found[0.0025], found[0.005], found[0.25], found[math.inf]) == (0, 1, 1, 2)


def test_streams_that_end() -> None:
    metrics = Metrics()
    metrics.ended("meet", "ok")
    metrics.ended("relay", "relay-limit")
    assert value(metrics, "streams_ended_total", rpc="meet", reason="ok") == 1
    assert value(metrics, "streams_ended_total", rpc="relay", reason="relay-limit") == 1
    assert value(metrics, "streams_ended_total", rpc="meet", reason="relay-limit") == 0


def test_every_ending_is_there_from_the_start() -> None:
    """Prometheus sees a counter's first rise only if it has seen the nought before."""
    text = Metrics().render().decode()
    rpcs: tuple[Rpc, ...] = ("meet", "relay")
    for reason in ("ok", "gone", *(ending.reason for ending in Ending)):
        assert f'punchwire_handshakes_total{{result="{reason}"}} 0.0\n' in text
        for rpc in rpcs:
            assert f'punchwire_streams_ended_total{{reason="{reason}",rpc="{rpc}"}} 0.0\n' in text


def test_a_label_is_never_what_a_stranger_says() -> None:
    metrics = Metrics()
    with pytest.raises(KeyError):
        metrics.ended("meet", "198.51.100.7")
    with pytest.raises(KeyError):
        metrics.refused("a detail")


def test_the_rest() -> None:
    metrics = Metrics()
    metrics.signalled()
    metrics.relayed(70_000)
    metrics.relayed(30_000)
    metrics.store_asked("claim", 0.0004)
    metrics.store_failed("claim")
    metrics.store_failed("forget")
    metrics.stun_answered(Transport.UDP)
    metrics.lagged(0.3)
    assert value(metrics, "signals_total") == 1
    assert value(metrics, "relay_bytes_total") == 100_000
    assert value(metrics, "store_seconds_count", operation="claim") == 1
    assert buckets(metrics, "store_seconds", operation="claim")[0.0005] == 1
    assert value(metrics, "store_failures_total", operation="claim") == 1
    assert value(metrics, "store_failures_total", operation="forget") == 1
    assert value(metrics, "stun_answers_total", transport="udp") == 1
    assert value(metrics, "stun_answers_total", transport="tcp") == 0
    assert buckets(metrics, "event_loop_lag_seconds")[0.5] == 1


def test_what_is_watched_is_read_when_somebody_looks() -> None:
    metrics = Metrics()
    waiting, up = [1, 2], [True]
    watch_mediator(
        metrics,
        peers=lambda: 7,
        peers_waiting=lambda: len(waiting),
        unauthenticated_streams=lambda: 3,
        relays=lambda: 4,
        store_up=lambda: up[0],
        draining=lambda: False,
        tasks=lambda: 9,
        stun_connections=lambda: 5,
        connections_allowed=lambda: 6,
    )
    assert [value(metrics, name) for name in ("peers", "peers_waiting", "store_up", "draining")] == [7, 2, 1, 0]
    assert [value(metrics, name) for name in ("unauthenticated_streams", "relays", "tasks")] == [3, 4, 9]
    assert [value(metrics, name) for name in ("stun_connections", "connections_allowed")] == [5, 6]
    waiting.clear()
    up[0] = False
    assert [value(metrics, name) for name in ("peers_waiting", "store_up")] == [0, 0]


def test_several_mediators_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.watch("peers", "Peers.", lambda: 1)
    other.watch("peers", "Peers.", lambda: 2)
    one.matched(0.1)
    assert (value(one, "peers"), value(other, "peers")) == (1, 2)
    assert (value(one, "matches_total"), value(other, "matches_total")) == (1, 0)


def test_the_process_is_there_and_no_times_of_making() -> None:
    text = Metrics().render().decode()
    assert "process_cpu_seconds_total" in text
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text
