"""TCP hole punching: when to dial what, which connection to keep. docs/protocol/punching.md.

Both sides listen and dial at the same time from one local port (simultaneous open, RFC 9293 §3.5, Figure 8;
Ford, Srisuresh & Kegel, "Peer-to-Peer Communication Across Network Address Translators", 2005, §4). Several
connections may come up; both sides say hello on each, and the initiator nominates the first on which the other's
hello verifies.

Where the other side may begin much later, we go on slowly until then: `patience`.

The driver carries out the actions of `next_action()` and reports what happened. Connections are numbered by it.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto

from p2p_core.errors import Malformed, MediatorLied, NoPath, PunchwireError
from p2p_core.machines.patience import KEPT, Wait, pause
from p2p_core.machines.port_guessing import takes_luck
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose, PunchTerms
from p2p_core.wire.candidate import Address
from p2p_core.wire.preamble import Preamble, PreambleKind
from p2p_core.wire.punch_record import NONCE_BYTES, RECORD_BYTES

__all__ = ["Abort", "Action", "Close", "Dial", "Fail", "Keep", "Outcome", "Send", "TcpPunch"]

PUNCH_TIME = 8.0  # s; a pair that can connect did so within 0.2 s in the lab, 5 % loss and slow links included in 8
MIN_CYCLE = 0.6  # s a dial may take before it is done again: a far NAT that dropped the first SYN passes the second
CYCLE_SPREAD = 0.25  # of the cycle, either way: two sides in step could miss each other for ever
REFUSED_PAUSE = 0.05  # s, ± half: an RST from a NAT whose mapping does not exist yet; it will in a moment
QUICK_RETRIES = 20  # a second of those, then as seldom as after other failures: it may be a third party, and no NAT
FAILED_PAUSE = 0.5  # s: no route, no such address: rarely cured, cheap to try again
PATIENT_INTERVAL = 5.0  # s; one at least falls into the 8 s for which the other side dials quickly
PATIENT_DIALS = 400  # to one IP address in all; the packet budget counts three packets each
PATIENT_DIALS_WITH_LUCK = 25  # as many where UDP ports are guessed
MAX_CONNECTIONS = 64  # accepted, and not yet chosen or dropped; strangers may knock, they may not exhaust us
NEVER = float("inf")


class Outcome(Enum):
    """How a dial failed."""

    REFUSED = "connection refused"
    TIMED_OUT = "no answer"
    UNREACHABLE = "cannot be reached"
    SPENT = "as many packets went there unanswered as may"


@dataclass(frozen=True, slots=True)
class Dial:
    """Start to connect to `address` from the punch port, if `leave` packets of the budget stay unspent."""

    address: Address
    leave: int = 0


@dataclass(frozen=True, slots=True)
class Abort:
    """Give up the dial to `address` that is under way."""

    address: Address


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes on a connection."""

    connection: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection; nothing more is to be reported of it."""

    connection: int


@dataclass(frozen=True, slots=True)
class Keep:
    """Done: TLS goes on this connection, whose preambles are all read and sent. The others are to be closed."""

    connection: int


@dataclass(frozen=True, slots=True)
class Fail:
    """Done: no connection came up, or it makes no sense to go on."""

    error: PunchwireError


Action = Dial | Abort | Send | Close | Keep | Fail


class _Expect(Enum):
    HELLO = auto()
    NOMINATION = auto()


@dataclass(slots=True)
class _Connection:
    nonce: bytes
    is_dialled: bool
    expect: _Expect = _Expect.HELLO
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Target:
    due: float  # when to dial, or when to give up the dial under way
    dialling: bool = False
    last: Outcome = Outcome.TIMED_OUT
    refusals: int = 0


class TcpPunch:
    """One attempt to get a TCP connection to the other peer."""

    def __init__(
        self,
        terms: PunchTerms,
        targets: Iterable[Address],
        *,
        start: float,
        round_trip: float,
        random: Callable[[], float],
        fresh_nonce: Callable[[int], bytes],
        wait: Wait | None = None,
    ) -> None:
        """Punch towards `targets` from `start` (s). `random` gives numbers in [0, 1), `fresh_nonce(n)` n bytes.

        `wait` is for a side that may begin later than at `start`.
        """
        self._role = terms.role
        self._random = random
        self._fresh_nonce = fresh_nonce
        self._cycle = max(MIN_CYCLE, 2 * round_trip)
        self._begin = self._end = self._quick = start
        self._pause = FAILED_PAUSE  # s between dials once an address had its time
        self._until = None if wait is None else wait.until
        self._targets: dict[Address, _Target] = {}
        self._connections: dict[int, _Connection] = {}
        self._actions: deque[Action] = deque()
        self._over = False
        self._aim(terms, targets, start)

    def learn(self, terms: PunchTerms, targets: Iterable[Address], now: float) -> None:
        """Begin anew with what is known of the other side from now on. What came up so far stays."""
        if not self._over:
            self._aim(terms, targets, now)

    def hurry(self, now: float) -> None:
        """Dial quickly again: the other side is there. Dials under way keep their time."""
        if self._over:
            return
        self._quick = now + PUNCH_TIME
        self._end = max(self._end, self._quick)
        for target in self._targets.values():
            target.refusals = 0
            if target.due < NEVER:
                target.due = min(target.due, now + self._cycle if target.dialling else now)

    def _aim(self, terms: PunchTerms, targets: Iterable[Address], now: float) -> None:
        purpose = PunchPurpose.TCP_PREAMBLE
        self._send_key = terms.send_key(purpose)
        self._receive_keys = terms.receive_keys(purpose)
        self._mirror_keys = terms.mirror_keys(purpose)
        self._targets |= {address: _Target(now) for address in targets if address not in self._targets}
        self._quick = now + PUNCH_TIME  # until when we dial quickly
        self._end = max(self._quick, self._until or self._quick)
        if self._until is not None:
            dials = PATIENT_DIALS_WITH_LUCK if takes_luck(terms, None) else PATIENT_DIALS
            self._pause = pause(PATIENT_INTERVAL, dials, self._targets, self._until - now)

    def next_action(self) -> Action | None:
        """Return what the driver is to do next, or None."""
        return self._actions.popleft() if self._actions else None

    def deadline(self) -> float | None:
        """When `on_deadline` is to be called; None once it is over."""
        return None if self._over else min([self._end, *(target.due for target in self._targets.values())])

    def on_deadline(self, now: float) -> None:
        """Dial and redial what is due; give up at the end."""
        if self._over:
            return
        if now >= self._end:
            tried = "; ".join(f"{address}: {target.last.value}" for address, target in self._targets.items())
            self._fail(NoPath(f"{tried or 'no address to dial'}, within {now - self._begin:.0f} s"))
            return
        for address, target in self._targets.items():
            if now < target.due:
                continue
            if target.dialling:
                self._actions.append(Abort(address))
            cycle, leave = (self._cycle, 0) if now < self._quick else (self._pause, KEPT)
            target.dialling, target.due = True, now + cycle * self._spread(CYCLE_SPREAD)
            self._actions.append(Dial(address, leave))

    def dial_failed(self, address: Address, outcome: Outcome, now: float) -> None:
        """Take note of a dial that came to nothing."""
        target = self._targets[address]
        target.dialling, target.last = False, outcome
        target.refusals += outcome is Outcome.REFUSED
        quickly = outcome is Outcome.REFUSED and target.refusals <= QUICK_RETRIES
        target.due = self._again(now, REFUSED_PAUSE * self._spread(0.5) if quickly else FAILED_PAUSE)

    def connected(self, connection: int, now: float, *, dialled: Address | None = None) -> None:
        """Take note of a connection that is open: accepted, or `dialled`."""
        if dialled is not None:
            target = self._targets[dialled]
            target.dialling, target.due = False, NEVER  # it stays; another dial would only disturb it
        if self._over or (dialled is None and not self._make_room()):
            self._actions.append(Close(connection))
            return
        nonce = self._fresh_nonce(NONCE_BYTES)
        self._connections[connection] = _Connection(nonce, is_dialled=dialled is not None)
        self._actions.append(Send(connection, self._preamble(PreambleKind.HELLO, nonce)))

    def lost(self, connection: int, now: float, *, dialled: Address | None = None) -> None:
        """Take note of a connection that closed or broke."""
        self._connections.pop(connection, None)
        if dialled is not None and not self._over:
            self._targets[dialled].due = self._again(now, FAILED_PAUSE)

    def wanted(self, connection: int) -> int:
        """How many bytes to read from a connection, at most: what follows a preamble is not ours."""
        held = self._connections.get(connection)
        return 0 if held is None or self._over else RECORD_BYTES - len(held.data)

    def received(self, connection: int, data: bytes) -> None:
        """Take `data`, at most `wanted(connection)` bytes."""
        held = self._connections[connection]
        held.data += data
        if self._over or len(held.data) < RECORD_BYTES:
            return
        record = bytes(held.data)
        held.data.clear()
        try:
            preamble = Preamble.decode(record, *self._receive_keys)
        except Malformed:
            self._stranger(connection, record)
            return
        self._said(connection, held, preamble)

    def _said(self, connection: int, held: _Connection, preamble: Preamble) -> None:
        hello = preamble.kind is PreambleKind.HELLO
        if preamble.role is self._role or hello is not (held.expect is _Expect.HELLO):
            self._drop(connection)
        elif hello and self._role is Role.INITIATOR:
            self._actions.append(Send(connection, self._preamble(PreambleKind.NOMINATE, preamble.nonce)))
            self._keep(connection)
        elif hello:
            held.expect = _Expect.NOMINATION
        elif preamble.nonce == held.nonce:
            self._keep(connection)
        else:  # a nomination made for another connection and replayed here
            self._drop(connection)

    def _stranger(self, connection: int, record: bytes) -> None:
        try:
            Preamble.decode(record, *self._mirror_keys)
        except Malformed:
            self._drop(connection)
            return
        self._fail(MediatorLied(f"the mediator told both sides that they are the {self._role.value}"))

    def _make_room(self) -> bool:
        """Have room for one more accepted connection: one that said nothing yet goes, whichever chance names.

        Strangers who knock again and again then cannot keep the other peer out, as they could if the last who came
        or the first who came had to go.
        """
        if len(self._connections) < MAX_CONNECTIONS:
            return True
        silent = [n for n, held in self._connections.items() if held.expect is _Expect.HELLO and not held.is_dialled]
        if silent:
            self._drop(silent[int(self._random() * len(silent))])
        return bool(silent)

    def _preamble(self, kind: PreambleKind, nonce: bytes) -> bytes:
        return Preamble(kind, self._role, nonce).encode(self._send_key)

    def _keep(self, connection: int) -> None:
        self._over = True
        self._actions.append(Keep(connection))

    def _drop(self, connection: int) -> None:
        del self._connections[connection]
        self._actions.append(Close(connection))

    def _fail(self, error: PunchwireError) -> None:
        self._over = True
        self._actions.append(Fail(error))

    def _again(self, now: float, quickly: float) -> float:
        """Return when to dial again: after `quickly` seconds, or later if we are patient."""
        return now + (quickly if now < self._quick else self._pause)

    def _spread(self, part: float) -> float:
        return 1 + part * (2 * self._random() - 1)
