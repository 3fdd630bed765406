"""The two ends of a connection agree on how they watch it: they cannot import each other, so this is looked at here."""

from p2p_peer import mediator_channel
from p2p_server.limits import Limits, grpc_options

GONE_WITHIN = 45.0  # s for the mediator to know of a peer that vanished

PEER = dict(mediator_channel._OPTIONS)
MEDIATOR = dict(grpc_options(Limits()))


def test_a_peer_that_waits_is_never_sent_away_for_its_pings() -> None:
    """GOAWAY too_many_pings is for whoever pings sooner than the mediator permits, with a stream or without."""
    least = MEDIATOR["grpc.http2.min_recv_ping_interval_without_data_ms"]
    assert PEER["grpc.keepalive_time_ms"] >= 2 * least  # gRPC's timers run early, and pings of two kinds may coincide
    assert MEDIATOR["grpc.keepalive_permit_without_calls"] == 1
    assert PEER["grpc.http2.max_pings_without_data"] == 0  # else a peer that says nothing asks no more after two


def test_a_peer_that_vanished_is_gone_in_time() -> None:
    limits = Limits()
    for timeout in ("grpc.keepalive_timeout_ms", "grpc.http2.ping_timeout_ms"):
        assert (MEDIATOR["grpc.keepalive_time_ms"] + MEDIATOR[timeout]) / 1000 < GONE_WITHIN
    assert limits.patience <= GONE_WITHIN
    assert limits.heartbeat * 2 < limits.patience  # a lost one is asked for again


def test_a_mediator_that_vanished_is_gone_as_soon() -> None:
    for timeout in (PEER["grpc.keepalive_timeout_ms"], mediator_channel._PING_TIMEOUT[1]):
        assert (PEER["grpc.keepalive_time_ms"] + timeout) / 1000 < GONE_WITHIN


def test_a_peer_whose_loop_is_busy_for_a_while_is_not_gone() -> None:
    """gRPC answers pings in threads of its own; the heartbeat is answered by the loop."""
    busy, limits = 20.0, Limits()
    assert limits.heartbeat + busy < limits.patience
