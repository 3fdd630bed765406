"""What is done to networks in use has the effect that it says."""

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.lab import disturbances, ipv6, probe, stranger, tunnel
from tests.lab.nat import Lab
from tests.lab.rst_storm import RstStorm

pytestmark = pytest.mark.netns

HERE = Path(__file__).parent


def udp(lab: Lab, host: str) -> socket.socket:
    sock = lab.namespace(host).socket(socket.SOCK_DGRAM)
    sock.settimeout(probe.REPLY_TIMEOUT)
    return sock


def test_a_nat_that_forgot_its_flows_maps_anew() -> None:
    with Lab("pr-nopreserve", "none") as lab, probe.reflector(lab) as endpoints, udp(lab, "a") as sock:
        before = {probe.ask(sock, endpoint) for endpoint in endpoints}
        disturbances.forget_flows(lab.namespace("ra"))
        after = {probe.ask(sock, endpoint) for endpoint in endpoints}
    assert len(before) == len(after) == 1
    assert before != after  # by chance they are the same in one of 20 000 cases


@pytest.mark.parametrize("kind", ["none", "port-restricted"])
def test_a_cut_is_between_the_peers_and_for_one_protocol(kind: str) -> None:
    with Lab("none", kind) as lab, probe.reflector(lab) as endpoints, udp(lab, "a") as a, udp(lab, "b") as b:
        a.bind((lab.address("a"), 0))

        def arrives() -> bool:
            b.sendto(b"hello", a.getsockname())
            probe.ask(b, endpoints[0])
            a.settimeout(probe.SILENCE_TIMEOUT)
            try:
                return a.recv(100) == b"hello"
            except TimeoutError:
                return False

        assert arrives()
        disturbances.cut(lab, "tcp")
        assert arrives()
        disturbances.heal(lab)
        disturbances.cut(lab)
        assert not arrives()
        disturbances.heal(lab)
        assert arrives()


@pytest.mark.parametrize(
    ("options", "gateways"),
    [
        ({"a": "cgnat", "b": "none"}, ("ca", "b")),
        ({"a": "cgnat", "b": "port-restricted"}, ("ca", "rb")),
        ({"a": "none", "b": "cgnat"}, ("a", "cb")),
        ({"topology": "same-lan"}, ("ra", "ra")),
        ({"topology": "same-cgnat"}, ("ca", "ca")),
    ],
    ids=str,
)
def test_the_gateway_is_where_the_public_segment_begins(options: dict[str, Any], gateways: tuple[str, str]) -> None:
    with Lab(**options) as lab:
        assert tuple(disturbances.gateway(lab, peer) for peer in "ab") == tuple(map(lab.namespace, gateways))


def test_a_changed_address_works_and_the_old_one_does_not() -> None:
    with Lab("port-restricted", "none") as lab, probe.reflector(lab) as endpoints:
        with udp(lab, "a") as sock:
            sock.bind((lab.address("a"), 0))
            probe.ask(sock, endpoints[0])
            disturbances.change_address(lab, "a", "10.1.0.77")
            with pytest.raises(OSError, match=r"timed out|Invalid argument|unreachable"):
                probe.ask(sock, endpoints[0], probe.SILENCE_TIMEOUT)
        with udp(lab, "a") as sock:
            sock.connect(endpoints[0])
            assert sock.getsockname()[0] == "10.1.0.77"
            sock.send(b"where")
            assert sock.recv(100)


@pytest.mark.netns("delay")
@pytest.mark.parametrize("compiled", [True, False])
def test_links_may_duplicate_and_reorder(compiled: bool) -> None:
    with (
        Lab("none", "none", duplicate=100, jitter=20, compiled=compiled) as lab,
        udp(lab, "a") as a,
        udp(lab, "b") as b,
    ):
        a.bind((lab.address("a"), 40000))
        sent = [bytes([number]) for number in range(50)]
        for each in sent:
            b.sendto(each, a.getsockname())
        received = [a.recv(100) for _ in range(4 * len(sent))]  # two links, each doubles
    assert sorted(received) == sorted(4 * sent)
    assert received != sorted(received)


