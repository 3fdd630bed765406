import hmac
import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.agreement import Agreement
from p2p_core.errors import MediatorLied, NoPath
from p2p_core.machines import patience, tcp_punch
from p2p_core.machines.patience import Wait
from p2p_core.machines.tcp_punch import Abort, Action, Close, Dial, Fail, Keep, Outcome, Send, TcpPunch
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose, PunchSecret, PunchTerms
from p2p_core.wire.candidate import Address
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.punch_record import RECORD_BYTES

from tests.core.made_up_network import MadeUpNetwork, Node, Plan
from tests.core.two_peers import agreement, offer, side

A, B = Address.of("192.0.2.1", 5000), Address.of("2001:db8::1", 6000)
HERE, THERE = Address.of("198.51.100.1", 1), Address.of("203.0.113.1", 1)
ANSWERED, SILENT = Plan(0.04), Plan(0.04, connects=False)
REFUSED = Plan(0.04, Outcome.REFUSED)
MIDDLE = 0.5  # what a made-up die shows: no spread either way


def punch(
    role: Role,
    targets: Iterable[Address] = (A,),
    *,
    start: float = 0.0,
    round_trip: float = 0.08,
    random: Callable[[], float] = lambda: MIDDLE,
    held: Agreement | None = None,
    terms: PunchTerms | None = None,
    until: float | None = None,
) -> TcpPunch:
    nonces = itertools.count(1)
    return TcpPunch(
        terms or (held or agreement(role)).terms,
        targets,
        start=start,
        round_trip=round_trip,
        random=random,
        fresh_nonce=lambda count: bytes([role is Role.INITIATOR, *next(nonces).to_bytes(count - 1, "big")]),
        wait=None if until is None else Wait(until),
    )


def actions(machine: TcpPunch) -> list[Action]:
    found = []
    while (action := machine.next_action()) is not None:
        found.append(action)
    return found


def preamble(sender: Role, kind: PreambleKind, nonce: bytes = bytes(16), *, role: Role | None = None) -> bytes:
    """Return a preamble as `sender` makes it; `role` is what it says of itself."""
    key = agreement(sender).punch_key(sender, PunchPurpose.TCP_PREAMBLE)
    return Preamble(kind, role or sender, nonce).encode(key)


def hello_nonce(action: Action) -> bytes:
    assert isinstance(action, Send)
    return action.data[8:24]


def connect(machine: TcpPunch, number: int, *, dialled: Address | None = None) -> bytes:
    """Open connection `number`; return the nonce of the hello said there."""
    machine.connected(number, 0.0, dialled=dialled)
    [said] = actions(machine)
    return hello_nonce(said)


def nominations(node: Node) -> int:
    return sum(data[4] == PreambleKind.NOMINATE for data in node.sent)


# Two machines.


def two_nodes(
    plan: Callable[[Address, int], Plan], other_plan: Callable[[Address, int], Plan] | None = None
) -> tuple[Node, Node]:
    initiator = Node(punch(Role.INITIATOR, [THERE]), plan)
    return initiator, Node(punch(Role.RESPONDER, [HERE]), other_plan or plan)


def test_both_dial_and_keep_the_same_connection() -> None:
    initiator, responder = two_nodes(lambda *_: ANSWERED)
    network = MadeUpNetwork(initiator, responder)
    network.run()
    assert initiator.kept is not None
    assert initiator.kept == responder.kept
    assert network.now < 0.2
    assert (nominations(initiator), nominations(responder)) == (1, 0)


@pytest.mark.parametrize("who", Role)
def test_one_that_can_be_reached_is_enough(who: Role) -> None:
    plans = [lambda *_: ANSWERED, lambda *_: SILENT]
    initiator, responder = two_nodes(*(plans if who is Role.INITIATOR else plans[::-1]))
    MadeUpNetwork(initiator, responder).run()
    assert initiator.kept == responder.kept is not None


def test_a_refusal_is_tried_again_soon() -> None:
    initiator, responder = two_nodes(lambda _, before: REFUSED if before < 3 else ANSWERED)
    network = MadeUpNetwork(initiator, responder)
    network.run()
    assert initiator.kept == responder.kept is not None
    assert network.now < 3 * 0.04 + 3 * 0.075 + 0.2


