import hmac
import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.agreement import Agreement
from p2p_core.errors import MediatorLied
from p2p_core.machines import port_guessing
from p2p_core.machines.udp_actions import Action, Close, Exhausted, Fail, Found, Open, Pair, Send
from p2p_core.machines.udp_punch import MAX_LEARNED, PLAIN_TIME, UdpPunch
from p2p_core.packet_budget import MAX_UNANSWERED, PacketBudget
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose
from p2p_core.targets import dialable
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_core.wire.probe import Probe, ProbeKind

from tests.core.made_up_nats import Internet, Link, two_nodes
from tests.core.two_peers import agreement, side

A, B, V6 = Address.of("192.0.2.1", 5000), Address.of("192.0.2.2", 6000), Address.of("2001:db8::1", 7000)
VICTIM = "203.0.113.66"
SEEDS = range(20)


# Two machines.

OPEN = ("none", "full-cone", "restricted")
PORT_RESTRICTED = ("port-restricted", "pr-nopreserve", "pr-open", "cgnat")
SYMMETRIC = ("symmetric", "cgnat-sym")
PLAIN = [*itertools.product(OPEN + PORT_RESTRICTED, repeat=2)]
TO_SYMMETRIC = [*itertools.product(OPEN, (*SYMMETRIC, "sym-seq"))]
PREDICTED = [*itertools.product((*PORT_RESTRICTED, "sym-seq"), ("sym-seq",))]
BIRTHDAY = [*itertools.product(PORT_RESTRICTED, ("symmetric",)), ("cgnat", "cgnat-sym")]


def both_ways(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys([*pairs, *((b, a) for a, b in pairs)]))


def meet(internet: Internet) -> float:
    """Run until the responder is nominated; return when the initiator had found the way."""
    internet.run()
    initiator, responder = internet.nodes
    assert responder.nominated is not None, (initiator.exhausted, responder.exhausted)
    assert initiator.found_at is not None
    return initiator.found_at


@pytest.mark.parametrize(("a", "b"), PLAIN)
def test_plain_probing_takes_one_and_a_half_round_trips(a: str, b: str) -> None:
    for seed in SEEDS:
        internet = two_nodes(a, b, seed)
        assert meet(internet) < 0.12
        assert all(sum(node.sent.values()) <= 20 for node in internet.nodes)


@pytest.mark.parametrize(("a", "b"), both_ways(TO_SYMMETRIC))
def test_an_open_side_learns_where_a_symmetric_one_is(a: str, b: str) -> None:
    for seed in SEEDS:
        internet = two_nodes(a, b, seed)
        assert meet(internet) < 0.15
        assert all(sum(node.sent.values()) <= 80 for node in internet.nodes)  # nothing was left to luck


@pytest.mark.parametrize(("a", "b"), both_ways(PREDICTED))
def test_ports_that_follow_each_other_are_predicted(a: str, b: str) -> None:
    for seed in SEEDS:
        assert meet(two_nodes(a, b, seed, others=6)) < 0.12


