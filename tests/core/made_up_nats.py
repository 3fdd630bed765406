"""UDP punch machines behind NATs that exist only in memory, with a clock that only moves when something is due.

NATs are named and behave as in `tests/lab/kinds.py`, which has the same on real ones.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from random import Random

from p2p_core.agreement import Agreement, Side
from p2p_core.machines.patience import Wait
from p2p_core.machines.udp_actions import Close, Exhausted, Fail, Found, Open, Pair, Send
from p2p_core.machines.udp_punch import UdpPunch
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import Role
from p2p_core.punching import PunchSecret, PunchTerms
from p2p_core.targets import dialable
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping

from tests.core.two_peers import offer, side

__all__ = ["KINDS", "Internet", "Link", "Nat", "Node", "Ports", "Sees", "by_token", "two_nodes"]

SERVERS = Address.of("203.0.113.10", 54700), Address.of("203.0.113.11", 54700)
LIFE = 30.0  # s a mapping stays without packets from inside: the shortest there are
KEEPALIVE = 15.0  # s between questions to a STUN server while tokens travel
QUIC = b"\xc0 the first packet of a handshake"


class Ports(Enum):
    """How a NAT chooses the public port of a mapping; the last two map by destination."""

    KEPT = auto()
    OTHER = auto()
    SEQUENTIAL = auto()
    RANDOM = auto()


class Sees(Enum):
    """What a NAT looks at before it lets a packet in."""

    NOTHING = auto()
    ADDRESS = auto()
    ADDRESS_AND_PORT = auto()


@dataclass(frozen=True, slots=True)
class Kind:
    """The behaviour of one NAT."""

    ports: Ports = Ports.KEPT
    sees: Sees = Sees.ADDRESS_AND_PORT
    spoils: bool = False  # answers itself what it does not let in, and keeps that port from those behind it


_HOME, _CARRIER, _SYMMETRIC = Kind(), Kind(Ports.OTHER), Kind(Ports.RANDOM)
KINDS: dict[str, tuple[Kind, ...]] = {
    "none": (),
    "full-cone": (Kind(sees=Sees.NOTHING),),
    "restricted": (Kind(sees=Sees.ADDRESS),),
    "port-restricted": (_HOME,),
    "pr-nopreserve": (_CARRIER,),
    "pr-open": (Kind(spoils=True),),
    "symmetric": (_SYMMETRIC,),
    "sym-seq": (Kind(Ports.SEQUENTIAL),),
    "cgnat": (_HOME, _CARRIER),
    "cgnat-sym": (_HOME, _SYMMETRIC),
}


@dataclass(slots=True)
class Clock:
    """What everybody's clock shows, in seconds."""

    now: float = 0.0