def test_silence_is_tried_again_after_a_cycle() -> None:
    initiator, responder = two_nodes(lambda _, before: SILENT if before < 2 else ANSWERED)
    network = MadeUpNetwork(initiator, responder)
    network.run()
    assert initiator.kept == responder.kept is not None
    assert initiator.dials[THERE] == pytest.approx([0.0, 0.6, 1.2])


def test_where_nothing_answers_both_give_up_and_say_what_was_tried() -> None:
    initiator, responder = two_nodes(lambda *_: SILENT, lambda *_: REFUSED)
    network = MadeUpNetwork(initiator, responder)
    network.run()
    assert network.now == tcp_punch.PUNCH_TIME
    for node, said in ((initiator, f"{THERE}: no answer"), (responder, f"{HERE}: connection refused")):
        assert isinstance(node.error, NoPath)
        assert said in str(node.error)


def test_a_target_that_swallows_everything_does_not_stop_the_others() -> None:
    def plan(address: Address, before: int) -> Plan:
        if address == A:
            return Plan(0.001, swallows=True)
        return SILENT if before < 2 else ANSWERED

    initiator = Node(punch(Role.INITIATOR, [A, THERE]), plan)
    responder = Node(punch(Role.RESPONDER, [A, HERE]), plan)
    MadeUpNetwork(initiator, responder).run()
    assert initiator.kept == responder.kept is not None
    assert len(initiator.dials[A]) == 1


def test_who_starts_later_is_waited_for() -> None:
    initiator, _ = two_nodes(lambda _, before: SILENT if before < 1 else ANSWERED)
    responder = Node(punch(Role.RESPONDER, [HERE], start=0.3), lambda *_: SILENT)
    MadeUpNetwork(initiator, responder).run()
    assert initiator.kept == responder.kept is not None
    assert responder.dials[HERE][0] == 0.3


@pytest.mark.parametrize("role", Role)
def test_equal_roles_are_the_mediators_lie(role: Role) -> None:
    nodes = [
        Node(punch(role, [THERE], held=Agreement.between(role, side(own), side(own.other))), lambda *_: ANSWERED)
        for own in Role
    ]
    network = MadeUpNetwork(*nodes)
    network.run()
    for node in nodes:
        assert isinstance(node.error, MediatorLied)
        assert role.value in str(node.error)
    assert network.now < 0.2


PLANS = st.builds(
    Plan,
    delay=st.floats(0.001, 0.5),
    outcome=st.sampled_from([None, None, None, *Outcome]),
    connects=st.booleans(),
    swallows=st.integers(0, 9).map(lambda die: die == 0),
)


@given(st.data(), st.integers(0, 3), st.integers(0, 3), st.randoms(use_true_random=False))
def test_whatever_the_network_does_both_keep_the_same_connection_or_none(
    data: st.DataObject, initiator_targets: int, responder_targets: int, dice: Random
) -> None:
    def plan(_address: Address, before: int) -> Plan:
        return data.draw(PLANS) if before < 4 else SILENT

    targets = [Address.of("203.0.113.1", port) for port in range(1, 4)]
    initiator = Node(punch(Role.INITIATOR, targets[:initiator_targets], random=dice.random), plan)
    responder = Node(punch(Role.RESPONDER, targets[:responder_targets], random=dice.random), plan)
    network = MadeUpNetwork(initiator, responder)
    network.run()
    assert nominations(responder) == 0
    assert nominations(initiator) == (initiator.kept is not None)
    if responder.kept is not None:
        assert responder.kept == initiator.kept
    for node in (initiator, responder):
        assert (node.kept is None) is isinstance(node.error, NoPath)
    assert network.now <= tcp_punch.PUNCH_TIME


# One machine: dialling.


def test_nothing_happens_before_the_start() -> None:
    machine = punch(Role.INITIATOR, [A, B], start=5.0)
    assert machine.deadline() == 5.0
    machine.on_deadline(4.999)
    assert actions(machine) == []
    machine.on_deadline(5.0)
    assert actions(machine) == [Dial(A), Dial(B)]


def test_a_dial_is_given_up_before_it_is_done_again() -> None:
    machine = punch(Role.INITIATOR)
    machine.on_deadline(0.0)
    assert actions(machine) == [Dial(A)]
    assert machine.deadline() == tcp_punch.MIN_CYCLE
    machine.on_deadline(tcp_punch.MIN_CYCLE)
    assert actions(machine) == [Abort(A), Dial(A)]