def test_a_tunnel_shows_one_address_for_everybody() -> None:
    with Lab("none", "none") as lab, lab.namespace("med").socket(socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        where = (lab.mediator_address, "443", "127.0.0.1", str(listener.getsockname()[1]))
        process = lab.popen("med", [sys.executable, tunnel.__file__, *where], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for peer in ("a", "b"):
            with lab.namespace(peer).socket(socket.SOCK_STREAM) as client:
                client.connect((lab.mediator_address, 443))
                server, seen = listener.accept()
                with server:
                    assert seen[0] == "127.0.0.1"
                    client.sendall(b"question")
                    assert server.recv(100) == b"question"
                    server.sendall(b"answer")
                    assert client.recv(100) == b"answer"


def test_a_stranger_is_where_the_other_peer_would_be() -> None:
    with Lab() as lab, stranger.in_place_of(lab, "a") as came:
        with lab.namespace("b").socket(socket.SOCK_STREAM) as sock:
            sock.connect((lab.address("a"), 12345))
            assert sock.recv(100) == stranger.GREETING
        with udp(lab, "b") as sock:
            sock.sendto(b"anybody?", (lab.address("a"), 54321))
            assert sock.recv(100) == b"anybody?"
    assert [visitor.split()[:2] for visitor in came] == [[p, lab.address("b")] for p in ("tcp", "udp")]


def first_words(sock: socket.socket, address: tuple[str, int]) -> bytes:
    sock.connect(address)
    return sock.recv(100)


def test_a_storm_of_resets_ends_what_there_is_and_what_begins() -> None:
    with Lab("none", "none") as lab, lab.namespace("a").socket(socket.SOCK_STREAM) as listener:
        listener.bind((lab.address("a"), 0))
        listener.listen()
        with lab.namespace("b").socket(socket.SOCK_STREAM) as client:
            client.settimeout(probe.REPLY_TIMEOUT)
            client.connect(listener.getsockname())
            with listener.accept()[0] as server, RstStorm(lab, "to_a") as storm:
                client.sendall(b"hello")
                with pytest.raises(ConnectionResetError):
                    client.recv(100)
                server.settimeout(probe.REPLY_TIMEOUT)
                assert server.recv(100) == b"hello"
                with pytest.raises(ConnectionResetError):
                    server.recv(100)
                assert storm.resets > 0
                with lab.namespace("b").socket(socket.SOCK_STREAM) as another:
                    another.settimeout(probe.REPLY_TIMEOUT)
                    with pytest.raises(ConnectionError):
                        first_words(another, listener.getsockname())


@pytest.mark.skipif(not Path("/proc/sys/net/ipv6").exists(), reason="this kernel has no IPv6")
def test_ipv6_firewalls_let_in_what_was_asked_for() -> None:
    with Lab("symmetric", "symmetric", ipv6=True) as lab:
        ipv6.lay(lab)
        with (
            lab.namespace("a").socket(socket.SOCK_DGRAM, socket.AF_INET6) as a,
            lab.namespace("b").socket(socket.SOCK_DGRAM, socket.AF_INET6) as b,
        ):
            for peer, sock in (("a", a), ("b", b)):
                sock.bind((ipv6.address(peer), 40000))
                sock.settimeout(probe.SILENCE_TIMEOUT)
            a.sendto(b"too early", (ipv6.address("b"), 40000))
            with pytest.raises(TimeoutError):
                b.recv(100)
            b.settimeout(probe.REPLY_TIMEOUT)
            a.settimeout(probe.REPLY_TIMEOUT)
            b.sendto(b"asked for", (ipv6.address("a"), 40000))
            assert a.recvfrom(100) == (b"asked for", (ipv6.address("b"), 40000, 0, 0))
            ipv6.without_ipv4(lab)
            a.sendto(b"still there", (ipv6.address("b"), 40000))
            assert b.recv(100) == b"still there"
