"""No peer can be used to flood a third address by a token either: what a hostile one makes it send is counted.

Whoever knows the phrase can make such a token, and here it has the fingerprint of the peer that is wanted.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
from p2p_core.wire.candidate import Candidate
from p2p_core.wire.offer import Mapping
from p2p_core.wire.token import fitting

from tests.altered import altered
from tests.e2e.made_tokens import made_token, named, sealed
from tests.lab.capture import Capture
from tests.lab.meetings import on
from tests.lab.nat import Lab
from tests.lab.stun_alone import serve_stun
from tests.programs import Keys, Programs
from tests.token_peers import token_peer

pytestmark = pytest.mark.netns

LESS = 300  # packets to one address that does not answer: less than one round of guesses, which would be 500
LIFE = 15  # s for which the hostile token is good, so that two rounds are due
PORT = 40000  # that no program of ours has
END = 60.0  # s for a peer that lives as long as the token


def use(
    lab: Lab,
    programs: Programs,
    keys: tuple[Keys, Keys],
    folder: Path,
    candidates: Sequence[Candidate],
    mapping: Mapping,
    *,
    most: int = LESS,
) -> None:
    """Have a peer on "b" read a token that names these candidates, until it gives up."""
    own, other = keys
    token = made_token(other, fitting(candidates), life=LIFE, mapping=mapping)
    start = altered(limits={"p2p_core.packet_budget.MAX_UNANSWERED": most}, start=on(lab, "b"))
    flags = [*serve_stun(lab), "--token", sealed(token).text]
    peer = token_peer(programs, "b", folder, *flags, own=own, other=other, start=start)
    assert peer.exit_code(END) == 6
    assert peer.wait_for("error")["code"] == "no-path"


def sent_to(capture: Capture, victim: str) -> int:
    return sum(packet.destination[0] == victim for packet in capture.packets())


@pytest.mark.parametrize("mapping", Mapping)
@pytest.mark.parametrize("silent", [False, True], ids=["refusing", "silent"])
def test_a_third_party_gets_few_packets(
    mapping: Mapping, silent: bool, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab("none", "none", bystanders=["victim"]) as lab, lab.capture("victim", "eth0") as capture:
        victim = lab.address("victim")
        if silent:
            lab.namespace("victim").nft("table ip silent { chain in { type filter hook input priority 0; drop; }; }")
        listed = named(*((victim, PORT + number) for number in range(16)))  # as many as a token has room for
        use(lab, programs, keys, tmp_path, listed, mapping)
    assert 0 < sent_to(capture, victim) <= LESS


def test_addresses_that_are_nobodys_are_left_alone(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Loopback, groups and broadcast: in tokens of their own, as not all of them fit into one."""
    nobodys = ["127.0.0.1", "127.1.2.3", "224.0.0.251", "239.255.255.250", "255.255.255.255", "169.254.1.1"]
    with (
        Lab("none", "none") as lab,
        lab.capture("b", "eth0") as outside,
        lab.capture("b", "lo") as inside,
    ):
        for number in range(0, len(nobodys), 3):
            hosts = [*nobodys[number : number + 3], lab.mediator_address]
            candidates = named(*((host, PORT) for host in hosts))
            assert fitting(candidates) == candidates
            use(lab, programs, keys, tmp_path, candidates, Mapping.INDEPENDENT)
        targets = {packet.destination for packet in (*outside.packets(), *inside.packets())}
    assert {ip for ip, port in targets if port == PORT} == {lab.mediator_address}