@pytest.mark.parametrize("round_trip", [0.0, 0.08, 0.3, 1.0])
@pytest.mark.parametrize("die", [0.0, 0.5, 0.999999])
def test_a_cycle_is_two_round_trips_or_more_give_or_take(round_trip: float, die: float) -> None:
    machine = punch(Role.INITIATOR, round_trip=round_trip, random=lambda: die)
    machine.on_deadline(0.0)
    cycle = max(0.6, 2 * round_trip)
    assert machine.deadline() == pytest.approx(cycle * (0.75 + die / 2))


@pytest.mark.parametrize(
    ("outcome", "die", "pause"),
    [
        (Outcome.REFUSED, 0.0, 0.025),
        (Outcome.REFUSED, 0.999999, 0.075),
        (Outcome.TIMED_OUT, 0.0, 0.5),
        (Outcome.UNREACHABLE, 0.999999, 0.5),
    ],
)
def test_a_dial_that_failed_is_done_again_after_a_pause(outcome: Outcome, die: float, pause: float) -> None:
    machine = punch(Role.INITIATOR, random=lambda: die)
    machine.on_deadline(0.0)
    machine.dial_failed(A, outcome, 0.1)
    assert machine.deadline() == pytest.approx(0.1 + pause)
    actions(machine)
    machine.on_deadline(0.2 + pause)
    assert actions(machine) == [Dial(A)]


def test_a_target_that_was_reached_is_not_dialled_again_until_the_connection_breaks() -> None:
    machine = punch(Role.INITIATOR)
    machine.on_deadline(0.0)
    actions(machine)
    connect(machine, 1, dialled=A)
    assert machine.deadline() == tcp_punch.PUNCH_TIME
    machine.on_deadline(3.0)
    assert actions(machine) == []
    machine.lost(1, 3.0, dialled=A)
    assert machine.deadline() == 3.0 + tcp_punch.FAILED_PAUSE


def test_an_accepted_connection_that_breaks_changes_nothing() -> None:
    machine = punch(Role.INITIATOR)
    connect(machine, 1)
    machine.lost(1, 0.5)
    assert actions(machine) == []
    assert machine.deadline() == 0.0


def test_without_targets_it_waits_to_be_dialled() -> None:
    machine = punch(Role.RESPONDER, [])
    assert machine.deadline() == tcp_punch.PUNCH_TIME
    machine.on_deadline(tcp_punch.PUNCH_TIME)
    [failed] = actions(machine)
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, NoPath)
    assert "no address" in str(failed.error)


def test_when_it_is_over_nothing_more_happens() -> None:
    machine = punch(Role.RESPONDER, [A])
    machine.on_deadline(tcp_punch.PUNCH_TIME)
    actions(machine)
    assert machine.deadline() is None
    machine.on_deadline(100.0)
    machine.dial_failed(A, Outcome.REFUSED, 100.0)
    assert actions(machine) == []
    machine.connected(9, 100.0, dialled=A)
    assert actions(machine) == [Close(9)]
    machine.lost(9, 100.0, dialled=A)
    assert machine.deadline() is None


def test_who_goes_on_refusing_is_dialled_seldom() -> None:
    """An offer may name a third party, which answers each SYN with a reset."""
    machine = punch(Role.INITIATOR, [A])
    dials = 0
    while (deadline := machine.deadline()) is not None:
        machine.on_deadline(deadline)
        if Dial(A) in actions(machine):
            dials += 1
            machine.dial_failed(A, Outcome.REFUSED, deadline)
    assert dials <= 20 + 8 / 0.5


# One machine: preambles.


def test_both_sides_say_hello_at_once_with_fresh_nonces() -> None:
    for role in Role:
        machine = punch(role)
        nonces = {connect(machine, number) for number in range(5)}
        assert len(nonces) == 5
        assert machine.wanted(0) == RECORD_BYTES


def test_the_initiator_nominates_the_first_that_answers() -> None:
    machine = punch(Role.INITIATOR)
    connect(machine, 1)
    connect(machine, 2)
    machine.received(2, preamble(Role.RESPONDER, PreambleKind.HELLO, b"n" * 16))
    nomination = preamble(Role.INITIATOR, PreambleKind.NOMINATE, b"n" * 16)
    assert actions(machine) == [Send(2, nomination), Keep(2)]
    assert machine.wanted(1) == machine.wanted(2) == 0
    machine.received(1, preamble(Role.RESPONDER, PreambleKind.HELLO, b"m" * 16))
    assert actions(machine) == []


