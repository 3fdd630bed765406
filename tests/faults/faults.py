"""Each fault: done to a place and the processes in it, and undone.

`do` returns what undoes it. Whoever was ended is started again then; nothing else ever starts by itself.
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Final, Protocol

from tests.faults.deadlines import INTERRUPTED
from tests.faults.running import Running
from tests.faults.scenario import Fault, Kind, Way
from tests.faults.world import DRAIN, Server, World
from tests.lab import disturbances
from tests.lab.nat import Lab
from tests.lab.netns import LabError
from tests.programs import end

__all__ = ["InVain", "Stage", "do"]

LOOK_EVERY: Final = 0.01  # s
NEW_NUMBERS: Final = {"none": "230", "behind a NAT": "77"}  # the last part of an address nobody has


class InVain(Exception):
    """A fault has nobody to happen to: it is over, or there is no such thing here."""


class Stage(Protocol):
    """Whom faults happen to."""

    world: World
    peers: dict[str, Running]  # the last process of each side

    def start_again(self, side: str) -> None:
        """Start this side as a user would who sees that it has ended."""

    def tell(self, text: str) -> None:
        """Note in the timeline what happens."""


Undo = Callable[[], None]


def do(fault: Fault, number: int, stage: Stage) -> Undo | None:
    """Do the fault `number` of a scenario. Returns what undoes it, if anything does. Raises `InVain`."""
    match fault.kind:
        case Kind.KILL_PEER | Kind.STOP_PEER:
            return _end_peer(fault, stage)
        case Kind.PAUSE_PEER:
            peer = _living(stage, fault.side)
            peer.signal(signal.SIGSTOP)
            return lambda: peer.signal(signal.SIGCONT)
        case Kind.KILL_MEDIATOR | Kind.DRAIN_MEDIATOR:
            return _end_mediator(fault, stage)
        case Kind.PAUSE_MEDIATOR:
            process = _server(fault, stage).process
            process.send_signal(signal.SIGSTOP)
            return lambda: process.send_signal(signal.SIGCONT)
        case Kind.KILL_REDIS:
            redis = stage.world.redis
            assert redis is not None
            redis.kill()
            return redis.start
        case Kind.MOVE_CLOCK:
            if not stage.world.clocks:
                raise InVain("no clock can be moved here")
            clock = stage.world.clocks[fault.side]
            clock.move(fault.hours)
            return lambda: clock.move(0)
        case Kind.FILL_TARGET | Kind.FILL_STATE:
            disk = stage.world.disks[fault.kind, fault.side]
            disk.fill()
            return disk.free
    return _disturb(fault, number, stage)


def _living(stage: Stage, side: str) -> Running:
    peer = stage.peers[side]
    if peer.poll():
        raise InVain(f"{peer.name} has ended")
    return peer


def _end_peer(fault: Fault, stage: Stage) -> Undo | None:
    peer = _living(stage, fault.side)
    if fault.kind is Kind.KILL_PEER:
        peer.kill()
    else:
        _wait_until_it_hears(peer)
        peer.signal(signal.Signals[fault.detail])
        peer.signal(signal.SIGCONT)  # it may have been paused: a signal waits for that
    if stage.world.scenario.way is Way.TOKEN:
        return None  # a token is good for one session: both have to make new ones

    def again() -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):  # then it hangs, which shows
            peer.process.wait(INTERRUPTED)
        if stage.peers[fault.side] is peer and peer.poll():
            stage.start_again(fault.side)

    return again


def _wait_until_it_hears(peer: Running) -> None:
    """Until then it is Python that starts, and ends as Python does."""
    deadline = time.monotonic() + INTERRUPTED
    while not peer.poll() and not peer.hears_signals() and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)


def _server(fault: Fault, stage: Stage) -> Server:
    servers = stage.world.servers
    server = servers.get(fault.side) or servers["a"]
    if server.is_going:
        raise InVain(f"mediator {server.name} is ending already")
    return server


def _end_mediator(fault: Fault, stage: Stage) -> Undo:
    server = _server(fault, stage)
    if fault.kind is Kind.KILL_MEDIATOR:
        server.process.kill()
        server.process.wait()
    else:
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)
    server.is_going = True

    def again() -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(DRAIN + INTERRUPTED)
        code = end(server.process)
        if fault.kind is Kind.DRAIN_MEDIATOR and code != 0:
            stage.tell(f"WRONG: mediator {server.name} drained with exit code {code}")
        server.mediator, server.is_going = server.start(), False

    return again


def _disturb(fault: Fault, number: int, stage: Stage) -> Undo | None:
    lab = stage.world.lab
    assert lab is not None
    side, other = fault.side, "b" if fault.side == "a" else "a"
    gateway = disturbances.gateway(lab, side)
    match fault.kind:
        case Kind.FORGET_FLOWS:
            disturbances.forget_flows(gateway)
            return None
        case Kind.CHANGE_ADDRESS:
            _change_address(lab, side)
            return None
        case Kind.CUT_OFF:
            rules = {side: 'iifname != "lo" drop;'}
        case Kind.CUT_ONE_WAY:
            rules = {side: _from(lab, other, fault.detail)}
        case _:
            rules = {side: _from(lab, other, fault.detail), other: _from(lab, side, fault.detail)}
    table = f"fault{number}"
    hooks = ("prerouting", "output") if fault.kind is Kind.CUT_OFF else ("prerouting",)
    for where, rule in rules.items():
        chains = " ".join(
            f"chain {hook} {{ type filter hook {hook} priority raw; "
            f"{rule if hook == 'prerouting' else rule.replace('iifname', 'oifname')} }};"
            for hook in hooks
        )
        disturbances.gateway(lab, where).nft(f"table ip {table} {{ {chains} }}")

    def heal() -> None:
        for where in rules:
            disturbances.gateway(lab, where).nft(f"delete table ip {table}")

    return heal


def _from(lab: Lab, peer: str, protocol: str) -> str:
    only = f"meta l4proto {protocol} " if protocol else ""
    return f"{only}ip saddr {lab.public_address(peer)} drop;"


def _change_address(lab: Lab, side: str) -> None:
    kinds = "none" if side == disturbances.gateway(lab, side).name.rpartition("-")[2] else "behind a NAT"
    network = lab.address(side).rpartition(".")[0]
    try:
        disturbances.change_address(lab, side, f"{network}.{NEW_NUMBERS[kinds]}")
    except LabError as error:
        raise InVain(f"it has another address already: {error}") from error
