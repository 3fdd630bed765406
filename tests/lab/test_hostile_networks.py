"""Networks that are slow, lose, lie, break or belong to somebody else: each ends in a connection, or a clear error.

Whatever becomes of a path, a message arrives, and arrives once.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import disturbances, ipv6, stranger, tunnel
from tests.lab.chat import LIVENESS, Chat
from tests.lab.meetings import HTTPS, STUN_PORT, MeetingPlace, on
from tests.lab.nat import Lab
from tests.lab.rst_storm import RstStorm
from tests.programs import DIRECT, Keys, Mediator, Programs

pytestmark = pytest.mark.netns

SETTLED = 5.0  # s: gRPC asks as it connects, and notices at once what changes before it is answered


@pytest.mark.netns("delay")
@pytest.mark.parametrize(
    "link",
    [
        {"delay": 50},  # 200 ms from peer to peer and back
        {"delay": 150},  # a satellite
        {"delay": 20, "loss": 5},
        {"delay": 20, "duplicate": 30, "jitter": 20},
        {"delay": 50, "loss": 5, "duplicate": 10, "jitter": 30},
    ],
    ids=lambda link: " ".join(f"{name} {value}" for name, value in link.items()),
)
def test_links_that_are_slow_lossy_or_in_disorder(
    link: dict[str, Any], programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("port-restricted", "pr-nopreserve", **link) as lab:
        outcome = MeetingPlace(lab, programs, keys, tmp_path).meet(stderr=None)
    assert not outcome.failure
    assert outcome.path in DIRECT or "loss" in link


@pytest.mark.skipif(not Path("/proc/sys/net/ipv6").exists(), reason="this kernel has no IPv6")
@pytest.mark.parametrize("only", [False, True], ids=["with IPv4 behind symmetric NATs", "without IPv4"])
def test_ipv6_firewalls_are_punched(only: bool, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Lab("symmetric", "symmetric", ipv6=True) as lab:
        ipv6.lay(lab)
        if only:
            ipv6.without_ipv4(lab)
        place = MeetingPlace(lab, programs, keys, tmp_path, host="::", dial=ipv6.MEDIATOR)
        peers = [place.peer(programs, host, "--message", "hello") for host in "ab"]
        assert [peer.exit_code() for peer in peers] == [0, 0]
        for peer, other in zip(peers, "ba", strict=True):
            connected = peer.wait_for("connected")
            assert connected["path"] in DIRECT
            assert connected["address"].rpartition(":")[0] == f"[{ipv6.address(other)}]"


class TestBehindATunnel:
    """The mediator listens on loopback only; a tunnel for TCP leads there, and everybody comes from its end."""

    @pytest.fixture
    def lab(self) -> Iterator[Lab]:
        with Lab("port-restricted", "pr-nopreserve") as lab:
            yield lab

    @pytest.fixture
    def stun_servers(self, lab: Lab, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> list[str]:
        """Somebody else's: another mediator, on the host's other address."""
        where = {"start": on(lab, "med"), "host": lab.mediator_addresses[1]}
        other: Mediator = programs.mediator(tmp_path / "other", keys, "--stun-port", str(STUN_PORT), **where)
        return [f"{other.host}:{other.stun_port}/{transport}" for transport in ("udp", "tcp")]

    def tunnelled(
        self, lab: Lab, programs: Programs, keys: tuple[Keys, Keys], folder: Path, *flags: str
    ) -> MeetingPlace:
        place = MeetingPlace(lab, programs, keys, folder, *flags, host="127.0.0.1")
        where = (lab.mediator_address, str(HTTPS), "127.0.0.1", str(place.mediator.port))
        argv = [sys.executable, tunnel.__file__, *where]
        process: subprocess.Popen[str] = lab.popen("med", argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        place.mediator.host, place.mediator.port = lab.mediator_address, HTTPS
        return place

    def test_peers_relay_without_stun(
        self, lab: Lab, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
    ) -> None:
        outcome = self.tunnelled(lab, programs, keys, tmp_path).meet(stderr=None)
        assert (outcome.path, outcome.failure) == ("relay", "")

    def test_peers_punch_with_stun_servers_of_their_own(
        self, lab: Lab, stun_servers: list[str], programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
    ) -> None:
        flags = [word for server in stun_servers for word in ("--stun", server)]
        outcome = self.tunnelled(lab, programs, keys, tmp_path).meet(*flags, stderr=None)
        assert outcome.is_direct, outcome

    def test_peers_punch_with_stun_servers_that_the_mediator_names(
        self, lab: Lab, stun_servers: list[str], programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
    ) -> None:
        flags = [word for server in stun_servers for word in ("--stun-server", server)]
        outcome = self.tunnelled(lab, programs, keys, tmp_path, *flags).meet(stderr=None)
        assert outcome.is_direct, outcome


def test_strangers_at_private_addresses_are_not_taken_for_the_peer(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """In each network somebody has the other peer's private address, greets over TCP, and echoes over UDP."""
    with Lab("port-restricted", "port-restricted") as lab:
        with stranger.in_place_of(lab, "a") as seen_by_b, stranger.in_place_of(lab, "b") as seen_by_a:
            outcome = MeetingPlace(lab, programs, keys, tmp_path).meet(stderr=None)
        assert outcome.is_direct, outcome
        assert seen_by_a
        assert seen_by_b