@pytest.mark.parametrize(("a", "b"), both_ways(BIRTHDAY))
def test_ports_that_are_random_meet_by_chance(a: str, b: str) -> None:
    times = []
    for seed in SEEDS:
        internet = two_nodes(a, b, seed)
        times.append(meet(internet))
        assert max(node.most_sockets for node in internet.nodes) <= 257
        assert all(sum(node.sent.values()) < MAX_UNANSWERED for node in internet.nodes)
    assert sorted(times)[len(times) // 2] < 1.5
    assert max(times) < 4.0


@pytest.mark.parametrize(
    ("a", "b"), [("none", "port-restricted"), ("pr-open", "cgnat"), ("symmetric", "full-cone"), ("sym-seq", "sym-seq")]
)
@pytest.mark.parametrize(
    "link",
    [
        Link(loss=0.05),
        Link(delay=0.1),
        Link(jitter=0.06, doubles=0.3),
        Link(delay=0.3, jitter=0.3, loss=0.2, doubles=0.2),
    ],
)
def test_bad_links_are_crossed(a: str, b: str, link: Link) -> None:
    for seed in SEEDS:
        meet(two_nodes(a, b, seed, link=link))


@pytest.mark.parametrize(("a", "b"), [("symmetric", "port-restricted"), ("pr-open", "symmetric")])
@pytest.mark.parametrize("link", [Link(loss=0.05), Link(delay=0.1, jitter=0.05, doubles=0.3)])
def test_chance_has_its_way_on_bad_links_too(a: str, b: str, link: Link) -> None:
    for seed in range(5):
        meet(two_nodes(a, b, seed, link=link))


def test_two_on_one_network_meet_there() -> None:
    for seed in SEEDS:
        internet = two_nodes("symmetric", "symmetric", seed, same_lan=True)
        assert meet(internet) < 0.03
        nominated = internet.nodes[1].nominated
        assert nominated is not None
        assert nominated.address.host == internet.nodes[0].ip


def test_who_starts_late_is_waited_for() -> None:
    for seed in SEEDS:
        internet = two_nodes("restricted", "port-restricted", seed, skew=1.5)
        started = max(node.start for node in internet.nodes)
        assert meet(internet) < started + 0.2


@pytest.mark.parametrize(("a", "b"), [("symmetric", "symmetric"), ("symmetric", "sym-seq"), ("sym-seq", "cgnat-sym")])
def test_where_nothing_can_help_both_say_what_was_tried(a: str, b: str) -> None:
    internet = two_nodes(a, b, 1)
    internet.run()
    for node, other in (internet.nodes, internet.nodes[::-1]):
        assert node.exhausted is not None
        assert f"{other.sockets[0]}: no answer" in node.exhausted
        assert len(node.sockets) == 1
        assert node.found_at is None
    assert internet.now < 3.1


def test_a_router_that_answers_itself_is_met_when_both_start_together_and_not_when_they_do_not() -> None:
    late = two_nodes("port-restricted", "pr-open", 1)
    late.nodes[0].machine, late.nodes[1].machine = (
        machine_of(late, 0, start=0.0),
        machine_of(late, 1, start=0.3),
    )
    late.run()
    assert late.nodes[1].nominated is None  # fresh sockets are for another attempt
    together = two_nodes("port-restricted", "pr-open", 1, skew=0.039)
    meet(together)


def machine_of(internet: Internet, index: int, start: float) -> UdpPunch:
    node, other = internet.nodes[index], internet.nodes[1 - index]
    return UdpPunch(
        node.held.terms,
        dialable(node.held.other.offer.candidates, Transport.UDP, own=node.held.own.offer.candidates),
        [4],
        observed=Address.of(other.public_ip, 1),
        start=start,
        round_trip=0.08,
        budget=PacketBudget(),
        random=node.dice.random,
        fresh_nonce=node.dice.randbytes,
    )


@pytest.mark.parametrize("role", Role)
def test_equal_roles_are_the_mediators_lie(role: Role) -> None:
    machines = [
        punch(role, [A], held=Agreement.between(role, side(own), side(own.other))) for own in (role, role.other)
    ]
    for machine in machines:
        machine.on_deadline(0.0)
    said_by_both = [sends(machine)[0].data for machine in machines]
    for machine, data in zip(machines, said_by_both[::-1], strict=True):
        machine.receive(0, data, B, 0.0)
        last_word, failed = actions(machine)
        assert isinstance(last_word, Send), "the other side may have missed what came before"
        assert last_word.pair == Pair(0, B)
        assert isinstance(failed, Fail)
        assert isinstance(failed.error, MediatorLied)
        assert role.value in str(failed.error)
        assert machine.deadline() is None


# One machine: probing and answering.


def punch(
    role: Role = Role.INITIATOR,
    targets: Iterable[Address] = (A,),
    versions: tuple[int, ...] = (4, 6),
    *,
    start: float = 0.0,
    held: Agreement | None = None,
    observed: Address | None = None,
    budget: PacketBudget | None = None,
) -> UdpPunch:
    dice = Random(1)
    nonces = itertools.count(1)
    return UdpPunch(
        (held or agreement(role)).terms,
        targets,
        versions,
        observed=observed,
        start=start,
        round_trip=0.08,
        budget=budget or PacketBudget(),
        random=dice.random,
        fresh_nonce=lambda count: bytes([role is Role.INITIATOR, *next(nonces).to_bytes(count - 1, "big")]),
    )


def actions(machine: UdpPunch) -> list[Action]:
    found = []
    while (action := machine.next_action()) is not None:
        found.append(action)
    return found


def sends(machine: UdpPunch) -> list[Send]:
    found = actions(machine)
    assert all(isinstance(action, Send) for action in found)
    return [action for action in found if isinstance(action, Send)]


def said(sender: Role, kind: ProbeKind, nonce: bytes = b"n" * 16, *, role: Role | None = None) -> bytes:
    """Return a packet as `sender` makes it; `role` is what it says of itself."""
    return Probe(kind, role or sender, nonce).encode(agreement(sender).punch_key(sender, PunchPurpose.UDP_PROBE))


def read(sender: Role, data: bytes) -> Probe:
    return Probe.decode(data, agreement(sender).punch_key(sender, PunchPurpose.UDP_PROBE))


def begun(role: Role = Role.INITIATOR) -> tuple[UdpPunch, bytes]:
    """Return a machine that has sent its first probe to `A` from socket 0, and the nonce of that."""
    machine = punch(role)
    machine.on_deadline(0.0)
    [probe] = sends(machine)
    assert probe.pair == Pair(0, A)
    return machine, read(role, probe.data).nonce


def heard(machine: UdpPunch, now: float, *pairs: Pair) -> UdpPunch:
    """Let the responder's probe come on these pairs, by default on socket 0 from `A`; what that causes is done."""
    for pair in pairs or (Pair(0, A),):
        machine.receive(pair.socket, said(Role.RESPONDER, ProbeKind.PROBE), pair.address, now)
    actions(machine)
    return machine


def run_out(machine: UdpPunch) -> list[Action]:
    """Let time pass until nothing is due; return everything that was done."""
    done = actions(machine)
    while (deadline := machine.deadline()) is not None:
        machine.on_deadline(deadline)
        done += actions(machine)
    return done


def test_nothing_happens_before_the_start() -> None:
    machine = punch(targets=[A, B], start=5.0)
    assert machine.deadline() == 5.0
    machine.on_deadline(4.999)
    assert actions(machine) == []
    machine.on_deadline(5.0)
    assert [send.pair for send in sends(machine)] == [Pair(0, A), Pair(0, B)]


def test_each_family_has_its_socket_and_an_address_without_one_is_left_out() -> None:
    machine = punch(targets=[V6, A], versions=(6, 4))
    machine.on_deadline(0.0)
    assert [send.pair for send in sends(machine)] == [Pair(0, V6), Pair(1, A)]
    lonely = punch(targets=[V6, A], versions=(4,))
    lonely.on_deadline(0.0)
    assert [send.pair for send in sends(lonely)] == [Pair(0, A)]


def test_a_target_is_probed_every_50_ms_for_two_seconds_with_fresh_nonces() -> None:
    machine = punch()
    *probes, last = run_out(machine)
    assert isinstance(last, Exhausted)
    assert str(A) in last.why
    assert "no answer" in last.why
    assert 36 <= len(probes) <= 45
    assert len({probe.data for probe in probes if isinstance(probe, Send)}) == len(probes)


def test_without_anything_to_probe_it_says_so() -> None:
    [last] = run_out(punch(targets=[]))
    assert isinstance(last, Exhausted)
    assert "no address" in last.why


@pytest.mark.parametrize("role", Role)
def test_an_authentic_probe_is_answered_where_it_came_from_and_probed_back(role: Role) -> None:
    machine = punch(role, [])
    machine.receive(1, said(role.other, ProbeKind.PROBE), V6, 0.1)
    answer, probe = sends(machine)
    assert answer.pair == probe.pair == Pair(1, V6)
    assert read(role, answer.data) == Probe(ProbeKind.ANSWER, role, b"n" * 16)
    assert read(role, probe.data).kind is ProbeKind.PROBE
    machine.receive(1, said(role.other, ProbeKind.PROBE), V6, 0.11)
    assert len(sends(machine)) == 1  # one for one from then on, the probes come as their time comes
    assert machine.deadline() == pytest.approx(0.15, abs=0.0051)


def test_an_answer_to_our_probe_makes_the_pair_valid() -> None:
    machine, nonce = begun()
    assert machine.best() is None
    machine.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, nonce), A, 0.08)
    assert actions(machine) == []
    assert machine.best() is None, "the nomination needs a nonce of the other side"
    machine.receive(0, said(Role.RESPONDER, ProbeKind.PROBE), A, 0.08)
    assert [action for action in actions(machine) if not isinstance(action, Send)] == [Found()]
    assert machine.best() == Pair(0, A)
    assert run_out(machine) == []  # nothing more to probe, and nothing to complain of


