"""What the mediator allows, and for how long. What both sides hold to stands in `p2p_core.limits`."""

from dataclasses import dataclass

from p2p_core import limits as protocol

__all__ = ["MAX_RELAY_MESSAGE_BYTES", "MIN_MESSAGE_BYTES", "Limits", "grpc_options"]

# What a handshake and an offer of any size need.
MIN_MESSAGE_BYTES = 2 * protocol.MAX_OFFER_BYTES
# The largest of `Relay`, with what protobuf puts around the data. gRPC refuses more unread, and has one limit for both:
# so this is also what a stream can make the mediator hold before anybody proved anything. Less costs speed.
MAX_RELAY_MESSAGE_BYTES = protocol.MAX_RELAY_DATA_BYTES + 64

_HANDSHAKE_BURST = 4.0  # s of an address's rate that may come at once: everybody behind a router that was restarted
_STREAM_BURST = 60.0  # s likewise of a key: a script that sends one file after the other
_STEP_BURST = 4.0  # s likewise of a stream: as the next
_SIGNAL_BURST = 4.0  # s likewise of a stream: new offers to all its matches when its network changes
_UNTIL_GONE = 30.0  # s until gRPC knows that a connection's other end has vanished: its two keepalive times below


@dataclass(frozen=True, slots=True)
class Limits:
    """Every limit of a running mediator; most are a flag of the same name. Times are in seconds."""

    # Connections to the port for peers, a peer's whole life long: 16384 that wait take 1.3 GiB with TLS. What gRPC has
    # too many of it closes unread, TLS or not, so this is the last wall and not the first. It counts for each address
    # that it listens on; all addresses are one.
    max_connections: int = 16384
    # A connection without any stream. A peer opens its stream at once; a health checker may keep one for the next time.
    connection_idle: float = 60.0
    # A peer answers a Challenge within one round trip and one signature; the rest is for poor mobile links.
    handshake_timeout: float = 10.0
    # One Ping in 15 s holds a NAT mapping and a tunnel open (the shortest TCP idle times seen are 30 s and more).
    heartbeat: float = 15.0
    # Three lost heartbeats. Less would cut a peer whose link roams; more would introduce peers that are gone.
    patience: float = 45.0
    # A handshake lives for a round trip, so this is two thousand peers a second, more than a core proves; and 128 MiB
    # if all are hostile and fill what a stream takes unread, a message of `Relay` and a window. Streams without their
    # relay's ticket count too. The oldest makes room for the newest: strangers who hold them all lock nobody out.
    max_unauthenticated: int = 400
    # An office or a carrier's NAT coming back after a cut, and still a sixteenth of the above.
    max_unauthenticated_per_address: int = 25
    # Streams of both kinds that one address opens, whatever becomes of them: a twentieth of what a core proves, and an
    # office of three thousand is back within a minute.
    handshakes_per_second: float = 50.0
    # Addresses that are counted, those heard last; about 2 MiB.
    handshake_sources: int = 16384
    # Streams that one key proves itself on: a script that sends a file a second. A peer that came back for every
    # failure without waiting would cost a signature each time.
    streams_per_minute: float = 60.0
    # Keys that are counted, those heard last; about 2 MiB.
    stream_keys: int = 16384
    # Health checks under way, each a moment long; more can only be from clients that do not take their answer.
    health_checks: int = 1024
    # As many as one connection may have streams. A checker asks one thing at a time.
    health_checks_per_source: int = 8
    # Peers that one stream waits for or is matched with: 32 offers of 16 KiB are at most half a MiB.
    max_advertisements: int = 32
    # Bytes of a message of `Meet`: the largest is a sealed offer with a few bytes around it, four times over.
    max_message: int = 64 * 1024
    # Steps of one stream that the store works for: Advertise, Withdraw and Leave. A program that meets another peer
    # each second takes three; without a bound one stream would keep the store from all others.
    steps_per_second: float = 20.0
    # Signals of one stream, to all its matches. A path that is made anew takes a handful; each is work for the store.
    signals_per_second: float = 20.0
    # What may wait for a peer that does not read: a Match and the Signals of a busy moment.
    outgoing_bytes: int = 8 * protocol.MAX_SIGNAL_BYTES
    # Mappings held open by connected STUN clients, one for each peer that waits; a connection costs about a KiB.
    stun_connections: int = 16384
    # An office of three thousand peers that all wait, and still a quarter of the above.
    stun_connections_per_address: int = 4096
    # Peers ask once in 15 s to hold a mapping open, so one that is silent for four times that is gone.
    stun_idle: float = 60.0
    # Whether matches are given tickets for a relay at all.
    relay: bool = True
    # Bytes/s each way of one relay, 0 for no limit. Calls, chats and ordinary files are as quick as on a home's uplink,
    # and thirty of them fill 1 Gbit/s.
    relay_rate: int = 4 * 1024**2
    # Both ways of all relays of two peers together in a day, 0 for no limit: a film, or 17 minutes at full rate. What
    # is larger is worth finding a direct way, or asking the mediator's owner.
    relay_bytes: int = 4 * 1024**3
    # What one key may send in all its relays together, 0 for no limit: bytes/s, and bytes a day. Four times the two
    # above, so that one heavy user of a small mediator is not all of its users.
    relay_key_rate: int = 16 * 1024**2
    relay_key_bytes: int = 16 * 1024**3
    # Bytes/s of all relays together, both ways, 0 for no limit: 1 Gbit/s, of which a sixth is left to those who meet.
    relay_total_rate: int = 100 * 1024**2
    # All relays together in a day, 0 for no limit: 16 TiB a month, where rented servers that include 20 TB stop.
    relay_total_bytes: int = 512 * 1024**3
    # Relays at once: 420 MiB if nobody reads what is sent, and ten times what the rate in all serves at full rate.
    max_relays: int = 256
    # Sessions with several others, and one more for each that is just being replaced.
    max_relays_per_key: int = 16
    # A ticket is good for this long, and the first of the two waits as long for the other: both race other paths first.
    relay_ticket_life: float = 30.0
    # Sessions say something every 5 s, so a relay that was silent for twelve times that has nobody behind it.
    relay_idle: float = 60.0
    # STUN requests over UDP from one source: an office of three thousand peers that hold their mappings open.
    stun_requests_per_second: float = 200.0
    # The same office coming back after a cut, each peer with a few questions, some of them asked again.
    stun_requests_at_once: int = 1000
    # Sources whose requests are counted, those heard last; about 2 MiB, however many names a flood comes under.
    stun_sources: int = 16384
    # After this, streams that could not be told that the mediator stops are cut.
    stop_grace: float = 0.5

    @property
    def handshakes_at_once(self) -> int:
        """What an address may open at once after a rest."""
        return _burst(self.handshakes_per_second, _HANDSHAKE_BURST)

    @property
    def streams_at_once(self) -> int:
        """What a key may open at once after a rest."""
        return _burst(self.streams_per_minute / 60, _STREAM_BURST)

    @property
    def steps_at_once(self) -> int:
        """What a stream may take of its steps at once after a rest: at least to ask for all, and to take it back."""
        return max(_burst(self.steps_per_second, _STEP_BURST), 2 * self.max_advertisements)

    @property
    def over_per_address(self) -> int:
        """How many streams of one address may be over and still open.

        When a router is restarted all behind it come back, and replace streams on connections that nobody has yet
        found to be gone: as many as may come in that time.
        """
        return self.handshakes_at_once + round(self.handshakes_per_second * _UNTIL_GONE)

    @property
    def signals_at_once(self) -> int:
        """What a stream may signal at once after a rest."""
        return _burst(self.signals_per_second, _SIGNAL_BURST)


