"""Two sides that read each other's tokens at different times, on the made-up clock; and one that waits in vain."""

import itertools
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from p2p_core.machines.patience import BEATS, KEPT, KEPT_BY_GUESSING, LEAD, MINUTE, Wait, beat, pause
from p2p_core.machines.tcp_punch import Abort, Dial, Fail, Outcome, TcpPunch
from p2p_core.machines.udp_actions import Exhausted, Send
from p2p_core.machines.udp_punch import UdpPunch
from p2p_core.packet_budget import MAX_UNANSWERED, PacketBudget
from p2p_core.proof import Role
from p2p_core.punching import PunchSecret, PunchTerms
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping

from tests.core.made_up_nats import Internet, by_token
from tests.core.two_peers import offer

A, B, V6 = Address.of("192.0.2.1", 5000), Address.of("192.0.2.1", 6000), Address.of("2001:db8::1", 7000)


# Pauses.


def test_a_short_wait_has_the_shortest_pauses() -> None:
    assert pause(10.0, 600, [A, V6], 600.0) == 10.0
    assert pause(10.0, 600, [], 600.0) == 10.0


def test_a_long_wait_has_pauses_that_make_the_tries_last() -> None:
    assert pause(5.0, 400, [A, V6], 3600.0) == 9.0
    assert pause(5.0, 400, [A, B, V6], 3600.0) == 18.0, "what counts is the IP address"


# Two sides, of which one begins later.

OPEN = ("none", "full-cone", "restricted")
SHUT = ("port-restricted", "pr-nopreserve", "cgnat", "sym-seq")
LATE = [(first, second) for first in (*OPEN, *SHUT, "pr-open") for second in (*OPEN, *SHUT)]


def met(internet: Internet) -> bool:
    internet.run(until=600.0)
    return internet.nodes[1].nominated is not None


def in_order(first: str, second: str, seed: int, delay: float, **more: Any) -> Internet:
    """Return two of whom the second one reads so much later; which of them is the initiator depends on the seed."""
    if seed % 2:
        return by_token(first, second, seed, read_at=(0.0, delay), **more)
    return by_token(second, first, seed, read_at=(delay, 0.0), **more)


@pytest.mark.parametrize(("first", "second"), LATE)
def test_who_reads_late_is_met_at_once(first: str, second: str) -> None:
    for seed, delay in itertools.product(range(2), (0.0, 5.0, 29.0, 90.0, 400.0)):
        internet = in_order(first, second, seed, delay)
        assert met(internet), delay
        found = internet.nodes[0].found_at
        assert found is not None
        assert found < delay + 0.3


@pytest.mark.parametrize("first", ["port-restricted", "pr-nopreserve", "cgnat"])
@pytest.mark.parametrize("apart", [-0.7, 0.0, 0.7])
def test_a_router_that_answers_for_itself_forgets_what_came_too_early(first: str, apart: float) -> None:
    """The clocks of the two need not agree to more than the lead that one has in each minute."""
    for seed, delay in itertools.product(range(2), (0.5, 20.0, 40.0, 90.0)):
        internet = in_order(first, "pr-open", seed, delay, ahead=(17.0 * seed, 17.0 * seed + apart))
        assert met(internet), delay
        found = internet.nodes[0].found_at
        assert found is not None
        assert found < delay + 4 * MINUTE


def test_two_such_routers_need_clocks_that_agree() -> None:
    assert all(met(in_order("pr-open", "pr-open", seed, 20.0)) for seed in range(4))
    assert not any(met(in_order("pr-open", "pr-open", seed, 20.0, ahead=(0.0, 0.5))) for seed in range(4))


@pytest.mark.parametrize(("role", "leads"), [(Role.INITIATOR, (0.0, 0.0, LEAD)), (Role.RESPONDER, (0.0, LEAD, 0.0))])
def test_each_minute_begins_with_silence_and_another_one_ahead(role: Role, leads: tuple[float, ...]) -> None:
    wait, now, moments = Wait(1000.0, ahead=5.0), 0.0, []
    while len(moments) < 7 * len(BEATS):
        now = beat(now, wait, role)
        moments.append(now + wait.ahead)
    starts = [after for before, after in itertools.pairwise(moments) if after - before > 10.0]
    assert starts[:6] == [MINUTE * number + leads[number % 3] for number in range(1, 7)]
    assert all(after - before >= 33.0 for before, after in itertools.pairwise(moments) if after in starts)


HARD, EASY = "symmetric", ("port-restricted", "pr-open")