class Nat:
    """One NAT with one public address."""

    def __init__(self, public: str, kind: Kind, dice: Random, clock: Clock) -> None:
        self.ip = Address.of(public, 1).ip
        self._kind = kind
        self._dice = dice
        self._clock = clock
        self._next = 30000
        self._ports: dict[tuple[Address, Address | None], int] = {}  # of a private address, towards one or all
        self._inside: dict[int, Address] = {}
        self._used: dict[tuple[Address, Address | None], float] = {}  # the same, when
        self._sent: dict[tuple[int, Address], float] = {}  # when last
        self._spoilt: dict[tuple[int, Address], float] = {}  # when last

    def out(self, private: Address, remote: Address) -> Address:
        """Return what `private` looks like to `remote` from now on."""
        by_destination = self._kind.ports in (Ports.SEQUENTIAL, Ports.RANDOM)
        flow = (private, remote)
        self._forget(flow)
        self._forget((private, None))
        key = flow if by_destination or flow in self._ports else (private, None)
        if key not in self._ports:
            self._map(key, private.port)
        if self._is_fresh(self._spoilt, (self._ports[key], remote)) and flow not in self._ports:
            key = flow
            self._map(key, self._drawn())
        self._sent[self._ports[key], remote] = self._used[key] = self._clock.now
        return Address(self.ip, self._ports[key])

    def into(self, port: int, remote: Address) -> Address | None:
        """Return to whom a packet from `remote` goes that came to `port`; None if it is not let in."""
        sees = self._kind.sees
        allowed = (
            port in self._inside
            if sees is Sees.NOTHING
            else any(
                port == at and remote.ip == to.ip and (sees is Sees.ADDRESS or remote.port == to.port)
                for at, to in self._sent_from(port, remote)
            )
        )
        if not allowed and self._kind.spoils:
            self._spoilt[port, remote] = self._clock.now
        return self._inside.get(port) if allowed else None

    def _sent_from(self, port: int, remote: Address) -> list[tuple[int, Address]]:
        if self._is_fresh(self._sent, (port, remote)):
            return [(port, remote)]
        return [to for to in self._sent if self._kind.sees is Sees.ADDRESS and self._is_fresh(self._sent, to)]

    def _is_fresh(self, times: dict[tuple[int, Address], float], key: tuple[int, Address]) -> bool:
        return key in times and self._clock.now - times[key] < LIFE

    def _forget(self, key: tuple[Address, Address | None]) -> None:
        """Drop a mapping that was not used for too long."""
        if key in self._ports and self._clock.now - self._used[key] >= LIFE:
            del self._inside[self._ports.pop(key)]

    def _map(self, key: tuple[Address, Address | None], private_port: int) -> None:
        port = private_port
        if self._kind.ports is Ports.SEQUENTIAL:
            port, self._next = self._next, self._next + 1
        elif self._kind.ports is not Ports.KEPT or port in self._inside:
            port = self._drawn()
        self._ports[key] = port
        self._inside[port] = key[0]

    def _drawn(self) -> int:
        while (port := self._dice.randrange(1024, 65536)) in self._inside:
            pass
        return port


@dataclass(frozen=True, slots=True)
class Link:
    """What happens to packets between the peers."""

    delay: float = 0.04  # s one way
    jitter: float = 0.0  # s more at most, so that packets overtake each other
    loss: float = 0.0  # of 1
    doubles: float = 0.0  # of 1


@dataclass(slots=True)
class Node:
    """One machine as a driver would drive it, and what became of it."""

    ip: str
    nats: list[Nat]  # outwards
    dice: Random
    start: float = 0.0
    role: Role = Role.INITIATOR
    listens_from: float = 0.0
    sockets: dict[int, Address] = field(default_factory=dict)
    most_sockets: int = 0
    sent: Counter[Address] = field(default_factory=Counter)
    found_at: float | None = None
    exhausted: str | None = None
    error: Exception | None = None
    nominated: Pair | None = None
    held: Agreement = field(init=False)
    budget: PacketBudget = field(default_factory=PacketBudget)
    machine: UdpPunch = field(init=False)

    def __post_init__(self) -> None:
        self.sockets[0] = Address.of(self.ip, self._port())

    def _port(self) -> int:
        return self.dice.randrange(32768, 61000)

    def outward(self, source: Address, remote: Address) -> Address:
        for nat in self.nats:
            source = nat.out(source, remote)
        return source

    def inward(self, target: Address, source: Address) -> Address | None:
        reached: Address | None = target
        for nat in reversed(self.nats):
            if reached is None or reached.ip != nat.ip:
                return None
            reached = nat.into(reached.port, source)
        return reached

    @property
    def public_ip(self) -> str:
        return str(self.nats[-1].ip) if self.nats else self.ip

    def gather(self) -> dict[str, object]:
        """Return what the offer says of UDP."""
        seen = list(dict.fromkeys(self.outward(self.sockets[0], server) for server in SERVERS))
        candidates = {
            address: Candidate(kind, Transport.UDP, address)
            for kind, addresses in (
                (CandidateKind.SERVER_REFLEXIVE, seen),
                (CandidateKind.HOST, [self.sockets[0]]),
            )
            for address in addresses
        }
        step = seen[-1].port - seen[0].port
        mapping = Mapping.INDEPENDENT if not step else Mapping.SEQUENTIAL if abs(step) <= 2 else Mapping.RANDOM
        return {
            "candidates": tuple(candidates.values()),
            "udp_mapping": mapping,
            "udp_port_step": step if mapping is Mapping.SEQUENTIAL else 0,
        }

    def open(self, number: int) -> None:
        self.sockets[number] = Address.of(self.ip, self._port())
        self.most_sockets = max(self.most_sockets, len(self.sockets))