def _burst(per_second: float, seconds: float) -> int:
    return max(1, round(per_second * seconds))


# Core's names are in grpc/impl/channel_arg_names.h. Times are in milliseconds.
_GRPC_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 1),  # for another certificate: `GrpcPort`, which sees to it that no second mediator is there
    ("grpc.max_receive_message_length", MAX_RELAY_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.max_concurrent_streams", 8),  # per connection: a peer needs one, a health check another
    # A stream takes 64 KiB that nobody wants to read, and a whole message that somebody waits for. With the probe that
    # grows: to 512 MiB was seen, for anybody.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.server_handshake_timeout_ms", 10_000),  # TLS; without it a silent connection stays for two minutes
    # A connection whose other end vanished is gone after 20 + 10 s; it takes its stream with it. The first timeout is
    # for a cut link; the other, of 60 s if left to gRPC, for a process that stands still while its system acknowledges.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # Clients may ping every 10 s, with or without a stream, and are not sent away for it (GOAWAY too_many_pings).
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 9_000),  # a second less, for timers that run early
)


def grpc_options(limits: Limits) -> tuple[tuple[str, int], ...]:
    """Return what gRPC is told of them."""
    return (
        *_GRPC_OPTIONS,
        ("grpc.max_allowed_incoming_connections", limits.max_connections),
        ("grpc.max_connection_idle_ms", round(limits.connection_idle * 1000)),
    )
