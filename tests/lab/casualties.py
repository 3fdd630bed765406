"""A transfer in the lab, whose programs are killed at random moments and started again at once.

    with Lab(..., loss=1) as lab, Programs() as programs:
        under_fire = UnderFire(lab, programs, keys, tree, folder)
        under_fire.survive(random_moments(chance, 10))
        under_fire.check()

It is over when sender and receiver have said so themselves, by their exit codes.
"""

import random
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from p2p_core.limits import MAX_BLOCK_SIZE
from p2p_core.safe_names import STAGING_PREFIX

from tests.counted import Counted, counting
from tests.lab.meetings import MeetingPlace, on
from tests.lab.nat import Lab
from tests.programs import Keys, Peer, Programs, end
from tests.trees import contents, size_of

__all__ = ["After", "Moment", "UnderFire", "random_moments"]

PATIENCE: Final = 60.0  # s without anything that can be seen from here; all that has to happen takes a few
LOOK_EVERY: Final = 0.002  # s
NOTHING_NEW: Final = 3.0  # s after a kill: those that were to meet again need not, it was the mediator
MOST_AROUND: Final = 1.15  # bytes on the wire for one of a block: headers, TLS, what was lost and went out again
MOST_BESIDE: Final = 300_000  # bytes on the wire for each start of a peer: to the mediator, and through the NATs
HOSTS: Final = {"sender": "a", "receiver": "b"}
VICTIMS: Final = {  # and how often
    ("sender",): 6,
    ("receiver",): 6,
    ("mediator",): 5,
    ("sender", "receiver"): 1,
    ("sender", "receiver", "mediator"): 1,
}


class After(Enum):
    """What a moment is counted from."""

    KILL = "s after the last one"
    MEETING = "s after the two met again"
    VERIFIED = "of all bytes verified"


@dataclass(frozen=True, slots=True)
class Moment:
    """When who is killed, and started again at once."""

    victims: tuple[str, ...]
    after: After
    how_far: float  # s, or the part of all bytes
    away: float = 0.0  # s until the mediator is started again, if it is one of them; it comes last

    def __str__(self) -> str:
        return f"{' and '.join(self.victims)}: {self.how_far:.3f} {self.after.value}"


def random_moments(chance: random.Random, count: int) -> list[Moment]:
    """Choose moments of one transfer: most while blocks come, others while the two come back and meet again."""
    parts = iter(sorted(min(1.0, chance.uniform(0, 1.05)) for _ in range(count)))  # 1: not receipted yet
    chosen = []
    for _ in range(count):
        after = chance.choices(tuple(After), (1, 1, 3))[0]
        how_far = {
            After.KILL: chance.uniform(0, 1.5),
            After.MEETING: chance.uniform(0, 0.15),
            After.VERIFIED: next(parts),
        }[after]
        chosen.append(Moment(chance.choices(tuple(VICTIMS), tuple(VICTIMS.values()))[0], after, how_far))
    return chosen


