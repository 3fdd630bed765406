"""What Punchwire relies on in qh3 beyond its public names: a new version of it must fail here first."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.quic_connection import WINDOW, Connection, configuration, reason
from p2p_peer.channel.unread import MAX_UNREAD, Unread
from qh3._hazmat import Buffer
from qh3.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived
from qh3.tls import ClientHello, Context, Group, pull_client_hello

CLIENT, SERVER = ("192.0.2.1", 1000), ("192.0.2.2", 2000)
MIB = 1024 * 1024


@dataclass
class Ends:
    """A client and a server on a wire that a test moves, with a made-up clock."""

    certificate: ThrowawayCertificate = field(default_factory=ThrowawayCertificate.make)
    now: float = 100.0
    unread: tuple[Unread, Unread] = field(default_factory=lambda: (Unread(), Unread()))
    events: tuple[list[Any], list[Any]] = field(default_factory=lambda: ([], []))

    def __post_init__(self) -> None:
        self.client = Connection.to(SERVER, configuration(None, finds_mtu=False), self.unread[0], self.now)
        hello = [data for data, _ in self.client.datagrams_to_send(self.now)]
        settings = configuration(self.certificate, finds_mtu=False)
        server = Connection.of(hello[0], CLIENT, settings, self.unread[1], self.now)
        assert server is not None
        self.server = server
        self.server.receive_many_datagrams(hello[1:], CLIENT, self.now)

    def shake_hands(self) -> None:
        for _ in range(5):
            self.turn()
        assert all(any(isinstance(event, HandshakeCompleted) for event in events) for events in self.events)

    def turn(self) -> None:
        """Carry what the server has to say to the client, and back."""
        pairs = ((self.server, self.client, SERVER, self.events[0]), (self.client, self.server, CLIENT, self.events[1]))
        for sender, receiver, source, events in pairs:
            receiver.receive_many_datagrams([data for data, _ in sender.datagrams_to_send(self.now)], source, self.now)
            while (event := receiver.next_event()) is not None:
                events.append(event)
        self.now += 0.01
        for end in (self.client, self.server):
            if (due := end.get_timer()) is not None and due <= self.now:
                end.handle_timer(self.now)

    def came(self) -> int:
        """How many bytes the client has been handed."""
        return sum(len(event.data) for event in self.events[0] if isinstance(event, StreamDataReceived))


def test_the_hello_offers_the_hybrid_group_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    hellos: list[ClientHello] = []

    def seen(buffer: Buffer) -> ClientHello:
        hellos.append(pull_client_hello(buffer))
        return hellos[-1]

    monkeypatch.setattr("qh3.tls.pull_client_hello", seen)
    Ends()
    (hello,) = hellos
    assert hello.supported_groups == [Group.X25519ML768] == [0x11EC]
    assert [group for group, _ in hello.key_share] == [Group.X25519ML768]
    assert hello.alpn_protocols == ["punchwire/1"]
    assert hello.pre_shared_key is None
    assert not hello.early_data


def test_both_know_what_was_agreed() -> None:
    ends = Ends()
    assert ends.client.key_exchange == "none"
    assert ends.server.key_exchange == "X25519MLKEM768"  # as soon as the hello is there
    ends.shake_hands()
    assert ends.client.key_exchange == "X25519MLKEM768"


@pytest.mark.parametrize(
    ("group", "name"),
    [(Group.X25519, "x25519"), (Group.SECP256R1, "secp256r1"), (Group.SECP384R1, "secp384r1")],
)
def test_a_server_knows_what_it_took(monkeypatch: pytest.MonkeyPatch, group: Group, name: str) -> None:
    honest = Connection._create_tls

    def weak(connection: Connection, remote_source_cid: bytes | None) -> Any:
        bridge = honest(connection, remote_source_cid)
        bridge.tls._supported_groups = [group]
        bridge.tls._offer_ec_key_shares = True
        return bridge

    monkeypatch.setattr(Connection, "_create_tls", weak)
    assert Ends().server.key_exchange == name


def test_every_group_of_qh3_is_told_apart() -> None:
    """One that it learns would have a place for its private key, that `key_exchange` has to look at."""
    tls = Context(is_client=False)
    places = {name for name in vars(tls) if name.endswith("_private_key") and name != "certificate_private_key"}
    assert places == {
        "_x25519_kyber_768_private_key",
        "_x25519_private_key",
        "_ec_p256_private_key",
        "_ec_p384_private_key",
        "_ec_p521_private_key",
    }


def test_no_ticket_is_given() -> None:
    ends = Ends()
    ends.shake_hands()
    assert ends.server.tls is not None
    assert ends.server.tls.new_session_ticket_cb is None
    assert ends.server.tls.get_session_ticket_cb is None


def test_credit_is_given_for_what_is_taken() -> None:
    ends = Ends()
    ends.shake_hands()
    ends.unread[0].append(bytes(MAX_UNREAD))
    ends.server.send_stream_data(3, bytes(4 * WINDOW))
    for _ in range(1000):
        ends.turn()
    assert ends.came() == 0
    assert ends.server.get_send_buffer_size() >= 3 * WINDOW
    ends.unread[0].read_into(memoryview(bytearray(MAX_UNREAD)))
    ends.client.take_events()
    for _ in range(1000):
        ends.turn()
    assert ends.came() == 4 * WINDOW
    assert ends.server.is_delivered


def test_what_is_delivered() -> None:
    ends = Ends()
    ends.shake_hands()
    assert ends.server.is_delivered
    ends.server.send_stream_data(3, b"hello")
    assert not ends.server.is_delivered
    ends.server.datagrams_to_send(ends.now)  # lost
    assert not ends.server.is_delivered
    for _ in range(100):
        ends.turn()
    assert ends.came() == 5
    assert ends.server.is_delivered


def test_an_end_is_told_at_once() -> None:
    ends = Ends()
    ends.shake_hands()
    assert ends.client.ending is None
    ends.server.close()
    ends.turn()
    assert ends.client.ending is not None
    assert reason(ends.client.ending) == "it ended without a farewell"
    assert ends.client.address == SERVER


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (0, "it ended without a farewell"),
        (0x128, "TLS: handshake failure"),
        (0x100 + 47, "TLS: illegal parameter"),
        (0x1FF, "QUIC error 0x1ff"),
        (0xA, "QUIC error 0xa"),
    ],
)
def test_reasons(code: int, said: str) -> None:
    assert reason(ConnectionTerminated(code, None, "words of the other side")) == said