def test_a_pair_is_nominated_with_a_nonce_that_the_other_side_sent_there() -> None:
    initiator, nonce = begun()
    initiator.receive(0, said(Role.RESPONDER, ProbeKind.PROBE, b"theirs".ljust(16)), A, 0.08)
    initiator.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, nonce), A, 0.08)
    nomination = initiator.nomination(Pair(0, A))
    assert read(Role.INITIATOR, nomination) == Probe(ProbeKind.NOMINATE, Role.INITIATOR, b"theirs".ljust(16))


def test_the_responder_takes_a_nomination_for_the_pair_it_was_made_for_and_no_other() -> None:
    machine, nonce = begun(Role.RESPONDER)
    nomination = said(Role.INITIATOR, ProbeKind.NOMINATE, nonce)
    machine.receive(0, nomination, A, 0.1)
    assert not machine.is_nominated(Pair(0, A)), "no probe came from there"
    machine.receive(0, said(Role.INITIATOR, ProbeKind.PROBE), A, 0.1)
    machine.receive(0, said(Role.INITIATOR, ProbeKind.PROBE), B, 0.1)  # overheard, and sent again
    for where in (B, A):
        machine.receive(0, said(Role.INITIATOR, ProbeKind.NOMINATE, b"never sent".ljust(16)), where, 0.1)
    machine.receive(0, nomination, B, 0.1)
    assert not machine.is_nominated(Pair(0, B))
    assert not machine.is_nominated(Pair(0, A))
    machine.receive(0, nomination, A, 0.1)
    assert machine.is_nominated(Pair(0, A))
    assert not machine.is_nominated(Pair(0, B))