class Internet:
    """Runs the nodes until the responder is nominated on a pair, both are exhausted, or one fails."""

    def __init__(self, initiator: Node, responder: Node, link: Link, dice: Random, clock: Clock) -> None:
        self.nodes = (initiator, responder)
        self.clock = clock
        self._link = link
        self._dice = dice
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    @property
    def now(self) -> float:
        return self.clock.now

    def run(self, until: float = 60.0) -> None:
        for _ in range(200_000):
            for node in self.nodes:
                self._carry_out(node)
            if (
                self.nodes[1].nominated
                or any(node.error for node in self.nodes)
                or all(node.exhausted for node in self.nodes)
            ):
                return
            deadlines = [deadline for node in self.nodes if (deadline := node.machine.deadline()) is not None]
            due = min([*deadlines, *(event[0] for event in self._events[:1])], default=until)
            assert due >= self.now, "a deadline in the past is never met"
            self.clock.now = due
            if self.now >= until:
                return
            if self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
            else:
                for node in self.nodes:
                    if (deadline := node.machine.deadline()) is not None and deadline <= self.now:
                        node.machine.on_deadline(self.now)
        raise AssertionError("the machines go round and round")

    def keep_alive(self, node: Node) -> None:
        """Ask a STUN server now and then, from here on."""
        node.outward(node.sockets[0], SERVERS[0])
        self.later(KEEPALIVE, partial(self.keep_alive, node))

    def later(self, delay: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), what))

    def send(self, node: Node, number: int, data: bytes, target: Address) -> None:
        """Send a packet on its way."""
        node.sent[target] += 1
        if number not in node.sockets:
            return
        other = self.nodes[self.nodes[0] is node]
        if node.nats and node.nats == other.nats and target.host == other.ip:
            self.later(0.001, lambda: self._arrive(other, node.sockets.get(number, target), target, data))
            return
        source = node.outward(node.sockets[number], target)
        if target.host != other.public_ip:
            return
        for _ in range(1 + (self._dice.random() < self._link.doubles)):
            if self._dice.random() >= self._link.loss:
                delay = self._link.delay + self._dice.random() * self._link.jitter
                self.later(delay, lambda: self._come_in(other, source, target, data))

    def _come_in(self, node: Node, source: Address, target: Address, data: bytes) -> None:
        reached = node.inward(target, source)
        if reached is not None:
            self._arrive(node, source, reached, data)

    def _arrive(self, node: Node, source: Address, reached: Address, data: bytes) -> None:
        for number, address in node.sockets.items():
            if address == reached:
                if data == QUIC:
                    if node.machine.is_nominated(Pair(number, source)):
                        node.nominated = Pair(number, source)
                elif self.now >= node.listens_from:
                    node.machine.receive(number, data, source, self.now)
                return

    def _nominate(self) -> None:
        """Begin QUIC on the best pair, as long as nothing of it arrives."""
        node = self.nodes[0]
        pair = node.machine.best()
        assert pair is not None
        self.send(node, pair.socket, node.machine.nomination(pair), pair.address)
        self.send(node, pair.socket, QUIC, pair.address)
        self.later(0.1, self._nominate)

    def _carry_out(self, node: Node) -> None:
        while (action := node.machine.next_action()) is not None:
            match action:
                case Send(pair, data):
                    self.send(node, pair.socket, data, pair.address)
                case Open(number, version):
                    assert version == 4
                    node.open(number)
                case Close(number):
                    del node.sockets[number]
                case Found():
                    assert node.found_at is None
                    node.found_at = self.now
                    if node is self.nodes[0]:
                        self._nominate()
                case Exhausted(why):
                    node.exhausted = why
                case Fail(error):
                    node.error = error