def test_a_storm_of_resets_leaves_quic(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Lab("port-restricted", "port-restricted") as lab, RstStorm(lab) as storm:
        outcome = MeetingPlace(lab, programs, keys, tmp_path).meet(stderr=None)
        assert (outcome.path, outcome.failure) == ("quic", "")
        assert storm.resets


def test_what_was_tried_is_said_where_nothing_works(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("port-restricted", "port-restricted") as lab:
        disturbances.cut(lab)
        place = MeetingPlace(lab, programs, keys, tmp_path)
        peers = [place.peer(programs, host, "--message", "hello", "--direct-only") for host in "ab"]
        assert [peer.exit_code() for peer in peers] == [6, 6]
        for peer, other in zip(peers, "ba", strict=True):
            error = peer.wait_for("error")
            assert error["code"] == "no-path"
            for tried in ("TCP", "UDP", lab.public_address(other)):
                assert tried in error["message"]


def another_address(lab: Lab) -> None:
    disturbances.change_address(lab, "a", "10.1.0.77")


def later(disturb: Callable[[Lab], None], lab: Lab) -> None:
    time.sleep(SETTLED)
    disturb(lab)


@pytest.mark.parametrize(
    ("disturb", "goes_on"),
    [
        (lambda lab: disturbances.cut(lab, "tcp"), ("quic",)),
        (disturbances.cut, ("relay",)),
        (another_address, DIRECT),
        (lambda lab: later(another_address, lab), DIRECT),
        (lambda lab: disturbances.forget_flows(lab.namespace("ra")), DIRECT),
    ],
    ids=["TCP is cut", "all is cut", "another address", "another address, later", "the NAT forgets"],
)
def test_a_chat_moves_when_its_path_dies(
    disturb: Callable[[Lab], None],
    goes_on: tuple[str, ...],
    programs: Programs,
    keys: tuple[Keys, Keys],
    tmp_path: Path,
) -> None:
    with Lab("pr-nopreserve", "port-restricted") as lab:
        chat = Chat.over_tcp(MeetingPlace(lab, programs, keys, tmp_path), programs)
        chat.say("before")
        chat.heard()
        disturb(lab)
        chat.say("in between")
        chat.moves_to(*goes_on)
        chat.say("after")
        chat.heard()
        chat.end()


def test_a_relayed_chat_goes_on_from_another_address(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("pr-nopreserve", "port-restricted") as lab:
        chat = Chat(MeetingPlace(lab, programs, keys, tmp_path), programs, "--relay-only")
        chat.say("before")
        chat.heard()
        later(another_address, lab)
        chat.say("in between")
        chat.moves_to("relay")
        chat.heard()
        chat.end()


def test_resets_in_the_middle_of_a_chat_move_it(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Lab("port-restricted", "port-restricted") as lab:
        chat = Chat.over_tcp(MeetingPlace(lab, programs, keys, tmp_path), programs)
        with RstStorm(lab) as storm:
            chat.say("before")
            chat.moves_to("quic")
            chat.say("after")
            chat.heard()
            assert storm.resets
        chat.end()


def test_a_relayed_chat_moves_when_something_direct_comes_up(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("port-restricted", "port-restricted") as lab:
        disturbances.cut(lab)
        chat = Chat(MeetingPlace(lab, programs, keys, tmp_path), programs)
        assert chat.path == "relay"
        chat.say("over the relay")
        chat.heard()
        disturbances.heal(lab)
        chat.moves_to(*DIRECT)
        chat.say("directly")
        chat.heard()
        chat.end()


@pytest.mark.netns("delay")
@pytest.mark.parametrize("far", ["none", "port-restricted"])
def test_a_nat_that_rebinds_in_the_middle_of_a_transfer_over_quic(
    far: str, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    content = os.urandom(64 * 2**20)
    (tmp_path / "source.bin").write_bytes(content)
    with Lab("pr-nopreserve", far, delay=5) as lab:
        disturbances.cut(lab, "tcp")
        place = MeetingPlace(lab, programs, keys, tmp_path)
        sender = place.peer(programs, "a", "--send", tmp_path / "source.bin", "--limit-rate", "20M")
        receiver = place.peer(programs, "b", "--yes", "--receive", tmp_path / "inbox")
        assert sender.wait_for("connected")["path"] == "quic"
        assert receiver.in_the_middle()["bytes"] < len(content)
        disturbances.forget_flows(lab.namespace("ra"))
        assert [peer.exit_code(LIVENESS) for peer in (sender, receiver)] == [0, 0]
    assert (tmp_path / "inbox" / "source.bin").read_bytes() == content
    assert len(receiver.all("transfer_received")) == len(sender.all("transfer_sent")) == 1