def test_an_answer_that_comes_twice_counts_once() -> None:
    machine, nonce = begun(Role.RESPONDER)
    machine.receive(0, said(Role.INITIATOR, ProbeKind.PROBE), A, 0.05)
    for now in (0.08, 1.5):
        machine.receive(0, said(Role.INITIATOR, ProbeKind.ANSWER, nonce), A, now)
    assert [action for action in actions(machine) if isinstance(action, Found)] == [Found()]


def test_the_responder_says_that_nobody_took_what_was_open() -> None:
    machine, nonce = begun(Role.RESPONDER)
    machine.receive(0, said(Role.INITIATOR, ProbeKind.PROBE), A, 1.5)
    machine.receive(0, said(Role.INITIATOR, ProbeKind.ANSWER, nonce), A, 1.5)
    actions(machine)
    [last] = run_out(machine)
    assert isinstance(last, Exhausted)
    assert "did not take it" in last.why


def test_probes_are_answered_after_the_end_and_a_way_may_still_come_up() -> None:
    machine = punch()
    run_out(machine)
    machine.receive(0, said(Role.RESPONDER, ProbeKind.PROBE), B, 10.0)
    answer, probe = sends(machine)
    assert answer.pair == probe.pair == Pair(0, B)
    nonce = read(Role.INITIATOR, probe.data).nonce
    machine.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, nonce), B, 10.1)
    assert actions(machine) == [Found()]


def test_once_finished_nothing_happens_any_more() -> None:
    machine, nonce = begun()
    machine.receive(0, said(Role.RESPONDER, ProbeKind.PROBE), A, 0.1)
    machine.finish()
    machine.receive(0, said(Role.RESPONDER, ProbeKind.PROBE), A, 0.1)
    machine.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, nonce), A, 0.1)
    machine.on_deadline(5.0)
    assert actions(machine) == []
    assert machine.deadline() is None


