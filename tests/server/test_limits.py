from p2p_core import limits as protocol
from p2p_server.limits import MIN_MESSAGE_BYTES, Limits, grpc_options


def test_grpc_is_told_of_those_that_are_its_own() -> None:
    options = dict(grpc_options(Limits(max_connections=7, connection_idle=1.5)))
    assert options["grpc.max_allowed_incoming_connections"] == 7
    assert options["grpc.max_connection_idle_ms"] == 1500


def test_what_may_come_at_once_follows_the_rate() -> None:
    limits = Limits(handshakes_per_second=10, streams_per_minute=30, signals_per_second=5)
    assert (limits.handshakes_at_once, limits.streams_at_once, limits.signals_at_once) == (40, 30, 20)
    slow = Limits(handshakes_per_second=0.01, streams_per_minute=0.1, signals_per_second=0.01)
    assert (slow.handshakes_at_once, slow.streams_at_once, slow.signals_at_once) == (1, 1, 1)


def test_a_stream_may_ask_for_all_its_peers_at_once_and_take_it_back() -> None:
    assert Limits(steps_per_second=20, max_advertisements=32).steps_at_once == 80
    assert Limits(steps_per_second=1, max_advertisements=100).steps_at_once == 200


def test_all_behind_a_router_that_was_restarted_come_back_before_their_streams_of_before_are_gone() -> None:
    assert Limits(handshakes_per_second=50).over_per_address == 200 + 30 * 50


def test_the_smallest_message_holds_the_largest_offer() -> None:
    assert Limits().max_message >= MIN_MESSAGE_BYTES > protocol.MAX_OFFER_BYTES + 1024
