"""No peer can be used to flood a third address by a token either: what a hostile one makes it send is counted.

Whoever knows the phrase can make such a token, and here it has the fingerprint of the peer that is wanted.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from p2p_core.wire.candidate import Candidate
from p2p_core.wire.offer import Mapping
from p2p_core.wire.token import fitting

from tests.altered import altered
from tests.e2e.made_tokens import made_token, named, sealed
from tests.lab.meetings import on
from tests.lab.nat import Lab
from tests.lab.stun_alone import serve_stun
from tests.programs import Keys, Peer, Programs
from tests.token_peers import token_peer

pytestmark = pytest.mark.netns

LESS = 400  # packets to one address that does not answer, for a quicker end; one round of guesses would be 500
LIFE = 15  # s for which the hostile token is good, so that two rounds are due
PORT = 40000  # that no program of ours has
LISTED = dict.fromkeys(Mapping, 8) | {Mapping.RANDOM: 1}  # addresses; guessing needs one, and more would spend it all
SHORT_LIFE = 3  # s; the first burst is enough
END = 60.0  # s for a peer that lives as long as the token


def used_peer(
    lab: Lab,
    stun: list[str],
    programs: Programs,
    keys: tuple[Keys, Keys],
    folder: Path,
    candidates: Sequence[Candidate],
    *,
    mapping: Mapping = Mapping.INDEPENDENT,
    life: int = LIFE,
) -> Peer:
    """Have a peer on "b" read a token that names these candidates."""
    own, other = keys
    token = made_token(other, candidates, life=life, mapping=mapping)
    start = altered(limits={"p2p_core.packet_budget.MAX_UNANSWERED": LESS}, start=on(lab, "b"))
    return token_peer(programs, "b", folder, *stun, "--token", sealed(token).text, own=own, other=other, start=start)


def gave_up(peer: Peer) -> None:
    assert peer.exit_code(END) == 6
    assert peer.wait_for("error")["code"] == "no-path"


@pytest.mark.parametrize("silent", [False, True], ids=["refusing", "silent"])
def test_a_third_party_gets_few_packets(
    silent: bool, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """However its NAT is said to map: some invite to try more ports than are named. Each in a lab beside the others."""
    with ExitStack() as stack:
        used = []
        for mapping in Mapping:
            lab = stack.enter_context(Lab("none", "none", bystanders=["victim"]))
            capture = stack.enter_context(lab.capture("victim", "eth0"))
            victim = lab.address("victim")
            if silent:
                drop = "table ip silent { chain in { type filter hook input priority 0; drop; }; }"
                lab.namespace("victim").nft(drop)
            listed = fitting(named(*((victim, PORT + number) for number in range(LISTED[mapping]))))
            peer = used_peer(lab, serve_stun(lab), programs, keys, tmp_path / mapping.name, listed, mapping=mapping)
            used.append((mapping, victim, capture, peer))
        for _, _, _, peer in used:
            gave_up(peer)
    for mapping, victim, capture, _ in used:
        sent = sum(packet.destination[0] == victim for packet in capture.packets())
        assert 0 < sent <= LESS, mapping


def test_addresses_that_are_nobodys_are_left_alone(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Loopback, groups and broadcast, in two tokens: not all of them fit into one. What is somebody's is tried."""
    nobodys = ["127.0.0.1", "127.1.2.3", "224.0.0.251", "239.255.255.250", "255.255.255.255", "169.254.1.1"]
    with (
        Lab("none", "none") as lab,
        lab.capture("b", "eth0") as outside,
        lab.capture("b", "lo") as inside,
    ):
        stun = serve_stun(lab)
        for hosts in (nobodys[:3], nobodys[3:]):
            candidates = named(*((host, PORT) for host in (*hosts, lab.mediator_address)))
            assert set(fitting(candidates)) == set(candidates)
            gave_up(used_peer(lab, stun, programs, keys, tmp_path, candidates, life=SHORT_LIFE))
        targets = {packet.destination for packet in (*outside.packets(), *inside.packets())}
    assert {ip for ip, port in targets if port == PORT} == {lab.mediator_address}