@pytest.mark.parametrize(
    ("round_trips", "best"),
    [
        ({A: 0.010, B: 0.020}, A),
        ({A: 0.020, B: 0.010}, B),
        ({A: 0.020, V6: 0.024}, V6),
        ({A: 0.020, V6: 0.026}, A),
        ({A: 0.020, V6: 0.010}, V6),
    ],
)
def test_the_shortest_way_is_best_and_ipv6_where_alike(round_trips: dict[Address, float], best: Address) -> None:
    machine = punch(targets=round_trips)
    machine.on_deadline(0.0)
    nonces = {send.pair: read(Role.INITIATOR, send.data).nonce for send in sends(machine)}
    heard(machine, 0.001, *nonces)
    for pair, nonce in nonces.items():
        answer = said(Role.RESPONDER, ProbeKind.ANSWER, nonce)
        machine.receive(pair.socket, answer, pair.address, round_trips[pair.address])
    pair_found = machine.best()
    assert pair_found is not None
    assert pair_found.address == best
    assert actions(machine) == [Found()]


# One machine: birthdays.


def lucky(role: Role, own: Mapping, other: Mapping, budget: PacketBudget | None = None) -> UdpPunch:
    def reflexive(address: Address) -> tuple[Candidate, ...]:
        return (Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.UDP, address),)

    ours, theirs = side(role), side(role.other)
    held = Agreement.between(
        role,
        replace(ours, offer=replace(ours.offer, udp_mapping=own, candidates=reflexive(B))),
        replace(theirs, offer=replace(theirs.offer, udp_mapping=other, candidates=reflexive(A))),
    )
    return punch(role, [A], (4,), held=held, observed=A, budget=budget)


def test_no_port_is_guessed_where_plain_probing_helps() -> None:
    machine = lucky(Role.INITIATOR, Mapping.INDEPENDENT, Mapping.RANDOM)
    machine.on_deadline(0.0)
    [probe] = sends(machine)
    heard(machine, 0.1)
    machine.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, read(Role.INITIATOR, probe.data).nonce), A, 0.17)
    assert run_out(machine) == [Found()]


def test_behind_a_nat_that_counts_fresh_sockets_are_tried_and_closed() -> None:
    done = run_out(lucky(Role.INITIATOR, Mapping.SEQUENTIAL, Mapping.INDEPENDENT))
    opened = [action.socket for action in done if isinstance(action, Open)]
    assert len(opened) == port_guessing.FRESH_SOCKETS
    for number in opened:
        probes = [action.pair for action in done if isinstance(action, Send) and action.pair.socket == number]
        assert probes == [Pair(number, A)]
    assert [action.socket for action in done if isinstance(action, Close)] == opened
    assert isinstance(done[-1], Exhausted)


def test_the_easy_side_stops_when_the_guesses_are_used_up() -> None:
    done = run_out(lucky(Role.INITIATOR, Mapping.INDEPENDENT, Mapping.RANDOM))
    guesses = [action for action in done if isinstance(action, Send) and action.pair.address != A]
    assert len(guesses) == 2500
    assert not [action for action in done if isinstance(action, Open)]
    assert isinstance(done[-1], Exhausted)
    assert f"2500 random ports of {A.ip}: no answer" in done[-1].why


def test_the_hard_side_closes_what_it_opened() -> None:
    done = run_out(lucky(Role.INITIATOR, Mapping.RANDOM, Mapping.INDEPENDENT))
    open_now: set[int] = set()
    most = 0
    for action in done:
        if isinstance(action, Open):
            open_now.add(action.socket)
        elif isinstance(action, Close):
            open_now.remove(action.socket)
        most = max(most, len(open_now))
    assert most == 256
    assert not open_now
    assert isinstance(done[-1], Exhausted)
    assert "768 ports" in done[-1].why


