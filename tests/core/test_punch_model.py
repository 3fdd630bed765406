"""Punching under loss, reordering, duplication and strangers: both sides end with the same path, or with none.

Besides: nobody sends more to an address from which nothing comes than its budget has; nothing is left undone at a
deadline; two sides with one role end in an error that says so. docs/protocol/punching.md.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from p2p_core.agreement import Agreement
from p2p_core.errors import MediatorLied, NoPath, PunchwireError
from p2p_core.machines import tcp_punch, udp_actions, udp_punch
from p2p_core.machines.tcp_punch import Outcome, TcpPunch
from p2p_core.machines.udp_actions import Pair
from p2p_core.machines.udp_punch import MAX_LEARNED, UdpPunch
from p2p_core.packet_budget import MAX_UNANSWERED, PacketBudget
from p2p_core.proof import Role
from p2p_core.wire.candidate import Address

from tests.core.two_peers import agreement, side
from tests.model_settings import model_settings

SIDES = st.integers(0, 1)
NUMBERS = st.integers(0, 2**16)
SECONDS = st.sampled_from([0.001, 0.02, 0.05, 0.3, 1.0, 2.5])
LEFT = 60  # packets of the budget that there are for each address
STRANGER = Address.of("203.0.113.66", 666)


def both_agreements(*, equal: bool) -> list[Agreement]:
    """What both sides hold; with `equal` the mediator told both that they are the initiator."""
    if not equal:
        return [agreement(role) for role in Role]
    role = Role.INITIATOR
    return [Agreement.between(role, side(own), side(own.other)) for own in (role, role.other)]


# UDP.


@dataclass(frozen=True, slots=True)
class Datagram:
    """What is on its way to a side; over UDP it may come never, twice, or after later ones."""

    to: int  # side
    socket: int
    source: Address
    data: bytes


@dataclass(eq=False)
class UdpSide:
    """One machine, with a socket for each of its addresses, one of which the other side does not know."""

    machine: UdpPunch
    addresses: list[Address]
    sent: Counter[str] = field(default_factory=Counter)  # to an IP address, since an answer came from there
    answered: set[str] = field(default_factory=set)  # IP addresses whose budget is whole again
    found: int = 0
    exhausted: int = 0
    error: PunchwireError | None = None


class UdpModel(RuleBasedStateMachine):
    """Two machines, what is between them, and somebody who repeats what he hears from an address of his own."""

    equal = False

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.on_their_way: list[Datagram] = []
        self.heard: list[Datagram] = []
        self.dice = Random(1)
        self.chosen: Pair | None = None  # by the initiator
        self.is_taken = False  # by the responder

    @initialize(starts=st.tuples(*2 * [st.sampled_from([0.0, 0.1, 1.0])]), known=st.tuples(*2 * [st.integers(0, 2)]))
    def begin(self, starts: tuple[float, float], known: tuple[int, int]) -> None:
        """Each side knows some of the other's two addresses, which may be too few for a path."""
        addresses = [[Address.of(f"192.0.2.{10 * each + n}", 5000) for n in (1, 2)] for each in (1, 2)]
        self.sides = []
        for number, held in enumerate(both_agreements(equal=self.equal)):
            budget = PacketBudget()
            for address in (*addresses[1 - number], STRANGER):
                for _ in range(MAX_UNANSWERED - LEFT):
                    budget.spend(address.ip, 0.0)
            machine = UdpPunch(
                held.terms,
                addresses[1 - number][: known[number]],
                [4],
                observed=None,
                start=starts[number],
                round_trip=0.1,
                budget=budget,
                random=self.dice.random,
                fresh_nonce=self.dice.randbytes,
            )
            self.sides.append(UdpSide(machine, addresses[number]))
        self.act()

    def act(self) -> None:
        """Do what is due, and carry out what the machines want."""
        for number, each in enumerate(self.sides):
            deadline = each.machine.deadline()
            if deadline is not None and deadline <= self.now:
                each.machine.on_deadline(self.now)
            while (action := each.machine.next_action()) is not None:
                match action:
                    case udp_actions.Send(pair, data):
                        self.send(number, pair, data)
                    case udp_actions.Found():
                        each.found += 1
                    case udp_actions.Exhausted():
                        each.exhausted += 1
                    case udp_actions.Fail(error):
                        each.error = error

    def send(self, number: int, pair: Pair, data: bytes) -> None:
        each, other = self.sides[number], self.sides[1 - number]
        each.sent[pair.address.host] += 1
        if pair.address in other.addresses:
            # The second address of a side is where a NAT shows it to whoever it writes to there.
            source = each.addresses[other.addresses.index(pair.address)]
            self.on_their_way.append(Datagram(1 - number, 0, source, data))
            self.heard.append(self.on_their_way[-1])

    def arrive(self, datagram: Datagram) -> None:
        each = self.sides[datagram.to]
        before = self.answered(datagram.to)
        each.machine.receive(datagram.socket, datagram.data, datagram.source, self.now)
        if self.answered(datagram.to) != before:
            each.sent[datagram.source.host] = 0
            each.answered.add(datagram.source.host)
        self.act()

    def answered(self, number: int) -> int:
        return sum(when is None for _, when in self.sides[number].machine._sent.values())

    @precondition(lambda self: self.on_their_way)
    @rule(number=NUMBERS, again=st.booleans())
    def one_arrives(self, number: int, again: bool) -> None:
        index = number % len(self.on_their_way)
        self.arrive(self.on_their_way[index] if again else self.on_their_way.pop(index))

    @precondition(lambda self: self.on_their_way)
    @rule(count=st.integers(1, 8))
    def some_arrive_in_order(self, count: int) -> None:
        for _ in range(min(count, len(self.on_their_way))):
            self.arrive(self.on_their_way.pop(0))

    @precondition(lambda self: self.on_their_way)
    @rule(number=NUMBERS, count=st.integers(1, 20))
    def some_are_lost(self, number: int, count: int) -> None:
        index = number % len(self.on_their_way)
        del self.on_their_way[index : index + count]

    @precondition(lambda self: self.heard)
    @rule(number=NUMBERS, to=SIDES, flip=st.booleans(), ports=st.sampled_from([1, 1, 40]))
    def a_stranger_repeats(self, number: int, to: int, flip: bool, ports: int) -> None:
        """Some of what he has heard, the last of it most often, as it was or falsified, from some of his ports."""
        heard = [datagram for datagram in self.heard if datagram.to == to or number % 4 == 0]
        end = len(heard) - number % len(heard) if heard and number % 2 else len(heard)
        for count, datagram in enumerate(heard[max(0, end - max(ports, 5)) : end]):
            data = bytes([*datagram.data[:-1], datagram.data[-1] ^ flip])
            self.arrive(Datagram(to, 0, Address(STRANGER.ip, STRANGER.port + count % ports), data))

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [when for each in self.sides if (when := each.machine.deadline()) is not None]
            self.now = max(self.now, min([end, *due]))
            self.act()
            self.check_deadlines()
            if self.now >= end:
                return

    def check_deadlines(self) -> None:
        for each in self.sides:
            deadline = each.machine.deadline()
            assert deadline is None or deadline > self.now

    def nominate(self) -> None:
        """The initiator takes the best there is, and begins QUIC on it until something comes back."""
        initiator = self.sides[0]
        if self.chosen is None and (best := initiator.machine.best()) is not None:
            assert best.address in self.sides[1].addresses, "a path to a stranger"
            self.chosen = best
        if self.chosen is not None:
            self.send(0, self.chosen, initiator.machine.nomination(self.chosen))

    def is_probing(self, which: Callable[[Iterable[bool]], bool]) -> bool:
        """Whether any, or all, sides will probe something for a while yet."""
        ends = [[target.until for target in each.machine._targets.values()] for each in self.sides]
        return which(max(untils, default=0.0) > self.now + 0.5 for untils in ends)

    @rule()
    def the_initiator_nominates(self) -> None:
        self.nominate()

    @invariant()
    def it_holds(self) -> None:
        if not hasattr(self, "sides"):
            return
        for each in self.sides:
            assert each.found <= 1
            assert each.exhausted <= 1
            assert each.machine._learned <= MAX_LEARNED
            targets = each.machine._targets.values() if each.error is None else ()
            heard = [target for target in targets if target.heard is not None and target.round_trip is None]
            assert all(target.due < udp_punch.NEVER for target in heard if target.until > self.now), "it is not probed"
            assert all(count <= LEFT for host, count in each.sent.items() if host not in each.answered)
            assert each.sent[STRANGER.host] <= LEFT
            taken = [pair for pair in each.machine._targets if each.machine.is_nominated(pair)]
            assert all(pair.address.ip != STRANGER.ip for pair in taken)
        self.check_deadlines()
        self.check_nominated()

    def check_nominated(self) -> None:
        initiator, responder = self.sides
        nominated = [address for address in initiator.addresses if responder.machine.is_nominated(Pair(0, address))]
        if nominated:
            assert self.chosen is not None
            expected = initiator.addresses[responder.addresses.index(self.chosen.address)]
            assert nominated == [expected], "another path than the initiator's"
            self.is_taken = True

    def teardown(self) -> None:
        """Nothing is lost any more. Where there was time, and a way that both know, both end with it."""
        if not hasattr(self, "sides"):
            return
        had_time = not any(each.exhausted or each.sent.total() > LEFT // 2 for each in self.sides)
        is_open = self.is_probing(any)
        for _ in range(60):
            while self.on_their_way:
                self.arrive(self.on_their_way.pop(0))
            self.it_holds()
            self.nominate()
            if self.is_taken:
                break
            self.time_passes(0.1)
        assert self.is_taken or not (had_time and is_open)


TestUdp = UdpModel.TestCase
TestUdp.settings = model_settings(max_examples=100, steps=40)


class EqualRoles(UdpModel):
    """The mediator lied: whoever hears of the other side says so, and nobody finds a way."""

    equal = True

    def nominate(self) -> None:
        assert self.sides[0].machine.best() is None

    def arrive(self, datagram: Datagram) -> None:
        each, host = self.sides[datagram.to], datagram.source.host
        error, sent = each.error, each.sent[host]
        super().arrive(datagram)
        if datagram.source != STRANGER and datagram in self.heard and error is None:
            assert each.error is not None
            assert each.sent[host] > min(sent, LEFT - 1), "the other side may have missed all that came before"

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        quiet = not any(each.error or each.exhausted or each.sent.total() > LEFT // 2 for each in self.sides)
        had_time = quiet and self.is_probing(all)
        for _ in range(60):
            while self.on_their_way:
                self.arrive(self.on_their_way.pop(0))
            self.it_holds()
            self.time_passes(0.1)
        errors = [each.error for each in self.sides]
        assert all(error is None or isinstance(error, MediatorLied) for error in errors)
        assert not any(each.found for each in self.sides)
        if had_time:
            assert all(errors), "whoever hears it first lets the other know"


TestUdpWithEqualRoles = EqualRoles.TestCase
TestUdpWithEqualRoles.settings = model_settings(max_examples=30, steps=25)


# TCP.


@dataclass(eq=False)
class Connection:
    """One end; what was written there, and not read at the other, is in `written`."""

    side: int
    number: int
    dialled: Address | None
    other: "Connection | None" = None  # None: a stranger's
    written: deque[bytes] = field(default_factory=deque)
    hello: bytes = b""  # what was said first
    heard: bytes = b""
    is_open: bool = True


@dataclass(eq=False)
class TcpSide:
    """One machine, and what a driver holds for it."""

    machine: TcpPunch
    address: Address
    dialling: set[Address] = field(default_factory=set)
    ends: dict[int, Connection] = field(default_factory=dict)
    kept: Connection | None = None
    error: PunchwireError | None = None

    @property
    def is_over(self) -> bool:
        return self.kept is not None or self.error is not None


class TcpModel(RuleBasedStateMachine):
    """Two machines that dial each other; dials fail or connect, connections break, and strangers come in between."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.numbers = 0
        self.dice = Random(1)
        self.preambles: list[list[bytes]] = [[], []]  # of each side, that a stranger may have seen
        self.sides: list[TcpSide] = []
        addresses = [Address.of(f"192.0.2.{n}", 5000) for n in (1, 2)]
        for role, own, other in zip(Role, addresses, addresses[::-1], strict=True):
            machine = TcpPunch(
                agreement(role).terms,
                [other, STRANGER],
                start=0.0,
                round_trip=0.1,
                random=self.dice.random,
                fresh_nonce=self.dice.randbytes,
            )
            self.sides.append(TcpSide(machine, own))
        self.act()

    def act(self) -> None:
        for place, each in enumerate(self.sides):
            deadline = each.machine.deadline()
            if deadline is not None and deadline <= self.now:
                each.machine.on_deadline(self.now)
            while (action := each.machine.next_action()) is not None:
                assert not each.is_over or isinstance(action, tcp_punch.Close)
                match action:
                    case tcp_punch.Dial(address):
                        assert address not in each.dialling
                        each.dialling.add(address)
                    case tcp_punch.Abort(address):
                        each.dialling.remove(address)
                    case tcp_punch.Send(number, data):
                        each.ends[number].written.append(data)
                        each.ends[number].hello = each.ends[number].hello or data
                        self.preambles[place].append(data)
                    case tcp_punch.Close(number):
                        self.close(each, number)
                    case tcp_punch.Keep(number):
                        each.kept = each.ends[number]
                        for unwanted in [n for n in each.ends if n != number]:
                            self.close(each, unwanted)
                    case tcp_punch.Fail(error):
                        each.error = error
                        for unwanted in list(each.ends):
                            self.close(each, unwanted)

    def close(self, each: TcpSide, number: int) -> None:
        each.ends.pop(number).is_open = False

    def connect(self, number: int, dialled: Address | None) -> Connection:
        self.numbers += 1
        each = self.sides[number]
        end = each.ends[self.numbers] = Connection(number, self.numbers, dialled)
        return end

    def dials(self) -> list[tuple[int, Address]]:
        going = [(place, each) for place, each in enumerate(self.sides) if not each.is_over]
        return [(place, address) for place, each in going for address in sorted(each.dialling)]

    def ends(self) -> list[Connection]:
        return [end for each in self.sides if not each.is_over for end in each.ends.values()]

    @precondition(lambda self: self.dials())
    @rule(number=NUMBERS, outcome=st.sampled_from([None, None, None, Outcome.REFUSED, Outcome.UNREACHABLE]))
    def a_dial_ends(self, number: int, outcome: Outcome | None) -> None:
        dials = self.dials()
        place, address = dials[number % len(dials)]
        each, other = self.sides[place], self.sides[1 - place]
        each.dialling.discard(address)
        if outcome is not None:
            each.machine.dial_failed(address, outcome, self.now)
        else:
            ours = self.connect(place, address)
            if address == other.address and not other.is_over:
                theirs = self.connect(1 - place, None)
                ours.other, theirs.other = theirs, ours
                other.machine.connected(theirs.number, self.now)
            each.machine.connected(ours.number, self.now, dialled=address)
        self.act()

    @rule(place=SIDES)
    def a_stranger_connects(self, place: int) -> None:
        if not self.sides[place].is_over:
            end = self.connect(place, None)
            self.sides[place].machine.connected(end.number, self.now)
            self.act()

    @precondition(lambda self: self.ends())
    @rule(number=NUMBERS, size=st.sampled_from([1, 13, 40, 100]))
    def bytes_arrive(self, number: int, size: int) -> None:
        ends = self.ends()
        self.read(ends[number % len(ends)], size)

    def read(self, end: Connection, size: int) -> bool:
        each, written = self.sides[end.side], end.other.written if end.other is not None else deque()
        count = min(size, each.machine.wanted(end.number), sum(map(len, written)))
        if count == 0:
            return False
        data = b"".join(written)
        written.clear()
        written.append(data[count:])
        end.heard += data[:count]
        each.machine.received(end.number, data[:count])
        self.act()
        return True

    @precondition(lambda self: all(self.preambles))
    @rule(place=SIDES, number=NUMBERS, flip=st.sampled_from([False, False, True]))
    def a_stranger_repeats(self, place: int, number: int, flip: bool) -> None:
        """What a side has said first and last on a connection, or the other side to it, as it was or falsified."""
        each, heard = self.sides[place], self.preambles[place if number % 4 == 0 else 1 - place]
        if each.is_over:
            return
        if all(end.other is not None for end in each.ends.values()):
            self.a_stranger_connects(place)
        strangers = [end for end in each.ends.values() if end.other is None]
        end = strangers[number % len(strangers)]
        for data in (heard[number % len(heard)], heard[-1]):
            if each.machine.wanted(end.number) == len(data):
                end.heard += data
                each.machine.received(end.number, bytes([*data[:-1], data[-1] ^ flip]))
                self.act()

    @precondition(lambda self: self.ends())
    @rule(number=NUMBERS)
    def a_connection_breaks(self, number: int) -> None:
        """One side notices; the other reads what came before, or notices too."""
        ends = self.ends()
        end = ends[number % len(ends)]
        each = self.sides[end.side]
        del each.ends[end.number]
        end.is_open = False
        each.machine.lost(end.number, self.now, dialled=end.dialled)
        if end.dialled is not None:
            assert each.machine._targets[end.dialled].due < tcp_punch.NEVER, "it is not dialled again"
        self.act()

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            due = [when for each in self.sides if (when := each.machine.deadline()) is not None]
            self.now = max(self.now, min([end, *due]))
            self.act()
            self.check_deadlines()
            if self.now >= end:
                return

    def check_deadlines(self) -> None:
        for each in self.sides:
            deadline = each.machine.deadline()
            assert deadline is None or deadline > self.now

    @invariant()
    def it_holds(self) -> None:
        initiator, responder = self.sides
        if responder.kept is not None:
            assert initiator.kept is not None, "the responder follows the initiator"
            assert initiator.kept.heard == responder.kept.hello, "nominated for another connection"
            if initiator.kept.other is not None or responder.kept.other is not None:  # else a stranger handed all on
                assert responder.kept.other is initiator.kept
        self.check_deadlines()
        for each in self.sides:
            assert each.error is None or isinstance(each.error, NoPath)
            assert len(each.ends) <= tcp_punch.MAX_CONNECTIONS + 2

    def teardown(self) -> None:
        """Dials get through and nothing breaks any more: unless it was over before, both take the same connection."""
        is_open = not any(each.is_over for each in self.sides)
        for _ in range(200):
            for place, address in self.dials():
                if address == self.sides[1 - place].address and not any(each.is_over for each in self.sides):
                    self.a_dial_ends(self.dials().index((place, address)), None)
            while any(self.read(end, 100) for end in self.ends()):
                pass
            self.it_holds()
            if all(each.is_over for each in self.sides):
                break
            self.time_passes(0.1)
        assert all(each.is_over for each in self.sides)
        if is_open and self.now < tcp_punch.PUNCH_TIME:
            assert all(each.kept is not None for each in self.sides)


TestTcp = TcpModel.TestCase
TestTcp.settings = model_settings(max_examples=100, steps=40)
