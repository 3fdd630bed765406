"""Which ports a NAT will take next: prediction where it counts up, luck where it draws. docs/protocol/punching.md.

A NAT with address-dependent mapping gives every new destination a new port, so the port a STUN server saw is not the
one the other peer has to reach. Where ports follow each other, the next ones are probed (prediction). Where they are
random, the side behind that NAT opens many sockets, and the other side probes many ports: some pair meets, as
birthdays do. Both go only to an IP address that the other side signed *and* the mediator sees it at, or that its token
names.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from p2p_core.proof import Role
from p2p_core.punching import PunchTerms
from p2p_core.targets import dialable
from p2p_core.wire.candidate import Address, CandidateKind, Transport
from p2p_core.wire.offer import Mapping, Offer

__all__ = ["BIRTHDAY_TIME", "CountingSide", "EasySide", "HardSide", "birthday", "counting", "predicted", "takes_luck"]

PREDICTED = 24  # ports; what else this and other programs open meanwhile takes some of them, on both sides
BIRTHDAY_TIME = 5.0  # s; by then ten pairs have met on average, so that one in 20 000 tries fails
SPRAY = 500  # ports the easy side probes in a second
GUESSES_PER_TICK, GUESS_TICK = 5, 0.01  # no home router is troubled by that
SPRAYS = (0.0, 1.0, 2.0, 3.0, 4.0)  # s from the start at which one begins
PATIENT_SPRAYS = (0.0, 10.0, 30.0, 80.0, 180.0)  # of one that does not know when the other side begins, nor if it has
GUESSES = len(SPRAYS) * SPRAY
SOCKETS = 256  # the hard side has open at once; with 500 guesses a second, two pairs meet each second
SOCKETS_PER_TICK, SOCKET_TICK = 10, 0.01  # s; all of them in a quarter of a second
LEAD = 0.6  # s the easy side is ahead: a router with an open input chain spoils what comes too early, see HardSide
FRESH_SOCKETS, FRESH_PAUSE = 3, 0.25  # s; of the 24 predicted ports, three sockets take six at most
FRESH_TIME = 2.0  # s for the last one to be heard
HARD_TARGETS = 2  # addresses each socket of the hard side probes: an easy NAT has one, a second if it just moved
RENEWAL = 1.0  # s after which the hard side takes other sockets, and thus other ports
PATIENT_RENEWAL = 25.0  # s; the shortest UDP mappings seen last 30 s
MAX_OPENED = 3 * SOCKETS  # carrier NATs grant a subscriber 1 000 ports and more, and give them back late
_FIRST_PORT, _PORTS = 1024, 65536 - 1024


def predicted(terms: PunchTerms, observed: Address | None) -> list[Address]:
    """Return the addresses the other side's NAT maps it to next, most likely first; none where it does not count.

    If both NATs count, each probe takes a port as well: our p-th probe leaves from our p-th next port, or a few
    later if something else took some, and must go where the other side's probe to just that port leaves from.
    With the initiator probing ports 1, 2, 3, … and the responder 1, 3, 5, …, just one pair meets whatever was taken
    in between: where the initiator lost m and the responder n, the probe with number m + 2n + 1.
    """
    other, step = terms.other, terms.other.udp_port_step
    seen = _seen(terms, observed)
    if other.udp_mapping is not Mapping.SEQUENTIAL or not step or not seen:
        return []
    last = max(seen, key=lambda address: address.port * step)
    both = terms.own.udp_mapping is Mapping.SEQUENTIAL
    stride = 2 if both and terms.role is Role.RESPONDER else 1
    ports = (last.port + step * (1 + stride * count) for count in range(PREDICTED))
    return [Address(last.ip, _FIRST_PORT + (port - _FIRST_PORT) % _PORTS) for port in ports]


def birthday(
    terms: PunchTerms,
    observed: Address | None,
    start: float,
    random: Callable[[], float],
    wait: float | None = None,
) -> "EasySide | HardSide | None":
    """Return our part in birthday probing from `start` (s) on, or None where just one side is not random.

    With `wait` (s, a moment) the other side may begin at any time until then.
    """
    if not takes_luck(terms, observed):
        return None
    seen = _seen(terms, observed)
    until = start + BIRTHDAY_TIME if wait is None else wait
    if _is_hard(terms.other):
        return EasySide(seen[0], start, until, random, SPRAYS if wait is None else PATIENT_SPRAYS)
    if wait is None:
        return HardSide(seen[:HARD_TARGETS], start + LEAD, until)
    return HardSide(seen[:HARD_TARGETS], start, until, PATIENT_RENEWAL, most=None)


def takes_luck(terms: PunchTerms, observed: Address | None) -> bool:
    """Say whether just one side's ports are random, and known well enough to be guessed at."""
    own, other = terms.own, terms.other
    one_is_hard = (_is_easy(own) and _is_hard(other)) or (_is_hard(own) and _is_easy(other))
    return one_is_hard and bool(_seen(terms, observed))