def test_the_responder_keeps_what_is_nominated_and_nothing_before() -> None:
    machine = punch(Role.RESPONDER)
    nonces = {number: connect(machine, number) for number in (1, 2)}
    for number in (1, 2):
        machine.received(number, preamble(Role.INITIATOR, PreambleKind.HELLO))
    assert actions(machine) == []
    machine.received(2, preamble(Role.INITIATOR, PreambleKind.NOMINATE, nonces[2]))
    assert actions(machine) == [Keep(2)]


@pytest.mark.parametrize("chunk", [1, 7, 39])
def test_preambles_may_come_in_pieces_and_back_to_back(chunk: int) -> None:
    machine = punch(Role.RESPONDER)
    nonce = connect(machine, 1)
    stream = preamble(Role.INITIATOR, PreambleKind.HELLO) + preamble(Role.INITIATOR, PreambleKind.NOMINATE, nonce)
    tls = b"client hello"
    stream += tls
    while wanted := machine.wanted(1):
        piece = stream[: min(chunk, wanted)]
        stream = stream[len(piece) :]
        machine.received(1, piece)
    assert actions(machine) == [Keep(1)]
    assert stream == tls  # never read past a preamble


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("said", [bytes(RECORD_BYTES), b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n" + bytes(9)])
def test_a_stranger_is_shown_out_and_nobody_else(role: Role, said: bytes) -> None:
    machine = punch(role)
    connect(machine, 1)
    connect(machine, 2)
    machine.received(1, said[:RECORD_BYTES])
    assert actions(machine) == [Close(1)]
    assert machine.wanted(1) == 0
    assert machine.wanted(2) == RECORD_BYTES
    assert machine.deadline() is not None


@pytest.mark.parametrize("role", Role)
def test_our_own_hello_sent_back_to_us_is_a_strangers(role: Role) -> None:
    machine = punch(role)
    machine.connected(1, 0.0)
    [said] = actions(machine)
    assert isinstance(said, Send)
    machine.received(1, said.data)
    assert actions(machine) == [Close(1)]


def test_a_preamble_of_another_session_is_a_strangers() -> None:
    other = Agreement.between(Role.RESPONDER, side(Role.RESPONDER, b"another"), side(Role.INITIATOR))
    key = other.punch_key(Role.RESPONDER, PunchPurpose.TCP_PREAMBLE)
    machine = punch(Role.INITIATOR)
    connect(machine, 1)
    machine.received(1, Preamble(PreambleKind.HELLO, Role.RESPONDER, bytes(16)).encode(key))
    assert actions(machine) == [Close(1)]


@pytest.mark.parametrize("role", Role)
def test_a_side_that_says_it_has_our_role_under_its_own_key_is_shown_out(role: Role) -> None:
    machine = punch(role)
    connect(machine, 1)
    machine.received(1, preamble(role.other, PreambleKind.HELLO, role=role))
    assert actions(machine) == [Close(1)]


STRANGE = {  # version, kind and role
    "version 0": (0, 1, 2),
    "version 2": (2, 1, 2),
    "kind 0": (1, 0, 2),
    "kind 3": (1, 3, 2),
    "kind 255": (1, 255, 2),
    "role 0": (1, 1, 0),
    "role 3": (1, 1, 3),
}


@pytest.mark.parametrize(("version", "kind", "role"), STRANGE.values(), ids=STRANGE)
def test_what_a_later_version_might_say_closes_one_connection(version: int, kind: int, role: int) -> None:
    machine = punch(Role.INITIATOR)
    connect(machine, 1)
    connect(machine, 2)
    content = b"PWT" + bytes([version, kind, role, 0, 0]) + bytes(16)
    key = agreement(Role.RESPONDER).punch_key(Role.RESPONDER, PunchPurpose.TCP_PREAMBLE)
    machine.received(1, content + hmac.digest(key, content, "sha256")[:16])
    assert actions(machine) == [Close(1)]
    machine.received(2, preamble(Role.RESPONDER, PreambleKind.HELLO))
    assert Keep(2) in actions(machine)


def test_the_responder_does_not_nominate() -> None:
    machine = punch(Role.INITIATOR)
    nonce = connect(machine, 1)
    machine.received(1, preamble(Role.RESPONDER, PreambleKind.NOMINATE, nonce))
    assert actions(machine) == [Close(1)]


def test_a_nomination_before_a_hello_is_none() -> None:
    machine = punch(Role.RESPONDER)
    nonce = connect(machine, 1)
    machine.received(1, preamble(Role.INITIATOR, PreambleKind.NOMINATE, nonce))
    assert actions(machine) == [Close(1)]


def test_a_second_hello_on_one_connection_is_shown_out() -> None:
    machine = punch(Role.RESPONDER)
    connect(machine, 1)
    for _ in range(2):
        machine.received(1, preamble(Role.INITIATOR, PreambleKind.HELLO))
    assert actions(machine) == [Close(1)]


def test_a_hello_replayed_elsewhere_gets_nobody_nominated() -> None:
    machine = punch(Role.RESPONDER)
    nonce = connect(machine, 1)
    hello = preamble(Role.INITIATOR, PreambleKind.HELLO)
    machine.received(1, hello)
    connect(machine, 2)
    machine.received(2, hello)  # somebody in between repeats what it saw
    assert actions(machine) == []
    machine.received(2, preamble(Role.INITIATOR, PreambleKind.NOMINATE, nonce))  # and the nomination too
    assert actions(machine) == [Close(2)]
    machine.received(1, preamble(Role.INITIATOR, PreambleKind.NOMINATE, nonce))
    assert actions(machine) == [Keep(1)]


# One machine: strangers in numbers.


def test_strangers_do_not_exhaust_us_nor_keep_out_whom_we_dialled() -> None:
    machine = punch(Role.INITIATOR)
    machine.on_deadline(0.0)
    actions(machine)
    connect(machine, 1001, dialled=A)
    for number in range(10 * tcp_punch.MAX_CONNECTIONS):
        machine.connected(number, 0.0)
    closed = [action.connection for action in actions(machine) if isinstance(action, Close)]
    assert len(set(closed)) == 9 * tcp_punch.MAX_CONNECTIONS + 1
    assert 1001 not in closed
    machine.received(1001, preamble(Role.RESPONDER, PreambleKind.HELLO))
    assert Keep(1001) in actions(machine)


def test_who_has_said_hello_is_not_pushed_out_by_strangers() -> None:
    machine = punch(Role.RESPONDER)
    connect(machine, 1001)
    machine.received(1001, preamble(Role.INITIATOR, PreambleKind.HELLO))
    for number in range(10 * tcp_punch.MAX_CONNECTIONS):
        machine.connected(number, 0.0)
    assert Close(1001) not in actions(machine)


def test_a_stranger_that_was_shown_out_makes_room() -> None:
    machine = punch(Role.INITIATOR)
    for number in range(tcp_punch.MAX_CONNECTIONS):
        connect(machine, number)
    machine.received(0, bytes(RECORD_BYTES))
    machine.lost(1, 0.0)
    assert actions(machine) == [Close(0)]
    connect(machine, 1000)
    connect(machine, 1001)


# Equal roles, seen by one machine.


@pytest.mark.parametrize("role", Role)
def test_equal_roles_end_it_at_once(role: Role) -> None:
    machine = punch(role)
    connect(machine, 1)
    theirs = Agreement.between(role, side(role.other), side(role))
    key = theirs.punch_key(role, PunchPurpose.TCP_PREAMBLE)
    machine.received(1, Preamble(PreambleKind.HELLO, role, bytes(16)).encode(key))
    [failed] = actions(machine)
    assert isinstance(failed, Fail)
    assert isinstance(failed.error, MediatorLied)
    assert machine.deadline() is None


# Patience: the other side may read our token later.


def patient(role: Role = Role.INITIATOR, targets: Iterable[Address] = (A,), until: float = 600.0) -> TcpPunch:
    machine = punch(role, targets, until=until)
    while (deadline := machine.deadline()) is not None and deadline <= 20.0:
        machine.on_deadline(deadline)
    actions(machine)
    return machine


def dials_within(machine: TcpPunch, begin: float, end: float) -> int:
    count = 0
    while (deadline := machine.deadline()) is not None and deadline < end:
        assert deadline >= begin
        machine.on_deadline(deadline)
        count += sum(isinstance(action, Dial) for action in actions(machine))
    return count


def test_who_waits_dials_each_5_s_and_leaves_packets_for_later() -> None:
    machine = patient()
    assert dials_within(machine, 20.0, 60.0) == 8
    deadline = machine.deadline()
    assert deadline is not None
    machine.on_deadline(deadline)
    assert actions(machine) == [Abort(A), Dial(A, patience.KEPT)]
    machine.dial_failed(A, Outcome.REFUSED, deadline + 0.1)
    assert machine.deadline() == deadline + 0.1 + tcp_punch.PATIENT_INTERVAL
    connect(machine, 1, dialled=A)
    machine.lost(1, 70.0, dialled=A)
    assert machine.deadline() == 70.0 + tcp_punch.PATIENT_INTERVAL, "who takes every connection is not called often"


def test_it_hurries_when_the_other_side_is_there() -> None:
    machine = patient()
    machine.dial_failed(A, Outcome.REFUSED, 20.0)
    machine.hurry(21.0)
    assert machine.deadline() == 21.0
    assert 10 <= dials_within(machine, 21.0, 29.0) <= 15
    assert dials_within(machine, 29.0, 69.0) <= 9


def test_a_dial_under_way_keeps_its_time() -> None:
    machine = patient()
    deadline = machine.deadline()
    assert deadline is not None
    machine.on_deadline(deadline)
    actions(machine)
    machine.hurry(deadline + 0.01)
    assert machine.deadline() == pytest.approx(deadline + 0.01 + tcp_punch.MIN_CYCLE)


def test_one_that_is_connected_is_not_dialled_in_a_hurry() -> None:
    machine = patient()
    connect(machine, 1, dialled=A)
    machine.hurry(21.0)
    assert dials_within(machine, 21.0, 600.0) == 0


def test_until_the_end_and_a_little_longer_if_somebody_is_there() -> None:
    machine = patient(until=30.0)
    dials_within(machine, 20.0, 29.0)
    machine.hurry(29.0)
    dials_within(machine, 29.0, 36.9)
    assert actions(machine) == []
    machine.on_deadline(37.0)
    [failed] = [action for action in actions(machine) if isinstance(action, Fail)]
    assert "within 37 s" in str(failed.error)
    machine.hurry(38.0)
    machine.learn(agreement(Role.INITIATOR).terms, [B], 38.0)
    assert machine.deadline() is None


def test_what_is_learned_late_is_dialled_at_once_and_what_came_before_stays() -> None:
    """It has listened under its own token's secret; now it has read the other's."""
    own, theirs = PunchSecret(b"own", b"s" * 32), PunchSecret(b"theirs", b"s" * 32)
    alone = PunchTerms(Role.RESPONDER, offer(), offer(), (own,), by_token=True)
    machine = punch(Role.RESPONDER, [], until=600.0, terms=alone)
    purpose = PunchPurpose.TCP_PREAMBLE
    nonce = connect(machine, 1)
    hello = Preamble(PreambleKind.HELLO, Role.INITIATOR, bytes(16)).encode(own.key(Role.INITIATOR, purpose))
    machine.received(1, hello)
    assert actions(machine) == []
    machine.learn(replace(alone, secrets=(theirs, own)), [A], 100.0)
    assert machine.deadline() == 100.0
    machine.on_deadline(100.0)
    assert actions(machine) == [Dial(A)]
    machine.connected(2, 100.1)
    [said] = actions(machine)
    assert isinstance(said, Send)
    assert Preamble.decode(said.data, theirs.key(Role.RESPONDER, purpose)).kind is PreambleKind.HELLO
    nomination = Preamble(PreambleKind.NOMINATE, Role.INITIATOR, nonce)
    machine.received(1, nomination.encode(own.key(Role.INITIATOR, purpose)))
    assert actions(machine) == [Keep(1)]


@pytest.mark.parametrize("late", Role)
@pytest.mark.parametrize("seed", range(5))
def test_who_begins_late_is_dialled_while_it_dials_quickly(late: Role, seed: int) -> None:
    """Its own dials are refused by a NAT that lets it in only in the moment in which the first side dials."""
    dice = Random(seed)
    begins = dice.uniform(10.0, 300.0)

    def machine(role: Role) -> TcpPunch:
        target = THERE if role is Role.INITIATOR else HERE
        return punch(role, [target], start=begins if role is late else 0.0, until=600.0, random=dice.random)

    def plan(*_: object) -> Plan:
        return ANSWERED if network.now >= begins else SILENT

    nodes = [Node(machine(role), (lambda *_: REFUSED) if role is late else plan) for role in Role]
    network = MadeUpNetwork(*nodes)
    network.run()
    assert nodes[0].kept == nodes[1].kept is not None
    assert network.now < begins + tcp_punch.PUNCH_TIME