@pytest.mark.parametrize("delay", [0.0, 5.0, 20.0, 60.0, 150.0])
@pytest.mark.parametrize(("first", "second"), [pair for easy in EASY for pair in ((HARD, easy), (easy, HARD))])
def test_ports_that_are_random_meet_by_chance_whoever_reads_first(first: str, second: str, delay: float) -> None:
    tries = 8
    lucky = 0
    for seed in range(tries):
        internet = in_order(first, second, seed, delay)
        lucky += met(internet)
        assert max(node.most_sockets for node in internet.nodes) <= 257
        for node, other in (internet.nodes, internet.nodes[::-1]):
            assert sum(node.sent[to] for to in node.sent if to.host == other.public_ip) <= MAX_UNANSWERED
    assert lucky >= tries - 1


@pytest.mark.parametrize("reader", Role)
@pytest.mark.parametrize("listener", ["none", "full-cone"])
@pytest.mark.parametrize("late", [None, 0.05, 0.1])
def test_one_that_can_be_reached_only_listens(reader: Role, listener: str, late: float | None) -> None:
    """It is met all the same if it reads the other's token in the middle of that."""
    for seed, kind in itertools.product(range(4), ("port-restricted", "pr-open", "symmetric", "sym-seq", "cgnat")):
        second = None if late is None else 7.0 + late
        if reader is Role.INITIATOR:
            internet = by_token(kind, listener, seed, read_at=(7.0, second), listens=True)
        else:
            internet = by_token(listener, kind, seed, read_at=(second, 7.0), listens=True)
        assert met(internet)
        found = internet.nodes[0].found_at
        assert found is not None
        assert 7.0 < found < 7.3


def test_one_that_listens_behind_a_nat_is_met_once_it_has_read_too() -> None:
    for seed in range(8):
        internet = in_order("port-restricted", "port-restricted", seed, 100.0, listens=True)
        assert met(internet)
        found = internet.nodes[0].found_at
        assert found is not None
        assert 100.0 < found < 100.3


# One side, that waits in vain.


@dataclass
class Alone:
    """Both machines of one side, and nobody who answers, or only with a reset."""

    other: tuple[Candidate, ...]
    own_mapping: Mapping
    other_mapping: Mapping
    wait: float
    refuses: bool
    budget: PacketBudget = field(default_factory=PacketBudget)
    probes: list[float] = field(default_factory=list)
    dials: list[float] = field(default_factory=list)
    dry: int = 0  # dials that the budget did not let through
    why: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = offer(candidates=(seen(Transport.UDP, "198.51.100.1", 1),), udp_mapping=self.own_mapping)
        step = int(self.other_mapping is Mapping.SEQUENTIAL)
        other = offer(candidates=self.other, udp_mapping=self.other_mapping, udp_port_step=step)
        self.terms = PunchTerms(Role.INITIATOR, own, other, (PunchSecret(b"share", b"s" * 32),), by_token=True)
        dice = Random(1)
        self.udp = UdpPunch(
            self.terms,
            self._targets(Transport.UDP),
            [4, 6],
            observed=None,
            start=0.0,
            round_trip=0.1,
            budget=self.budget,
            random=dice.random,
            fresh_nonce=dice.randbytes,
            wait=Wait(self.wait),
        )
        self.tcp = TcpPunch(
            self.terms,
            self._targets(Transport.TCP),
            start=0.0,
            round_trip=0.1,
            random=dice.random,
            fresh_nonce=dice.randbytes,
            wait=Wait(self.wait),
        )

    def _targets(self, transport: Transport) -> list[Address]:
        return [candidate.address for candidate in self.other if candidate.transport is transport]

    def run(self) -> None:
        while deadlines := [each for machine in (self.udp, self.tcp) if (each := machine.deadline()) is not None]:
            now = min(deadlines)
            for machine in (self.udp, self.tcp):
                machine.on_deadline(now)
            while (action := self.udp.next_action()) is not None:
                if isinstance(action, Send):
                    self.probes.append(now)
                elif isinstance(action, Exhausted):
                    self.why.append(action.why)
            while (doing := self.tcp.next_action()) is not None:
                if isinstance(doing, Dial):
                    self._dial(doing, now)
                elif isinstance(doing, Fail):
                    self.why.append(str(doing.error))
                else:
                    assert isinstance(doing, Abort)

    def _dial(self, dial: Dial, now: float) -> None:
        if not all(self.budget.spend(dial.address.ip, now, leave=dial.leave) for _ in range(3)):
            self.dry += 1
            self.tcp.dial_failed(dial.address, Outcome.SPENT, now)
            return
        self.dials.append(now)
        if self.refuses:
            self.tcp.dial_failed(dial.address, Outcome.REFUSED, now)

    @property
    def spent(self) -> int:
        """The packets that went to one IP address, at most."""
        return max(held.count for held in self.budget._unanswered.values())


