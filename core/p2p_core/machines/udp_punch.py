"""UDP hole punching: what to probe when, what to answer, which pair is best. docs/protocol/punching.md.

Both sides probe each other's addresses at the same time, so that each NAT takes the other's packets for answers
(Ford, Srisuresh & Kegel, "Peer-to-Peer Communication Across Network Address Translators", 2005, §3). An authentic
probe is answered, and where it came from is probed in turn, as a NAT may show the other peer at an address it does
not know itself (peer-reflexive, RFC 8445 §7.2.5.3.1). A pair of our socket and an address is *valid* once an answer
came to a probe of ours on just that pair. Where plain probing cannot help, ports are guessed: `port_guessing`.

Where the other side may begin much later, we go on slowly until then: `patience`.

The driver numbers the sockets it has from 0 and carries out the actions of `next_action()`. A packet that is not
what it should be is dropped, and changes nothing; what is remembered has bounds.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from p2p_core.errors import Malformed, MediatorLied
from p2p_core.machines.patience import BEATS, KEPT, KEPT_BY_GUESSING, MINUTE, Wait, beat, pause
from p2p_core.machines.port_guessing import CountingSide, EasySide, HardSide, birthday, counting, predicted, takes_luck
from p2p_core.machines.udp_actions import Action, Close, Exhausted, Fail, Found, Open, Pair, Send
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose, PunchTerms
from p2p_core.wire.candidate import Address
from p2p_core.wire.offer import Mapping
from p2p_core.wire.probe import Probe, ProbeKind
from p2p_core.wire.punch_record import NONCE_BYTES

__all__ = ["UdpPunch"]

PLAIN_TIME = 2.0  # s; pairs that can connect did so within 0.2 s in the lab, the rest is for loss and late starters
PLAIN_INTERVAL = 0.05  # s between probes to one address; oftener gains nothing, the common start counts
PREDICTION_TIME = 3.0  # s
PREDICTION_INTERVAL = 0.1  # s; two dozen addresses each time
SPREAD = 0.1  # of an interval, either way: two sides in step could lose the same packets for ever
PLAIN_ALONE = 0.3  # s, or two round trips: what needs no luck is direct by then, and no port was guessed in vain
PATIENT_INTERVAL = 10.0  # s; UDP mappings last 30 s at least, and one packet of three may be lost
PATIENT_PROBES = 600  # to one IP address in all
PATIENT_BEATS = 800  # likewise on the beat: two of its ports for an hour
PATIENT_PROBES_WITH_LUCK = 75  # as many where ports are guessed, which takes 2 500
MAX_LEARNED = 16  # addresses that no offer names; an attacker who repeats our packets may not make us probe more
IPV4_HANDICAP = 1.25  # how much longer a round trip over IPv6 may be to be taken before IPv4 (RFC 8305's spirit)
NEVER = float("inf")


@dataclass(slots=True)
class _Target:
    """A pair that is probed, every `interval` seconds from `due` on, until `until` or until it is valid."""

    interval: float
    due: float
    until: float
    heard: bytes | None = None  # the nonce of the last authentic probe from there
    is_nominated: bool = False  # responder: the initiator takes it
    round_trip: float | None = None  # s; the pair is valid


class UdpPunch:
    """One attempt to find ways to the other peer over UDP."""

    def __init__(
        self,
        terms: PunchTerms,
        targets: Iterable[Address],
        versions: Sequence[int],
        *,
        observed: Address | None,
        start: float,
        round_trip: float,
        budget: PacketBudget,
        random: Callable[[], float],
        fresh_nonce: Callable[[int], bytes],
        wait: Wait | None = None,
    ) -> None:
        """Probe `targets` from `start` (s) on, from sockets of these IP `versions`.

        `observed` is where the mediator sees the other side; without it ports are guessed only where a token says.
        `round_trip` is in seconds; `random` gives numbers in [0, 1), `fresh_nonce(n)` n bytes. `wait` is for a side
        that may begin later than at `start`.
        """
        self._role = terms.role
        self._budget = budget
        self._random = random
        self._fresh_nonce = fresh_nonce
        self._socket_of = {version: number for number, version in reversed(list(enumerate(versions)))}
        self._next_socket = len(versions)
        self._opened: set[int] = set()  # sockets that were asked for, and not closed since
        # Probes by nonce, with when if they are not answered; as many as were sent, so it is bounded too.
        self._sent: dict[bytes, tuple[Pair, float | None]] = {}
        self._targets: dict[Pair, _Target] = {}
        self._learned = 0
        self._silenced: set[Address] = set()  # what the budget kept us from
        self._actions: deque[Action] = deque()
        self._over = self._is_exhausted = False
        self.is_heard = False  # whether something authentic came, from anywhere
        self._begin = start
        self._wait = wait
        # When nothing is left to try; later if something comes up.
        self._end = start + PLAIN_TIME if wait is None else wait.until
        self._pause: float | None = None  # s between probes once an address had its time; None: the beat says when
        self._alone = max(PLAIN_ALONE, 2 * round_trip)
        self._observed = observed
        self._guesses = ""  # what was guessed, for people
        self._aim(terms, targets, start)

    def learn(self, terms: PunchTerms, targets: Iterable[Address], now: float) -> None:
        """Begin anew with what is known of the other side from now on. What came up so far stays."""
        self._aim(terms, targets, now)

    def _aim(self, terms: PunchTerms, targets: Iterable[Address], now: float) -> None:
        purpose = PunchPurpose.UDP_PROBE
        self._send_key = terms.send_key(purpose)
        self._receive_keys = terms.receive_keys(purpose)
        self._mirror_keys = terms.mirror_keys(purpose)
        self._predicted = predicted(terms, self._observed)
        self._add(self._predicted, PREDICTION_INTERVAL, now, now + PREDICTION_TIME)
        self._add(targets, PLAIN_INTERVAL, now, now + PLAIN_TIME)
        self._guesser = None if self.best() is not None else self._guessing(terms, now + self._alone)
        if self._guesser is not None:
            self._end = max(self._end, self._guesser.until)
        if self._wait is not None:
            self._pause = self._patience(terms, self._wait.until - now)

    def _patience(self, terms: PunchTerms, wait: float) -> float | None:
        """Return the pause between probes of an address in a `wait` (s), or None where there is time for the beat.

        A NAT that counts has predicted ports, many and each good for a moment: those need no silence but luck.
        """
        addresses = [pair.address for pair in self._targets]
        if takes_luck(terms, self._observed):
            return pause(PATIENT_INTERVAL, PATIENT_PROBES_WITH_LUCK, addresses, wait)
        counts = Mapping.SEQUENTIAL in (terms.own.udp_mapping, terms.other.udp_mapping)
        interval = MINUTE / len(BEATS)
        has_time = pause(interval, PATIENT_BEATS, addresses, wait) == interval
        return None if has_time and not counts else pause(PATIENT_INTERVAL, PATIENT_PROBES, addresses, wait)

    def _guessing(self, terms: PunchTerms, start: float) -> EasySide | HardSide | CountingSide | None:
        lucky = birthday(terms, self._observed, start, self._random, None if self._wait is None else self._wait.until)
        guesser = lucky or counting(terms, self._observed, start)
        return guesser if guesser is not None and guesser.version in self._socket_of else None

    def next_action(self) -> Action | None:
        """Return what the driver is to do next, or None."""
        return self._actions.popleft() if self._actions else None

    def deadline(self) -> float | None:
        """When `on_deadline` is to be called; None if nothing is due any more."""
        if self._over:
            return None
        due = [target.due for target in self._targets.values()]
        if self._guesser is not None:
            due.append(self._guesser.due)
        if not self._is_exhausted:
            due.append(self._end)
        moment = min(due, default=NEVER)
        return None if moment == NEVER else moment

    def on_deadline(self, now: float) -> None:
        """Probe what is due; say so when nothing is left to try."""
        if self._over:
            return
        for pair, target in self._targets.items():
            if now >= (target.until if self._wait is None else max(target.until, self._wait.until)):
                target.due = NEVER
            elif now >= target.due:
                self._probe(pair, target, now)
        if self._guesser is not None and now >= min(self._guesser.due, self._guesser.until):
            self._guess(self._guesser, now)
        if now >= self._end and not self._is_exhausted:
            self._exhaust()

    def receive(self, socket: int, data: bytes, source: Address, now: float) -> None:
        """Take a datagram that came to our `socket` from `source`."""
        if self._over:
            return
        try:
            said = Probe.decode(data, *self._receive_keys)
        except Malformed:
            self._stranger(Pair(socket, source), data, now)
            return
        if said.role is self._role:
            return
        self.is_heard = True
        pair = Pair(socket, source)
        was_found = self.best() is not None
        match said.kind:
            case ProbeKind.PROBE:
                self._probed(pair, said.nonce, now)
            case ProbeKind.ANSWER:
                self._answered(pair, said.nonce, now)
            case ProbeKind.NOMINATE:
                self._nominated(pair, said.nonce)
        if not was_found and self.best() is not None:
            self._stop_guessing()
            self._actions.append(Found())

    def is_nominated(self, pair: Pair) -> bool:
        """Whether the initiator has nominated `pair`: the responder takes QUIC from nowhere else."""
        target = self._targets.get(pair)
        return target is not None and target.is_nominated

    def nomination(self, pair: Pair) -> bytes:
        """Return the datagram with which the initiator nominates `pair`, one that `best` returned."""
        nonce = self._targets[pair].heard
        assert nonce is not None
        return Probe(ProbeKind.NOMINATE, self._role, nonce).encode(self._send_key)

    def best(self) -> Pair | None:
        """Return the valid pair with the shortest round trip, IPv6 before IPv4 where they are alike.

        One on which the other side was not heard yet cannot be nominated; it will be heard in a moment.
        """
        valid = {
            pair: target.round_trip * (IPV4_HANDICAP if pair.address.ip.version == 4 else 1.0)
            for pair, target in self._targets.items()
            if target.round_trip is not None and target.heard is not None
        }
        return min(valid, key=lambda pair: valid[pair], default=None)

    def finish(self) -> None:
        """Do nothing more: a path was taken, here or elsewhere. All sockets are the driver's to close."""
        self._over = True
        self._actions.clear()

    def _add(self, addresses: Iterable[Address], interval: float, now: float, until: float) -> None:
        for address in addresses:
            if (socket := self._socket_of.get(address.ip.version)) is not None:
                self._targets.setdefault(Pair(socket, address), _Target(interval, due=now, until=until))
                self._end = max(self._end, until)

    def _probe(self, pair: Pair, target: _Target, now: float) -> None:
        is_patient = now >= target.until
        interval = self._pause if is_patient else target.interval
        if interval is not None:
            target.due = now + interval * (1 + SPREAD * (2 * self._random() - 1))
        else:
            assert self._wait is not None
            target.due = beat(now, self._wait, self._role)
        self._send_probe(pair, now, leave=KEPT if is_patient else 0)

    def _send_probe(self, pair: Pair, now: float, leave: int = 0) -> bool:
        nonce = self._fresh_nonce(NONCE_BYTES)
        self._sent[nonce] = pair, now
        return self._send(pair, ProbeKind.PROBE, nonce, now, leave)

    def _send(self, pair: Pair, kind: ProbeKind, nonce: bytes, now: float, leave: int = 0) -> bool:
        """Send unless as much went there unanswered as may, all but `leave` packets."""
        if not self._budget.spend(pair.address.ip, now, leave=leave):
            self._silenced.add(pair.address)
            return False
        self._actions.append(Send(pair, Probe(kind, self._role, nonce).encode(self._send_key)))
        return True

    def _probed(self, pair: Pair, nonce: bytes, now: float) -> None:
        """Answer; the first time, probe back at once."""
        target = self._targets.get(pair)
        if target is None:
            if self._learned >= MAX_LEARNED:
                return
            self._learned += 1
            target = self._targets[pair] = _Target(PLAIN_INTERVAL, due=now, until=now)
        self._send(pair, ProbeKind.ANSWER, nonce, now)
        was_heard, target.heard = target.heard is not None, nonce
        if was_heard:
            return
        self._end = max(self._end, now + PLAIN_TIME)
        if target.round_trip is None:
            target.interval, target.until = PLAIN_INTERVAL, max(target.until, now + PLAIN_TIME)
            self._probe(pair, target, now)

    def _answered(self, pair: Pair, nonce: bytes, now: float) -> None:
        """Take note that a pair is valid, if this answers what was sent on it."""
        sent_on, when = self._sent.get(nonce, (None, None))
        if sent_on != pair or when is None:
            return
        self._sent[nonce] = pair, None
        self._budget.answered(pair.address.ip, now)
        target = self._targets.setdefault(pair, _Target(PLAIN_INTERVAL, due=NEVER, until=now))  # a guess has none yet
        target.round_trip = now - when if target.round_trip is None else min(now - when, target.round_trip)
        target.due = NEVER

    def _nominated(self, pair: Pair, nonce: bytes) -> None:
        """Follow the initiator: its nonce ties the nomination to a probe that this pair alone was sent."""
        sent_on, _ = self._sent.get(nonce, (None, None))
        if sent_on == pair and (target := self._targets.get(pair)) is not None:
            target.is_nominated = target.heard is not None

    def _guess(self, guesser: CountingSide | EasySide | HardSide, now: float) -> None:
        if now >= guesser.until:
            self._stop_guessing()
            return
        leave = 0 if self._wait is None else KEPT_BY_GUESSING
        if isinstance(guesser, EasySide):
            socket = self._socket_of[guesser.version]
            sent = [self._send_probe(Pair(socket, address), now, leave) for address in guesser.step(now)]
        else:
            if guesser.renews:
                self._close_unlucky()
            sockets = [self._open(guesser.version) for _ in range(guesser.step(now))]
            pairs = [Pair(one, address) for one in sockets for address in guesser.targets]
            sent = [self._send_probe(pair, now, leave) for pair in pairs]
        if not all(sent):
            self._stop_guessing()

    def _open(self, version: int) -> int:
        number, self._next_socket = self._next_socket, self._next_socket + 1
        self._opened.add(number)
        self._actions.append(Open(number, version))
        return number

    def _stop_guessing(self) -> None:
        if self._guesser is not None:
            self._guesses, self._guesser = self._guesser.said, None
            self._close_unlucky()

    def _close_unlucky(self) -> None:
        """Close the sockets that were opened and heard nothing. One of the others may be nominated yet."""
        lucky = {pair.socket for pair, target in self._targets.items() if target.heard or target.round_trip is not None}
        for number in sorted(self._opened - lucky):
            self._actions.append(Close(number))
        self._opened &= lucky

    def _stranger(self, pair: Pair, data: bytes, now: float) -> None:
        try:
            Probe.decode(data, *self._mirror_keys)
        except Malformed:
            return
        self._send_probe(pair, now)  # so that the other side finds out as well, which may have missed what came before
        self._over = True
        self._actions.append(Fail(MediatorLied(f"the mediator told both sides that they are the {self._role.value}")))

    def _exhaust(self) -> None:
        self._is_exhausted = True
        if self._role is Role.INITIATOR and self.best() is not None:
            return  # it is for the initiator to take it
        predicted = set(self._predicted)
        tried = {
            str(pair.address): self._outcome(pair.address, target)
            for pair, target in self._targets.items()
            if target.heard or pair.address not in predicted
        }
        if self._predicted:
            tried[f"{len(predicted)} predicted ports of {self._predicted[0].ip}"] = "no answer"
        if self._guesses:
            tried[self._guesses] = "no answer"
        said = "; ".join(f"{what}: {outcome}" for what, outcome in tried.items()) or "no address to probe"
        self._actions.append(Exhausted(f"{said}, within {self._end - self._begin:.0f} s"))

    def _outcome(self, address: Address, target: _Target) -> str:
        if target.round_trip is not None:
            return "open, but the other side did not take it"
        if target.heard:
            return "heard, but it does not hear us"
        if address in self._silenced:
            return "as many packets went there unanswered as may"
        return "no answer"