@pytest.mark.parametrize("answered_first", [False, True])
def test_the_hard_side_keeps_the_socket_that_was_lucky_and_no_other(answered_first: bool) -> None:
    machine = lucky(Role.INITIATOR, Mapping.RANDOM, Mapping.INDEPENDENT)
    opened: dict[int, bytes] = {}
    while len(opened) < 100:
        deadline = machine.deadline()
        assert deadline is not None
        machine.on_deadline(deadline)
        for action in actions(machine):
            if isinstance(action, Send) and action.pair.socket:
                opened[action.pair.socket] = read(Role.INITIATOR, action.data).nonce
    probe, answer = said(Role.RESPONDER, ProbeKind.PROBE), said(Role.RESPONDER, ProbeKind.ANSWER, opened[42])
    for data in (answer, probe) if answered_first else (probe, answer):
        machine.receive(42, data, A, 1.2)
    closed = {action.socket for action in actions(machine) if isinstance(action, Close)}
    assert closed == set(opened) - {42}
    assert machine.best() == Pair(42, A)
    assert not [action for action in run_out(machine) if isinstance(action, Open | Close)]


# Bad input.


def unmoved(machine: UdpPunch) -> None:
    """Whatever came meant nothing."""
    assert actions(machine) == []
    assert machine.best() is None


@pytest.mark.parametrize("role", Role)
def test_what_we_said_ourselves_means_nothing(role: Role) -> None:
    machine = punch(role)
    machine.on_deadline(0.0)
    [probe] = sends(machine)
    machine.receive(0, probe.data, A, 0.1)
    unmoved(machine)
    assert not machine.is_nominated(Pair(0, A))


@pytest.mark.parametrize("kind", ProbeKind)
def test_a_packet_under_the_right_key_with_the_wrong_role_means_nothing(kind: ProbeKind) -> None:
    machine, nonce = begun()
    machine.receive(0, said(Role.RESPONDER, kind, nonce, role=Role.INITIATOR), A, 0.1)
    unmoved(machine)


STRANGE = {  # version, kind and role
    "version 0": (0, 1, 2),
    "version 2": (2, 1, 2),
    "kind 0": (1, 0, 2),
    "kind 4": (1, 4, 2),
    "kind 255": (1, 255, 2),
    "role 0": (1, 1, 0),
    "role 3": (1, 1, 3),
}


@pytest.mark.parametrize(("version", "kind", "role"), STRANGE.values(), ids=STRANGE)
def test_what_a_later_version_might_say_means_nothing(version: int, kind: int, role: int) -> None:
    machine, nonce = begun()
    content = b"\x9fPW" + bytes([version, kind, role, 0, 0]) + nonce
    key = agreement(Role.RESPONDER).punch_key(Role.RESPONDER, PunchPurpose.UDP_PROBE)
    machine.receive(0, content + hmac.digest(key, content, "sha256")[:16], A, 0.1)
    unmoved(machine)
    assert not machine.is_heard


def test_a_packet_of_another_session_means_nothing() -> None:
    other = Agreement.between(Role.RESPONDER, side(Role.RESPONDER, b"another"), side(Role.INITIATOR))
    key = other.punch_key(Role.RESPONDER, PunchPurpose.UDP_PROBE)
    machine, nonce = begun()
    for kind in ProbeKind:
        machine.receive(0, Probe(kind, Role.RESPONDER, nonce).encode(key), A, 0.1)
    unmoved(machine)


def test_an_answer_counts_where_it_was_asked_for_and_once() -> None:
    machine, nonce = begun()
    answer = said(Role.RESPONDER, ProbeKind.ANSWER, nonce)
    machine.receive(0, answer, B, 0.1)
    machine.receive(1, answer, A, 0.1)
    machine.receive(0, answer, Address(A.ip, 5001), 0.1)
    machine.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, bytes(16)), A, 0.1)
    unmoved(machine)
    heard(machine, 0.1)
    machine.receive(0, answer, A, 0.1)
    assert actions(machine) == [Found()]
    machine.receive(0, answer, A, 0.2)
    assert actions(machine) == []


def test_a_probe_repeated_from_everywhere_makes_us_probe_few_places() -> None:
    """Somebody on the way copies the other side's probe and writes victims' addresses on it."""
    machine = punch(targets=[])
    packet = said(Role.RESPONDER, ProbeKind.PROBE)
    for number in range(1, 1000):
        machine.receive(0, packet, Address.of(VICTIM, number), 0.0)
    reached = Counter(send.pair for send in sends(machine))
    assert len(reached) == MAX_LEARNED
    assert set(reached.values()) == {2}
    *probes, last = run_out(machine)
    assert isinstance(last, Exhausted)
    assert len(probes) <= MAX_LEARNED * PLAIN_TIME / 0.045


