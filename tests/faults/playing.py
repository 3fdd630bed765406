"""A scenario from its first process to its last: when each fault is due, who is started again, and what is seen."""

import signal
import time
from collections.abc import Callable
from typing import Final

from tests.faults import faults, observing
from tests.faults.deadlines import deadline
from tests.faults.leftovers import Watch
from tests.faults.observing import Observation
from tests.faults.running import Running
from tests.faults.scenario import SIDES, After, Fault, Moment, Scenario, Way
from tests.faults.world import World

__all__ = ["Play"]

LOOK_EVERY: Final = 0.01  # s
NOTHING_NEW: Final = 10.0  # s without progress, and a moment of the job comes all the same
AGAIN_AFTER: Final = 0.5  # s until a user starts again what has ended too early
AGAIN: Final = 4  # times a side is started again while there are faults to come


class Play:
    """Implements `faults.Stage`."""

    def __init__(self, world: World, say: Callable[[str], None] = lambda _: None) -> None:
        """`say` is told each line of the timeline."""
        self.world, self._say = world, say
        self.peers: dict[str, Running] = {}
        self.slowest = 0.0  # of all processes, the part of its deadline that one took
        self.happened: list[Fault] = []
        self._scenario: Scenario = world.scenario
        self._watch = Watch(world)
        self._before: list[Running] = []
        self._timeline: list[str] = []
        self._wrong: list[str] = []
        self._began = self._last = self._news = time.monotonic()
        self._last_fault = self._connected_at = 0.0
        self._progress = 0.0
        self._pasted: set[tuple[str, str]] = set()
        self._undone: list[tuple[float, str, Callable[[], None]]] = []  # when, what, how

    def play(self) -> Observation:
        """Do it all; return what was seen."""
        for side in SIDES:
            self._start(side)
        for number, fault in enumerate(self._scenario.faults):
            while not self._is_due(fault.moment):
                self._go_on(again=True)
                if self._is_over() and not self._undone and not any(map(_has_failed, self.peers.values())):
                    break
            else:
                self._do(fault, number)
                continue
            self.tell(f"all was done before: {fault}")
            break
        while self._undone or not self._is_over():
            self._go_on(again=False)
        processes = self._before
        processes += self.peers.values()
        first = [self._seen(peer) for peer in processes]
        self._before = []
        mended = self._mend()
        self.tell("looking for what is left")
        well = {side for side in SIDES if self.peers[side].process.returncode == 0}
        left = self._watch.left(well, killed={one.side for one in processes if one.killed or one.hung})
        job = self._scenario.job
        self._end_servers()
        return Observation(
            is_chat=job.is_chat,
            faults=tuple(fault.kind.value for fault in self.happened),
            processes=tuple(first),
            mended=tuple(mended),
            arrived=tuple(self._arrived(side) for side in job.senders),
            left=tuple(left),
            wrong=tuple(self._wrong),
            timeline=tuple(self._timeline),
        )

    def tell(self, text: str) -> None:
        """Note what happens."""
        line = f"{time.monotonic() - self._began:7.2f} s  {text}"
        self._timeline.append(line)
        self._say(line)
        if text.startswith("WRONG: "):
            self._wrong.append(text.removeprefix("WRONG: "))

    def start_again(self, side: str) -> None:
        """As in `faults.Stage`."""
        self._before.append(self.peers[side])
        self._start(side)

    def _start(self, side: str) -> None:
        self.peers[side] = self.world.start_peer(side)
        self._touch()
        self.tell(f"{self.peers[side].name} started, process {self.peers[side].process.pid}")

    def _touch(self) -> None:
        """Something happened to somebody: deadlines begin anew."""
        self._last = self._news = time.monotonic()

    # Faults.

    def _is_due(self, moment: Moment) -> bool:
        now = time.monotonic()
        match moment.after:
            case After.START:
                return now >= self._began + moment.how_far
            case After.FAULT:
                return now >= self._last_fault + moment.how_far
            case After.CONNECTED:
                due = bool(self._connected_at) and now >= self._connected_at + moment.how_far
            case After.PART:
                due = bool(self._connected_at) and self._progress >= moment.how_far
        return due or now >= self._news + NOTHING_NEW

    def _do(self, fault: Fault, number: int) -> None:
        try:
            undo = faults.do(fault, number, self)
        except faults.InVain as error:
            self.tell(f"in vain: {fault}: {error}")
            return
        self.tell(f"{fault}, {self._progress:.0%} done")
        self.happened.append(fault)
        self._touch()
        self._last_fault = self._last
        if undo is not None:
            self._undone.append((self._last + fault.lasts, fault.kind.value, undo))

    # What goes on.

    def _go_on(self, *, again: bool) -> None:
        """Let a moment pass, and see to everybody. With `again` who has ended too early is started again."""
        time.sleep(LOOK_EVERY)
        now = time.monotonic()
        for undo in [one for one in self._undone if one[0] <= now]:
            self._undone.remove(undo)
            undo[2]()
            self.tell(f"over: {undo[1]}")
            for server in self.world.servers.values():
                self._watch.expect(server.process.pid)
            self._touch()
        for side in SIDES:
            peer = self.peers[side]
            peer.give_lines()
            if peer.ended_at is None and peer.poll():
                self._ended(peer)
        self._look()
        if self._scenario.way is Way.TOKEN:
            self._carry_tokens()
        if again and not self._undone and self._scenario.way is not Way.TOKEN:
            self._start_who_failed()
        if not self._undone and time.monotonic() > self._last + deadline(self._scenario):
            self._end_hung()

    def _look(self) -> None:
        """How much of the job is done, and whether the two are connected."""
        job = self._scenario.job
        done = whole = 0.0
        for side in SIDES:
            shown, part = self.peers[side].progress()
            texts, trees = job.lines or job.messages, len(set(job.senders) - {side})
            done += min(shown, texts) + part * trees * 100
            whole += texts + trees * 100
        if done / whole > self._progress:
            self._progress, self._news = done / whole, time.monotonic()
        if not self._connected_at and all(peer.said("connected") for peer in self.peers.values()):
            self._connected_at = self._news = time.monotonic()
            self.tell("connected")

    def _ended(self, peer: Running) -> None:
        started = max(self._last, peer.started)
        assert peer.ended_at is not None
        self.slowest = max(self.slowest, (peer.ended_at - started) / deadline(self._scenario))
        error = next((event["code"] for event in peer.events if event["event"] == "error"), "")
        self.tell(f"{peer.name} ended: exit code {peer.process.returncode} {error}")
        self._touch()

    def _start_who_failed(self) -> None:
        """A user whose program has failed starts it again; who was ended on purpose is started when that is over."""
        for side, peer in self.peers.items():
            if _has_failed(peer) and time.monotonic() > (peer.ended_at or 0) + AGAIN_AFTER:
                self.start_again(side)

    def _carry_tokens(self) -> None:
        for side, other in (SIDES, SIDES[::-1]):
            here, there = self.peers[side], self.peers[other]
            key = (here.name, there.name)
            token = next((event["token"] for event in tuple(here.events) if event["event"] == "token"), None)
            if token is not None and key not in self._pasted and not there.poll():
                self._pasted.add(key)
                there.paste(token)

    def _is_over(self) -> bool:
        return all(peer.poll() for peer in self.peers.values())

    def _end_hung(self) -> None:
        for peer in self.peers.values():
            if not peer.poll():
                self.tell(f"{peer.name} hangs")
                peer.hung = True
                peer.signal(signal.SIGABRT)
                try:
                    peer.process.wait(10)
                except Exception:
                    peer.process.kill()
                    peer.process.wait()
                peer.poll()

    # The end.

    def _is_done(self) -> bool:
        """Whether all that was to be done is done, as a user sees it."""
        job = self._scenario.job
        trees = [self._arrived(side) for side in job.senders]
        if not all(tree.copies and not tree.staged for tree in trees):
            return False
        if job.senders and not job.messages:
            return True
        return all(peer.process.returncode == 0 for peer in self.peers.values())

    def _mend(self) -> list[observing.Process]:
        """All faults are over: whatever is not done is done when both are started again, as a user does."""
        if self._is_done():
            return []
        for side in SIDES:
            self.peers[side].close()
            self._start(side)
        self.tell("both were started again, to be done at last")
        while not self._is_over():
            self._go_on(again=False)
        return [self._seen(peer) for peer in self.peers.values()]

    def _seen(self, peer: Running) -> observing.Process:
        seen = observing.process(peer, tuple(self.world.messages(peer.side)))
        peer.close()
        return seen

    def _arrived(self, sender: str) -> observing.Arrived:
        receiver = "b" if sender == "a" else "a"
        return observing.arrived(sender, self.world.tree(sender), self.world.inbox(receiver))

    def _end_servers(self) -> None:
        for server in self.world.servers.values():
            began = time.monotonic()
            code = server.mediator.stop()
            if code != 0:
                self.tell(f"WRONG: mediator {server.name} ended with exit code {code}")
            self.tell(f"mediator {server.name} ended within {time.monotonic() - began:.1f} s")
            said = server.errors.read_text(errors="replace")
            for bad in ("Traceback", "was destroyed", "never awaited", "never retrieved"):
                if bad in said:
                    self.tell(f"WRONG: mediator {server.name} said {bad!r}")


def _has_failed(peer: Running) -> bool:
    """Whether it has ended by itself, and too early; and not too often."""
    return peer.poll() and peer.process.returncode not in (0, 130) and not peer.killed and peer.number < AGAIN
