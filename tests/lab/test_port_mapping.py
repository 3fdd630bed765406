"""Ports mapped by a real router: what comes to them from outside reaches the peer, and in the end all is gone."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lab import probe
from tests.lab.chat import Chat
from tests.lab.meetings import MeetingPlace
from tests.lab.miniupnpd import OUTSIDE, Miniupnpd, eventually
from tests.lab.nat import Lab
from tests.programs import DIRECT, Keys, Programs

pytestmark = pytest.mark.netns("miniupnpd")

GATEWAY = "10.1.0.1"
ALL = "PCP,NAT-PMP,UPnP"


@dataclass
class Holder:
    """A program on "a" that has its ports mapped."""

    process: subprocess.Popen[str]
    found: dict[str, Any]

    @property
    def udp(self) -> tuple[str, int]:
        """Where its UDP port is to be reached."""
        return self._mapped("udp")

    @property
    def tcp(self) -> tuple[str, int]:
        return self._mapped("tcp")

    def _mapped(self, transport: str) -> tuple[str, int]:
        host, port = self.found["mapped"][transport]
        return host, port

    def leave(self) -> float:
        """Let it end; return how long giving back took, in seconds."""
        output, _ = self.process.communicate(timeout=20)
        assert self.process.returncode == 0
        return float(output)


@contextmanager
def lab() -> Iterator[Lab]:
    with Lab("port-restricted", "none", public=OUTSIDE) as built:
        yield built


def hold(lab: Lab, protocols: str = ALL, lifetime: int = 7200) -> Holder:
    process = lab.popen(
        "a",
        [sys.executable, str(Path(__file__).with_name("port_holder.py")), lab.address("a"), protocols, str(lifetime)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return Holder(process, json.loads(process.stdout.readline()))


def reach_udp(lab: Lab, address: tuple[str, int], host: str = "med") -> bytes:
    with lab.namespace(host).socket(socket.SOCK_DGRAM) as sock:
        sock.settimeout(probe.REPLY_TIMEOUT)
        sock.sendto(b"hello", address)
        data, source = sock.recvfrom(100)
        assert source == address
        return data


def reach_tcp(lab: Lab, address: tuple[str, int], host: str = "med") -> bytes:
    with lab.namespace(host).socket(socket.SOCK_STREAM) as sock:
        sock.settimeout(probe.REPLY_TIMEOUT)
        sock.connect(address)
        sock.sendall(b"hello")
        return sock.recv(100)


@pytest.mark.parametrize(
    ("protocols", "daemon", "by"),
    [
        (ALL, {}, "PCP"),
        (ALL, {"upnp": False}, "PCP"),
        ("NAT-PMP,UPnP", {}, "NAT-PMP"),
        ("NAT-PMP", {"upnp": False}, "NAT-PMP"),
        (ALL, {"pcp": False}, "UPnP"),
        (ALL, {"pcp": False, "igd": 1}, "UPnP"),
    ],
    ids=["PCP before others", "PCP", "NAT-PMP before UPnP", "NAT-PMP", "UPnP", "UPnP, version 1"],
)
def test_what_is_mapped_is_reached_from_outside_and_given_back(
    protocols: str, daemon: dict[str, Any], by: str, tmp_path: Path
) -> None:
    with lab() as it:
        router = Miniupnpd.start(it, tmp_path, **daemon)
        holder = hold(it, protocols)
        udp, tcp = holder.found["ports"]
        assert holder.udp == (it.public_address("a"), udp)
        assert holder.tcp == (it.public_address("a"), tcp)
        assert reach_udp(it, holder.udp) == reach_tcp(it, holder.tcp) == b"HELLO"
        assert {(lease.protocol, lease.internal) for lease in router.leases()} == {
            ("udp", f"10.1.0.10:{udp}"),
            ("tcp", f"10.1.0.10:{tcp}"),
        }
        mark = {"PCP": "PCP MAP", "NAT-PMP": "NAT-PMP", "UPnP": "Punchwire"}[by]
        assert all(lease.description.startswith(mark) for lease in router.leases())
        assert router.rules() == 2
        assert it.address("a") in router.log()
        holder.leave()
        assert router.leases() == []
        assert router.rules() == 0


def test_the_protocols_of_a_router(tmp_path: Path) -> None:
    with lab() as it:
        Miniupnpd.start(it, tmp_path)
        outside = it.public_address("a")
        assert hold(it).found["protocols"] == [
            ["PCP", GATEWAY, None],
            ["NAT-PMP", GATEWAY, outside],
            ["UPnP", GATEWAY, outside],
        ]


def test_a_router_that_maps_nothing() -> None:
    with lab() as it:
        holder = hold(it)
        assert (holder.found["mapped"], holder.found["protocols"]) == ({}, [])
        holder.leave()


def test_a_public_address_needs_no_mapping() -> None:
    with Lab("none", "none") as it:
        assert hold(it).found["mapped"] == {}


@pytest.mark.parametrize("protocol", ALL.split(","))
def test_a_mapping_is_renewed_before_it_ends(protocol: str, tmp_path: Path) -> None:
    with lab() as it:
        router = Miniupnpd.start(it, tmp_path)
        holder = hold(it, protocol, lifetime=4)
        first = max(lease.expires for lease in router.leases())
        eventually(lambda: any(lease.expires > first + 4 for lease in router.leases()))
        assert reach_udp(it, holder.udp) == reach_tcp(it, holder.tcp) == b"HELLO"
        holder.leave()
        assert router.rules() == 0


@pytest.mark.parametrize("protocol", ALL.split(","))
def test_what_a_killed_program_leaves_ends_by_itself(protocol: str, tmp_path: Path) -> None:
    with lab() as it:
        router = Miniupnpd.start(it, tmp_path)
        holder = hold(it, protocol, lifetime=2)
        assert router.rules() == 2
        holder.process.kill()
        eventually(lambda: router.rules() == 0)


@pytest.mark.parametrize("daemon", [{"upnp": False}, {"pcp": False}], ids=["PCP", "UPnP"])
def test_two_symmetric_nats_meet_directly_when_one_opens_ports(
    daemon: dict[str, Any], keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("symmetric", "symmetric", public=OUTSIDE) as it, Programs() as programs:
        router = Miniupnpd.start(it, tmp_path, **daemon)
        chat = Chat(MeetingPlace(it, programs, keys, tmp_path), programs)
        if chat.path not in DIRECT:  # a router that takes more than 0.15 s is not waited for at first
            chat.moves_to(*DIRECT)
        chat.end()
        assert (router.leases(), router.rules()) == ([], 0)


def test_who_does_not_want_ports_opened_asks_nobody(keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Lab("symmetric", "symmetric", public=OUTSIDE) as it, Programs() as programs:
        router = Miniupnpd.start(it, tmp_path)
        outcome = MeetingPlace(it, programs, keys, tmp_path).meet("--no-port-mapping")
        assert outcome.path == "relay", outcome
        assert it.address("a") not in router.log()