def test_a_flood_of_strangers_leaves_nothing_behind() -> None:
    machine, nonce = begun()
    dice = Random(1)
    before = len(machine._targets), len(machine._sent), machine.deadline()
    for number in range(1, 20_000):
        machine.receive(0, b"\x9fPW\x01" + dice.randbytes(36), Address.of("198.51.100.1", number), 0.01)
    unmoved(machine)
    assert (len(machine._targets), len(machine._sent), machine.deadline()) == before
    heard(machine, 0.07)
    machine.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, nonce), A, 0.08)
    assert actions(machine) == [Found()]


@given(st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=50), st.sampled_from([A, B, V6])), max_size=20))
def test_no_bytes_break_it(packets: list[tuple[int, bytes, Address]]) -> None:
    machine, _ = begun()
    for socket, data, source in packets:
        machine.receive(socket, data, source, 0.1)
    unmoved(machine)


# Victims.


def naming_a_victim(role: Role, own: Mapping, other: Mapping) -> Agreement:
    ours, theirs = side(role), side(role.other)
    us = (Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.UDP, B),)
    candidates = tuple(
        Candidate(CandidateKind.SERVER_REFLEXIVE, Transport.UDP, Address.of(VICTIM, port)) for port in range(1, 33)
    )
    return Agreement.between(
        role,
        replace(ours, offer=replace(ours.offer, udp_mapping=own, candidates=us)),
        replace(theirs, offer=replace(theirs.offer, udp_mapping=other, candidates=candidates, udp_port_step=1)),
    )


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (Mapping.INDEPENDENT, Mapping.INDEPENDENT),
        (Mapping.INDEPENDENT, Mapping.SEQUENTIAL),
        (Mapping.INDEPENDENT, Mapping.RANDOM),
        (Mapping.RANDOM, Mapping.INDEPENDENT),
    ],
)
def test_ten_offers_that_name_a_victim_are_bounded_together(own: Mapping, other: Mapping) -> None:
    """Even if the mediator says that it sees the other side there; and probes with the victim's address on them."""
    held = naming_a_victim(Role.INITIATOR, own, other)
    budget, sent, start, whys = PacketBudget(), 0, 0.0, []
    for _ in range(10):
        machine = punch(
            targets=dialable(held.other.offer.candidates, Transport.UDP, own=()),
            versions=(4,),
            start=start,
            held=held,
            observed=Address.of(VICTIM, 1),
            budget=budget,
        )
        key = held.punch_key(Role.RESPONDER, PunchPurpose.UDP_PROBE)
        for port in range(40000, 40050):
            packet = Probe(ProbeKind.PROBE, Role.RESPONDER, b"n" * 16).encode(key)
            machine.receive(0, packet, Address.of(VICTIM, port), start)
        done = run_out(machine)
        sent += sum(isinstance(action, Send) and action.pair.address.host == VICTIM for action in done)
        whys += [action.why for action in done if isinstance(action, Exhausted)]
        start += 10.0
    assert sent == MAX_UNANSWERED
    assert len(whys) == 10
    assert "as many packets went there unanswered as may" in whys[-1]


def test_what_answers_may_be_probed_again() -> None:
    budget = PacketBudget()
    while budget.spend(A.ip, 0.0):
        pass
    machine = punch(budget=budget)
    machine.on_deadline(0.0)
    assert actions(machine) == []
    machine.receive(0, said(Role.RESPONDER, ProbeKind.PROBE), A, 0.0)
    assert actions(machine) == []
    fresh = punch(targets=[B], budget=budget)
    fresh.on_deadline(0.0)
    [probe] = sends(fresh)
    fresh.receive(0, said(Role.RESPONDER, ProbeKind.ANSWER, read(Role.INITIATOR, probe.data).nonce), B, 0.1)
    assert B.ip not in budget._unanswered