def two_nodes(
    initiator: str,
    responder: str,
    seed: int,
    *,
    skew: float = 0.02,
    link: Link = Link(),
    others: int = 0,
    same_lan: bool = False,
) -> Internet:
    """Return two peers behind NATs of these kinds, ready to punch.

    They start up to `skew` seconds apart; up to `others` mappings are taken by other programs behind the same NAT
    after each has asked its STUN servers.
    """
    dice, clock = Random(f"{initiator} {responder} {seed}"), Clock()
    nodes: list[Node] = []
    for number, (name, role) in enumerate(((initiator, Role.INITIATOR), (responder, Role.RESPONDER)), 1):
        kinds = KINDS[name]
        publics = [f"100.64.{number}.2", f"203.0.113.{100 + number}"][-len(kinds) :]
        nats = [Nat(*each, dice, clock) for each in zip(publics, kinds, strict=True)] if kinds else []
        ip = f"10.{number}.0.10" if kinds else f"203.0.113.{200 + number}"
        if same_lan and nodes:
            nats = nodes[0].nats
        nodes.append(Node(ip, nats, dice, dice.random() * skew, role))
    sides: dict[Role, Side] = {}
    for node in nodes:
        plain = side(node.role)
        sides[node.role] = replace(plain, offer=replace(plain.offer, **node.gather()))  # type: ignore[arg-type]
        for count in range(dice.randrange(others + 1)):
            node.outward(Address.of(node.ip, 1000 + count), Address.of("203.0.113.99", 443))
    for node, other in (nodes, nodes[::-1]):
        held = node.held = Agreement.between(node.role, sides[node.role], sides[node.role.other])
        node.machine = UdpPunch(
            held.terms,
            dialable(held.other.offer.candidates, Transport.UDP, own=held.own.offer.candidates),
            [4],
            observed=Address.of(other.public_ip, 12345),
            start=node.start,
            round_trip=2 * link.delay,
            budget=node.budget,
            random=dice.random,
            fresh_nonce=dice.randbytes,
        )
    return Internet(nodes[0], nodes[1], link, dice, clock)


def by_token(
    initiator: str,
    responder: str,
    seed: int,
    *,
    read_at: tuple[float | None, float | None],
    listens: bool = False,
    wait: float = 600.0,
    ahead: tuple[float, float] = (0.0, 0.0),
) -> Internet:
    """Return two peers with a token each, made now, who read the other's so many seconds later, or never.

    With `listens` they listen before that too. Their clocks are `ahead` (s) of what time it is.
    """
    internet = two_nodes(initiator, responder, seed, skew=0.0)
    secrets = {role: PunchSecret(role.value.encode(), b"s" * 32) for role in Role}
    for node, other, read, fast in zip(internet.nodes, internet.nodes[::-1], read_at, ahead, strict=True):
        own = PunchTerms(node.role, node.held.own.offer, offer(), (secrets[node.role],), by_token=True)
        both = replace(own, other=node.held.other.offer, secrets=(secrets[other.role], secrets[node.role]))
        targets = dialable(both.other.candidates, Transport.UDP, own=both.own.candidates)
        at_once = read is not None and not listens
        node.start = read or 0.0
        node.listens_from = node.start if at_once else 0.0
        node.machine = UdpPunch(
            both if at_once else own,
            targets if at_once else [],
            [4],
            observed=None,
            start=node.start if at_once else 0.0,
            round_trip=0.08,
            budget=node.budget,
            random=node.dice.random,
            fresh_nonce=node.dice.randbytes,
            wait=Wait(wait, fast),
        )
        if read is not None and listens:
            internet.later(read, partial(node.machine.learn, both, targets, read))
        internet.keep_alive(node)
    return internet
