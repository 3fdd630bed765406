"""Two punch machines on a network that exists only in memory, with a clock that only moves when something is due."""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_core.errors import PunchwireError
from p2p_core.machines.tcp_punch import Abort, Close, Dial, Fail, Keep, Outcome, Send, TcpPunch
from p2p_core.wire.candidate import Address

__all__ = ["End", "MadeUpNetwork", "Node", "Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of one dial: it fails as `outcome` says, or is never answered, or connects; after `delay` s."""

    delay: float
    outcome: Outcome | None = None
    connects: bool = True
    swallows: bool = False  # it connects to somebody who never says a word


@dataclass(slots=True)
class End:
    """One end of a connection."""

    pair: int
    delay: float
    dialled: Address | None
    other: tuple["Node", int] | None = None


@dataclass(slots=True)
class Node:
    """One machine as a driver would drive it, and what became of it."""

    machine: TcpPunch
    plan: Callable[[Address, int], Plan]  # (address, how many dials there were before) -> what becomes of it
    ends: dict[int, End] = field(default_factory=dict)
    dials: dict[Address, list[float]] = field(default_factory=dict)  # when each address was dialled
    under_way: dict[Address, int] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    kept: int | None = None  # pair
    error: PunchwireError | None = None

    @property
    def is_over(self) -> bool:
        return self.kept is not None or self.error is not None


class MadeUpNetwork:
    """Runs two nodes until both are over."""

    def __init__(self, one: Node, other: Node) -> None:
        self.nodes = (one, other)
        self.now = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def run(self) -> None:
        for _ in range(100_000):
            for node in self.nodes:
                self._carry_out(node)
            if all(node.is_over for node in self.nodes):
                return
            deadlines = [deadline for node in self.nodes if (deadline := node.machine.deadline()) is not None]
            due = min([*deadlines, *(event[0] for event in self._events[:1])])
            assert due >= self.now, "a deadline in the past is never met"
            self.now = due
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            else:
                for node in self.nodes:
                    node.machine.on_deadline(self.now)
        raise AssertionError("the machines go round and round")

    def _later(self, delay: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), what))

    def _carry_out(self, node: Node) -> None:
        while (action := node.machine.next_action()) is not None:
            match action:
                case Dial(address):
                    self._dial(node, address)
                case Abort(address):
                    del node.under_way[address]
                case Send(number, data):
                    node.sent.append(data)
                    self._send(node, number, data)
                case Close(number):
                    self._close(node, number)
                case Keep(number):
                    node.kept = node.ends[number].pair
                    for unwanted in [n for n in node.ends if n != number]:
                        self._close(node, unwanted)
                case Fail(error):
                    node.error = error
                    for unwanted in list(node.ends):
                        self._close(node, unwanted)

    def _dial(self, node: Node, address: Address) -> None:
        assert address not in node.under_way, "dialled twice at once"
        times = node.dials.setdefault(address, [])
        plan = node.plan(address, len(times))
        times.append(self.now)
        attempt = node.under_way[address] = next(self._numbers)
        other = self.nodes[1] if node is self.nodes[0] else self.nodes[0]

        def arrives() -> None:
            if node.under_way.get(address) != attempt:
                return
            del node.under_way[address]
            if plan.outcome is not None:
                node.machine.dial_failed(address, plan.outcome, self.now)
                return
            pair = next(self._numbers)
            mine, theirs = next(self._numbers), next(self._numbers)
            node.ends[mine] = End(pair, plan.delay, address)
            if not plan.swallows and not other.is_over:
                other.ends[theirs] = End(pair, plan.delay, None, (node, mine))
                node.ends[mine].other = (other, theirs)
                other.machine.connected(theirs, self.now)
            node.machine.connected(mine, self.now, dialled=address)

        if plan.outcome is not None or plan.connects:
            self._later(plan.delay, arrives)

    def _send(self, node: Node, number: int, data: bytes) -> None:
        end = node.ends[number]

        def arrives() -> None:
            assert end.other is not None
            receiver, its = end.other
            rest = data
            while its in receiver.ends and rest and (wanted := receiver.machine.wanted(its)):
                receiver.machine.received(its, rest[:wanted])
                rest = rest[wanted:]

        if end.other is not None:
            self._later(end.delay, arrives)

    def _close(self, node: Node, number: int) -> None:
        end = node.ends.pop(number)

        def arrives() -> None:
            assert end.other is not None
            receiver, its = end.other
            if its in receiver.ends and not receiver.is_over:
                dialled = receiver.ends.pop(its).dialled
                receiver.machine.lost(its, self.now, dialled=dialled)

        if end.other is not None:
            self._later(end.delay, arrives)