def seen(transport: Transport, host: str, port: int) -> Candidate:
    return Candidate(CandidateKind.SERVER_REFLEXIVE, transport, Address.of(host, port))


ONE = (seen(Transport.TCP, "192.0.2.1", 5000), seen(Transport.UDP, "192.0.2.1", 5000))
TWO = (*ONE, seen(Transport.TCP, "192.0.2.1", 6000), seen(Transport.UDP, "192.0.2.1", 6000))
MAPPINGS = [
    (Mapping.INDEPENDENT, Mapping.INDEPENDENT),
    (Mapping.INDEPENDENT, Mapping.SEQUENTIAL),
    (Mapping.SEQUENTIAL, Mapping.SEQUENTIAL),
    (Mapping.INDEPENDENT, Mapping.RANDOM),
    (Mapping.RANDOM, Mapping.INDEPENDENT),
    (Mapping.RANDOM, Mapping.RANDOM),
]


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("wait", [600.0, 3600.0])
@pytest.mark.parametrize(("own", "other"), MAPPINGS)
def test_the_budget_lasts_as_long_as_the_wait(own: Mapping, other: Mapping, wait: float, refuses: bool) -> None:
    alone = Alone(ONE, own, other, wait, refuses)
    alone.run()
    assert alone.spent <= MAX_UNANSWERED - KEPT
    assert not alone.dry
    longest = 35.0 if wait == 600.0 and Mapping.RANDOM not in (own, other) else 160.0
    assert wait - max(alone.probes) < longest * 1.2
    assert wait - max(alone.dials) < longest * 1.4
    assert len(alone.why) == 2
    assert all(f"within {wait:.0f} s" in why for why in alone.why)


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize(("own", "other"), MAPPINGS)
def test_packets_are_left_for_when_the_other_side_is_there(own: Mapping, other: Mapping, refuses: bool) -> None:
    alone = Alone(TWO, own, other, 3600.0, refuses)
    alone.run()
    assert alone.spent <= MAX_UNANSWERED - KEPT


def test_meanwhile_six_packets_a_minute_and_a_dial_each_5_s() -> None:
    alone = Alone(ONE, Mapping.INDEPENDENT, Mapping.INDEPENDENT, 600.0, False)
    alone.run()
    slow = [moment for moment in alone.probes if moment > 3.0]
    assert len(slow) == pytest.approx(10 * len(BEATS), abs=4)
    slow = [moment for moment in alone.dials if moment > 10.0]
    assert all(3.7 < after - before < 6.3 for before, after in itertools.pairwise(slow))


def test_ports_that_are_counted_get_a_packet_each_10_s() -> None:
    alone = Alone(ONE, Mapping.SEQUENTIAL, Mapping.INDEPENDENT, 600.0, False)
    alone.run()
    slow = [moment for moment in alone.probes if moment > 4.0]
    assert all(8.9 < after - before < 11.1 for before, after in itertools.pairwise(slow))
    assert 54 <= len(slow) <= 66


def test_the_hard_side_renews_its_sockets_as_long_as_the_budget_lasts() -> None:
    alone = Alone(ONE, Mapping.RANDOM, Mapping.INDEPENDENT, 600.0, False)
    alone.run()
    rounds = [moment for moment, next_one in itertools.pairwise(alone.probes) if next_one - moment < 0.011]
    assert 200.0 < max(rounds) < 260.0
    assert KEPT <= MAX_UNANSWERED - alone.spent <= KEPT_BY_GUESSING


def test_where_the_port_is_guessed_is_what_the_token_says() -> None:
    """No mediator sees the other side; a host address that is not public is nobody's but a neighbour's."""
    at_home = Candidate(CandidateKind.HOST, Transport.UDP, Address.of("192.168.1.5", 5000))
    alone = Alone((at_home,), Mapping.INDEPENDENT, Mapping.RANDOM, 600.0, False)
    alone.run()
    assert len(alone.probes) < 120
    public = Alone((*ONE, at_home), Mapping.INDEPENDENT, Mapping.RANDOM, 600.0, False)
    public.run()
    assert len(public.probes) > 2500
