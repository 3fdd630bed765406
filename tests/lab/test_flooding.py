"""No peer can be used to flood a third address: what a hostile offer makes a real peer send is counted on the wire."""

import subprocess
from pathlib import Path

import pytest

from tests.altered import altered
from tests.lab import disturbances
from tests.lab.capture import Capture
from tests.lab.flooder import flooder
from tests.lab.meetings import MeetingPlace, on
from tests.lab.nat import Lab
from tests.programs import Keys, Peer, Programs

pytestmark = pytest.mark.netns

MOST = 3000  # packets to one address that does not answer, in ten minutes
LESS = 300  # the same in tests that are to come to that end: one attempt would send more
GIVE_UP = 60.0  # s for two attempts, of which the second has nothing left to send
PORT = 40000  # that no program of ours has
LISTED = 16  # addresses, each for UDP and TCP: as many candidates as an offer may have


def sent_to(capture: Capture, victim: str) -> int:
    """How many packets went to the victim."""
    return sum(packet.destination[0] == victim for packet in capture.packets())


def meet_the_flooder(
    place: MeetingPlace, programs: Programs, addresses: list[tuple[str, int]], mapping: str, most: int = MOST
) -> tuple[Peer, Peer]:
    """The hostile peer on a, and on b the one it tries to use, which may send `most` packets without an answer."""
    hostile = place.peer(programs, "a", stdin=subprocess.PIPE, start=flooder(addresses, on(place.lab, "a"), mapping))
    hostile.wait_for("waiting")  # first, so that it is the initiator, who decides when to try again
    start = altered(limits={"p2p_core.packet_budget.MAX_UNANSWERED": most}, start=on(place.lab, "b"))
    pipes = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
    return hostile, place.peer(programs, "b", "--verbose", "--timeout", str(GIVE_UP), start=start, **pipes)


def wait_for_second_attempt(used: Peer) -> None:
    """Read what the peer tells of its steps, until the attempt to do without the relay has come to nothing."""
    assert used.process.stderr is not None
    assert any("no channel 1" in line for line in used.process.stderr)


@pytest.mark.parametrize(
    ("mapping", "most", "silent"),
    [
        ("INDEPENDENT", MOST, True),
        ("SEQUENTIAL", MOST, False),
        ("RANDOM", MOST, True),
        ("RANDOM", LESS, False),
    ],
    ids=["silent", "sequential", "random", "refusing again and again"],
)
def test_a_victim_gets_few_packets_however_often_it_is_named(
    mapping: str, most: int, silent: bool, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("none", "none", bystanders=["victim"]) as lab, lab.capture("victim", "eth0") as capture:
        disturbances.cut(lab)  # the two would find each other directly, and the flood would be over
        victim = lab.address("victim")
        if silent:
            lab.namespace("victim").nft("table ip silent { chain in { type filter hook input priority 0; drop; }; }")
        place = MeetingPlace(lab, programs, keys, tmp_path)
        addresses = [(victim, PORT + number) for number in range(LISTED)]
        hostile, used = meet_the_flooder(place, programs, addresses, mapping, most)
        assert used.wait_for("connected")["path"] == "relay"
        if most < MOST:
            wait_for_second_attempt(used)
        used.stop()
        hostile.stop()
    assert 0 < sent_to(capture, victim) <= most


def test_addresses_that_are_nobodys_are_left_alone(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Loopback, groups and broadcast are not sent to at all; to the mediator's host goes no more than to any other."""
    nobodys = ["127.0.0.1", "127.1.2.3", "224.0.0.251", "239.255.255.250", "255.255.255.255", "0.0.0.0", "169.254.1.1"]
    with (
        Lab("none", "none") as lab,
        lab.capture("b", "eth0") as outside,
        lab.capture("b", "lo") as inside,
    ):
        disturbances.cut(lab)
        place = MeetingPlace(lab, programs, keys, tmp_path)
        named = [*nobodys, lab.mediator_address, "203.0.113.255"]
        hostile, used = meet_the_flooder(place, programs, [(ip, PORT) for ip in named], "INDEPENDENT")
        assert used.wait_for("connected")["path"] == "relay"
        used.stop()
        hostile.stop()
        targets = [packet.destination for packet in (*outside.packets(), *inside.packets())]
    tried = [ip for ip, port in targets if port == PORT]
    assert set(tried) == {lab.mediator_address}
    assert len(tried) <= MOST


def test_an_offer_with_thousands_of_candidates_is_refused_unread(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("none", "none", bystanders=["victim"]) as lab, lab.capture("victim", "eth0") as capture:
        victim = lab.address("victim")
        place = MeetingPlace(lab, programs, keys, tmp_path)
        addresses = [(victim, 10000 + number) for number in range(300)]  # of two candidates each
        hostile, used = meet_the_flooder(place, programs, addresses, "INDEPENDENT")
        assert used.exit_code() == 1
        assert "candidates" in used.wait_for("error")["message"]
        hostile.stop()
        assert sent_to(capture, victim) == 0