class UnderFire:
    """A tree that goes from "a" to "b", and what must hold of it whatever happens to whom."""

    def __init__(self, lab: Lab, programs: Programs, keys: Sequence[Keys], tree: Path, folder: Path) -> None:
        self._lab, self._programs, self._tree, self._folder = lab, programs, tree, folder
        self._size = size_of(tree)
        self.inbox = folder / "inbox"
        self._place = MeetingPlace(lab, programs, keys, folder)
        self._mediator = self._place.mediator.process
        self.counted = Counted(tuple(folder / f"{side}.log" for side in HOSTS))
        self._peers: dict[str, Peer] = {}
        self._done: set[str] = set()
        self._starts = 0
        self._began = self._last_kill = self._last_news = time.monotonic()
        self._met_before, self._met_at = 0, 0.0
        for side in HOSTS:
            self._start(side)

    def survive(self, moments: Sequence[Moment]) -> int:
        """Kill at these moments, until the transfer is done; return how many of them there were in time."""
        for number, moment in enumerate(moments):
            while self._done or not self._is_due(moment):
                if not self._go_on():
                    return number
            self._kill(moment)
        while self._go_on():
            pass
        return len(moments)

    def check(self) -> None:
        """The same tree is there and nothing else, and no block was sent that was verified before."""
        counted = self.counted
        assert [path.name for path in self.inbox.iterdir()] == [self._tree.name]
        assert contents(self.inbox / self._tree.name) == contents(self._tree)
        assert counted.sent_in_vain() == []
        assert counted.forgotten == {}
        assert counted.sent.keys() == set(_blocks_of(self._tree))
        out = _bytes_out(self._lab)
        print(f"{counted.sent_bytes / self._size:.3f} of the tree was sent, {out / self._size:.3f} went over the wire")
        assert out < MOST_AROUND * counted.sent_bytes + MOST_BESIDE * self._starts
        for host, what in (("a", "sent"), ("b", "received")):
            state = self._folder / f"state-{host}"
            assert any(f"-{what}-" in receipt.name for receipt in (state / "receipts").iterdir())
            assert not any((state / "sending").glob("*"))
        assert all("Traceback" not in errors.read_text() for errors in self._folder.glob("*.errors"))

    def _start(self, side: str) -> None:
        host = HOSTS[side]
        job = ("--send", self._tree) if side == "sender" else ("--receive", self.inbox, "--yes")
        start = counting(self._folder / f"{side}.log", on(self._lab, host))
        with (self._folder / f"{side}.errors").open("ab") as errors:
            self._peers[side] = self._place.peer(self._programs, host, *job, start=start, stderr=errors)
        self._done.discard(side)
        self._starts += 1

    def _is_due(self, moment: Moment) -> bool:
        now = time.monotonic()
        match moment.after:
            case After.VERIFIED:
                return self.counted.verified_bytes >= moment.how_far * self._size
            case After.KILL:
                return now >= self._last_kill + moment.how_far
            case After.MEETING if self._met_at:
                return now >= self._met_at + moment.how_far
        return now >= self._last_kill + NOTHING_NEW

    def _kill(self, moment: Moment) -> None:
        print(f"{self._elapsed:6.1f} s  {moment}; {self.counted.verified_bytes / self._size:.1%} verified", flush=True)
        for victim in moment.victims:
            process = self._mediator if victim == "mediator" else self._peers[victim].process
            process.kill()
            process.wait()
        self._last_kill = self._last_news = time.monotonic()
        self._met_before, self._met_at = self._met(), 0.0
        for victim in moment.victims:
            if victim == "mediator":
                time.sleep(moment.away)
                self._mediator = subprocess.Popen(self._mediator.args, stdout=subprocess.DEVNULL, text=True)
                self._programs.callback(end, self._mediator)
            else:
                self._start(victim)

    def _go_on(self) -> bool:
        """Let a moment pass, and see what became of everybody; False once all is done."""
        time.sleep(LOOK_EVERY)
        verified = self.counted.verified_bytes
        self.counted.read()
        if self.counted.verified_bytes > verified:
            self._last_news = time.monotonic()
        if not self._met_at and self._met() > self._met_before:
            self._met_at = self._last_news = time.monotonic()
            print(f"{self._elapsed:6.1f} s  met", flush=True)
        for side in HOSTS:
            if side not in self._done and self._peers[side].process.poll() is not None:
                self._ended(side)
        if len(self._done) == 1:
            self._one_is_left()
        assert time.monotonic() < self._last_news + PATIENCE, self._story()
        return len(self._done) < len(HOSTS)

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _met(self) -> int:
        return sum(len(peer.all("connected")) for peer in self._peers.values())

    def _ended(self, side: str) -> None:
        """Nobody has to be started again who was not killed, but for two that say so.

        One that had not met the other side yet, and the receiver when it has everything: whether the sender, which was
        killed, had the receipt by then, nobody can know.
        """
        peer = self._peers[side]
        code = peer.exit_code()
        if code == 0:
            self._done.add(side)
            return
        print(f"{self._elapsed:6.1f} s  the {side} has ended by itself: {peer.first('error')}", flush=True)
        assert peer.first("connected") is None or peer.first("transfer_received") is not None, self._story()
        self._start(side)

    def _one_is_left(self) -> None:
        """One side has ended well while the other, which was killed, came back to meet it.

        If the receiver knew that the sender has the receipt, all is done. Else both are started again, as a user does.
        """
        [done] = self._done
        left = next(side for side in HOSTS if side != done)
        if self._peers[left].first("connected") is not None:
            return
        if any(path.name.startswith(STAGING_PREFIX) for path in self.inbox.iterdir()):
            self._start(done)
        else:
            self._peers[left].stop()
            self._done.add(left)

    def _story(self) -> str:
        """What the peers have said, for a failure."""
        said = [
            f"{side}: {[event for event in peer.events if event['event'] != 'transfer_progress']}\n"
            f"{(self._folder / f'{side}.errors').read_text()}"
            for side, peer in self._peers.items()
        ]
        return "\n".join(said)


def _blocks_of(top: Path) -> Iterator[tuple[str, int]]:
    for path in top.rglob("*"):
        if path.is_file() and not path.is_symlink():
            for number in range(-(-path.stat().st_size // MAX_BLOCK_SIZE)):
                yield path.relative_to(top.parent).as_posix(), number


def _bytes_out(lab: Lab) -> int:
    """How many bytes the sender's computer has put on the wire, packet headers included."""
    with lab.namespace(HOSTS["sender"]).entered():
        interfaces = Path("/proc/thread-self/net/dev").read_text()
    [counts] = (line.partition(":")[2].split() for line in interfaces.splitlines() if line.strip().startswith("eth0:"))
    return int(counts[8])