@dataclass(slots=True)
class EasySide:
    """Probes random ports of the other side's address from one socket, none twice."""

    seen: Address  # where a STUN server saw the other side: the port means nothing
    due: float
    until: float
    random: Callable[[], float]
    sprays: tuple[float, ...] = SPRAYS  # s from the start at which one begins
    count: int = 0
    _begin: float = field(init=False)
    _ports: list[int] = field(default_factory=lambda: list(range(_FIRST_PORT, _FIRST_PORT + _PORTS)))

    def __post_init__(self) -> None:
        self._begin = self.due

    @property
    def version(self) -> int:
        """Of IP."""
        return self.seen.ip.version

    @property
    def said(self) -> str:
        """What was tried, for people."""
        return f"{self.count} random ports of {self.seen.ip}"

    def step(self, now: float) -> list[Address]:
        """Return the addresses to probe now, and set `due` to when to come back."""
        self.due = max(self.due + GUESS_TICK, now)  # what a slow moment missed is not made good in a burst
        number = GUESSES_PER_TICK
        self.count += number
        if self.count % SPRAY == 0:
            sprays = self.sprays[self.count // SPRAY :]
            self.due = max(self.due, self._begin + sprays[0]) if sprays else self.until
        return [Address(self.seen.ip, self._draw()) for _ in range(number)]

    def _draw(self) -> int:
        ports, at = self._ports, int(self.random() * len(self._ports))
        ports[at], ports[-1] = ports[-1], ports[at]
        return ports.pop()


@dataclass(slots=True)
class HardSide:
    """Sends one probe from each of many sockets, and begins again with new ones after `renewal` seconds.

    Not the same ones again: where the other side's router answered a probe itself because nothing had been sent to
    that port before, the pair is spoilt for good; new ones meet the ports that were probed meanwhile.
    """

    targets: list[Address]
    due: float
    until: float
    renewal: float = RENEWAL
    most: int | None = MAX_OPENED  # None: as many as the packet budget lets
    count: int = 0

    @property
    def version(self) -> int:
        """Of IP."""
        return self.targets[0].ip.version

    @property
    def said(self) -> str:
        """What was tried, for people."""
        return f"{self.targets[0].ip} from {self.count} ports"

    @property
    def renews(self) -> bool:
        """Whether what was opened before is to be closed now."""
        return self.count > 0 and self.count % SOCKETS == 0

    def step(self, now: float) -> int:
        """Return how many sockets to open and probe from now, and set `due` to when to come back."""
        number = min(SOCKETS_PER_TICK, SOCKETS - self.count % SOCKETS)
        self.count += number
        self.due = self.until if self.count == self.most else now + (self.renewal if self.renews else SOCKET_TICK)
        return number


@dataclass(slots=True)
class CountingSide:
    """Behind a NAT that counts: takes a fresh socket where the first one did not get through, and then another one.

    A router with an open input chain that got our first probe before it let out one to us has spoilt that pair. It
    has let out some to our next ports by then, as its peer predicts them.
    """

    targets: list[Address]
    due: float
    until: float
    count: int = 0
    renews: bool = False

    @property
    def version(self) -> int:
        """Of IP."""
        return self.targets[0].ip.version

    @property
    def said(self) -> str:
        """What was tried, for people; nothing of its own."""
        return ""

    def step(self, now: float) -> int:
        """Return how many sockets to open and probe from now, and set `due` to when to come back."""
        self.count += 1
        self.due = now + FRESH_PAUSE if self.count < FRESH_SOCKETS else self.until
        return 1


def counting(terms: PunchTerms, observed: Address | None, start: float) -> CountingSide | None:
    """Return what else to try from `start` (s) on, if our NAT counts and the other side is where STUN saw it."""
    seen = _seen(terms, observed)
    if terms.own.udp_mapping is not Mapping.SEQUENTIAL or not seen:
        return None
    return CountingSide(seen[:HARD_TARGETS], start, start + FRESH_TIME)


def _is_hard(side: Offer) -> bool:
    return side.udp_mapping is Mapping.RANDOM


def _is_easy(side: Offer) -> bool:
    """Whether a side is reached at the port that STUN saw; if one server alone was asked, it is worth a try."""
    mapping = side.udp_mapping
    kinds = {candidate.kind for candidate in side.candidates if candidate.transport is Transport.UDP}
    seen = CandidateKind.SERVER_REFLEXIVE in kinds
    return mapping is Mapping.INDEPENDENT or (mapping is Mapping.UNKNOWN and seen)


def _seen(terms: PunchTerms, observed: Address | None) -> list[Address]:
    """Return where STUN servers saw the other side's UDP socket, as far as the mediator sees it at that IP address too.

    With tokens that is the first address that its token names so, or one of its own that is public. At an address that
    may not be dialled nobody guesses.
    """
    allowed = dialable(terms.other.candidates, Transport.UDP, own=terms.own.candidates)
    candidates = [
        candidate
        for candidate in terms.other.candidates
        if candidate.transport is Transport.UDP and candidate.address in allowed
    ]
    if terms.by_token:
        reflexive = [one.address for one in candidates if one.kind is CandidateKind.SERVER_REFLEXIVE]
        public = [one.address for one in candidates if one.kind is CandidateKind.HOST and one.address.ip.is_global]
        observed = next(iter(reflexive + public), None)
    return [
        candidate.address
        for candidate in candidates
        if candidate.kind in (CandidateKind.SERVER_REFLEXIVE, CandidateKind.HOST)
        and observed is not None
        and candidate.address.ip == observed.ip
    ]
