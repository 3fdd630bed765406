"""What is tried: a place, a way to meet, a job and faults at moments, all chosen from one seed."""

import random
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

__all__ = ["After", "Fault", "Job", "Kind", "Moment", "Scenario", "Way", "choose"]

SIDES: Final = ("a", "b")


class Way(Enum):
    """How the two meet."""

    MEDIATOR = "mediator"
    INSTANCES = "two instances"  # behind a balancer, with a Redis
    TOKEN = "token"
    DIRECT = "direct"


class Kind(Enum):
    """What is done to somebody."""

    KILL_PEER = "kill peer"
    KILL_MEDIATOR = "kill mediator"
    KILL_REDIS = "kill redis"
    STOP_PEER = "signal peer"
    DRAIN_MEDIATOR = "drain mediator"
    PAUSE_PEER = "pause peer"
    PAUSE_MEDIATOR = "pause mediator"
    MOVE_CLOCK = "move clock"
    FILL_TARGET = "fill target folder"
    FILL_STATE = "fill state folder"
    CUT = "cut link"
    CUT_ONE_WAY = "cut link one way"
    CUT_OFF = "cut off side"
    FORGET_FLOWS = "NAT forgets"
    CHANGE_ADDRESS = "change address"


class After(Enum):
    """What a moment is counted from."""

    START = "s after the first start"
    CONNECTED = "s after the two were connected"
    PART = "of the job done"
    FAULT = "s after the fault before"


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens."""

    after: After
    how_far: float  # s, or a part of the whole

    def __str__(self) -> str:
        return f"{self.how_far:.3f} {self.after.value}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and when it is over."""

    kind: Kind
    moment: Moment
    side: str = ""  # whose; of two mediators "a" or "b"
    lasts: float = 0.0  # s until it is undone, or who was ended is started again
    detail: str = ""  # a signal, a protocol, whose clock
    hours: float = 0.0  # a clock is moved by

    def __str__(self) -> str:
        moved = f"{self.hours:+g} h" if self.hours else ""
        lasts = f"for {self.lasts:.1f} s" if self.lasts else ""
        what = " ".join(filter(None, (self.kind.value, self.side, self.detail, moved, lasts)))
        return f"{what}, {self.moment}"


@dataclass(frozen=True, slots=True)
class Job:
    """What the two do: lines of a pipe, or an errand of messages and trees of files."""

    lines: int = 0  # each side says so many, if this is a chat
    messages: int = 0  # of each side's errand
    senders: tuple[str, ...] = ()  # of a tree of files
    seconds: float = 5.0  # it takes about so long, undisturbed

    @property
    def is_chat(self) -> bool:
        return self.lines > 0

    def __str__(self) -> str:
        if self.is_chat:
            return f"chat of {self.lines} lines each way"
        what = {("a",): "files a to b", ("b",): "files b to a", SIDES: "files both ways", (): "messages"}[self.senders]
        return f"{what} and {self.messages} messages each way" if self.messages else what


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run."""

    seed: int
    way: Way
    nats: tuple[str, str] | None  # of the lab; None: all on this computer
    impairment: tuple[tuple[str, float], ...] = ()
    maps_ports: bool = False  # the router of "a" opens ports
    path: str = ""  # "tcp" or "udp" alone between the two, or "relay"; any if empty
    job: Job = Job()
    faults: tuple[Fault, ...] = ()

    def __str__(self) -> str:
        where = "loopback" if self.nats is None else "+".join(self.nats)
        links = " ".join(f"{name} {value:g}" for name, value in self.impairment)
        router = "ports mapped" if self.maps_ports else ""
        path = f"only {self.path}" if self.path else ""
        parts = (self.way.value, where, links, router, path, str(self.job))
        return f"seed {self.seed}: " + ", ".join(filter(None, parts))


NATS: Final = (
    *("none", "full-cone", "restricted", "port-restricted", "port-restricted", "pr-nopreserve", "pr-reject"),
    *("cgnat", "symmetric", "sym-seq", "no-udp"),
)
TOKEN_NATS: Final = ("none", "full-cone", "port-restricted", "pr-nopreserve", "cgnat")  # those that need no luck
EVERYWHERE: Final = {
    Kind.KILL_PEER: 5,
    Kind.STOP_PEER: 3,
    Kind.PAUSE_PEER: 4,
    Kind.MOVE_CLOCK: 4,
}
WITH_MEDIATOR: Final = {Kind.KILL_MEDIATOR: 3, Kind.DRAIN_MEDIATOR: 2, Kind.PAUSE_MEDIATOR: 2}
WITH_FILES: Final = {Kind.FILL_TARGET: 3, Kind.FILL_STATE: 2}
IN_LAB: Final = {Kind.CUT: 4, Kind.CUT_ONE_WAY: 3, Kind.CUT_OFF: 2, Kind.FORGET_FLOWS: 2, Kind.CHANGE_ADDRESS: 2}

AWAY: Final = (0.0, 0.5, 3.0)  # s until who was ended is started again
PAUSES: Final = (1.0, 5.0, 20.0, 60.0)  # s; a channel is lost after 15
CUTS: Final = (1.0, 5.0, 20.0, 40.0, 90.0)  # s; a session without a channel is given up after 60
FULL: Final = (1.0, 5.0)  # s
CLOCK_WRONG: Final = (2.0, 10.0, 30.0)  # s
HOURS: Final = (-26.0, -3.0, -0.1, 0.02, 0.1, 3.0, 26.0)


def choose(seed: int, scale: float = 1.0) -> Scenario:
    """Choose the scenario of a seed; with `scale` what lasts lasts so many times as long, and all else is the same."""
    chance = random.Random(seed)
    scenario = _place(chance, seed)
    scenario = replace(scenario, job=_job(chance))
    faults = _faults(chance, scenario)
    return replace(scenario, faults=tuple(replace(fault, lasts=fault.lasts * scale) for fault in faults))


def _place(chance: random.Random, seed: int) -> Scenario:
    way = chance.choices(tuple(Way), (7, 3, 1, 2))[0]
    if way is Way.INSTANCES:
        return Scenario(seed, way, None, path=chance.choice(("", "relay")))
    if way is Way.TOKEN:
        nats = (chance.choice(TOKEN_NATS), chance.choice(TOKEN_NATS))
        return Scenario(seed, way, nats)
    if way is Way.DIRECT:  # "a" listens, and "b" dials
        return Scenario(seed, way, chance.choice((None, ("none", chance.choice(NATS)))))
    if chance.random() < 0.3:
        return Scenario(seed, way, None, path=chance.choice(("", "", "relay")))
    maps_ports = chance.random() < 0.15
    nats = ("port-restricted" if maps_ports else chance.choice(NATS), chance.choice(NATS))
    impairment: dict[str, Any] = {}
    if chance.random() < 0.4:
        impairment = {"delay": chance.choice((1.0, 5.0, 20.0)), "loss": chance.choice((0.0, 1.0, 2.0))}
    path = chance.choice(("", "", "", "tcp", "udp", "relay"))
    return Scenario(seed, way, nats, tuple(impairment.items()), maps_ports, path)


def _job(chance: random.Random) -> Job:
    seconds = chance.uniform(3.0, 6.0)
    match chance.choices(("chat", "files", "exchange", "errand"), (3, 4, 2, 2))[0]:
        case "chat":
            return Job(lines=chance.randrange(20, 80), seconds=seconds)
        case "files":
            return Job(senders=(chance.choice(SIDES),), seconds=seconds)
        case "exchange":
            return Job(senders=SIDES, seconds=seconds)
    return Job(messages=chance.randrange(1, 30), senders=chance.choice((("a",), ("b",), SIDES)), seconds=seconds)


def _faults(chance: random.Random, scenario: Scenario) -> list[Fault]:
    kinds = dict(EVERYWHERE)
    if scenario.way in (Way.MEDIATOR, Way.INSTANCES):
        kinds |= WITH_MEDIATOR
    if scenario.way is Way.INSTANCES:
        kinds[Kind.KILL_REDIS] = 4
    if scenario.job.senders:
        kinds |= WITH_FILES
    if scenario.nats is not None:
        kinds |= IN_LAB
        if all(nat == "none" for nat in scenario.nats):
            del kinds[Kind.FORGET_FLOWS]
        if scenario.way is Way.DIRECT:
            del kinds[Kind.CHANGE_ADDRESS]  # "b" would go on dialling the old one
    count = chance.choices((1, 2, 3, 4), (3, 4, 3, 2))[0]
    moments = _moments(chance, count)
    return [_fault(chance, scenario, chance.choices(tuple(kinds), tuple(kinds.values()))[0], at) for at in moments]


def _moments(chance: random.Random, count: int) -> list[Moment]:
    """Choose moments in an order in which they can come: parts of the job rise."""
    parts = sorted(chance.uniform(0.0, 0.95) for _ in range(count))
    first = chance.choices((After.START, After.CONNECTED, After.PART), (2, 2, 5))[0]
    kinds = [first, *chance.choices((After.FAULT, After.PART), (1, 2), k=count - 1)]
    how_far = {After.START: lambda: chance.uniform(0, 1.5), After.CONNECTED: lambda: chance.uniform(0, 0.3)}
    how_far[After.FAULT] = lambda: chance.uniform(0, 3.0)
    return [
        Moment(kind, part if kind is After.PART else how_far[kind]()) for kind, part in zip(kinds, parts, strict=True)
    ]


def _fault(chance: random.Random, scenario: Scenario, kind: Kind, moment: Moment) -> Fault:
    side = chance.choice(SIDES)
    match kind:
        case Kind.KILL_PEER | Kind.KILL_MEDIATOR | Kind.KILL_REDIS | Kind.DRAIN_MEDIATOR:
            return Fault(kind, moment, side, chance.choice(AWAY))
        case Kind.STOP_PEER:
            return Fault(kind, moment, side, chance.choice(AWAY), chance.choice(("SIGTERM", "SIGINT")))
        case Kind.PAUSE_PEER | Kind.PAUSE_MEDIATOR:
            return Fault(kind, moment, side, chance.choice(PAUSES))
        case Kind.MOVE_CLOCK:
            hosts = ("a", "b", "med") if scenario.way in (Way.MEDIATOR, Way.INSTANCES) else SIDES
            return Fault(kind, moment, chance.choice(hosts), chance.choice(CLOCK_WRONG), hours=chance.choice(HOURS))
        case Kind.FILL_TARGET:
            side = next(iter(set(SIDES) - {chance.choice(scenario.job.senders)}))
            return Fault(kind, moment, side, chance.choice(FULL))
        case Kind.FILL_STATE:
            return Fault(kind, moment, side, chance.choice(FULL))
        case Kind.CUT | Kind.CUT_ONE_WAY:
            return Fault(kind, moment, side, chance.choice(CUTS), chance.choice(("", "", "tcp", "udp")))
        case Kind.CUT_OFF:
            return Fault(kind, moment, side, chance.choice(CUTS))
        case Kind.FORGET_FLOWS:
            assert scenario.nats is not None
            behind = [side for side, nat in zip(SIDES, scenario.nats, strict=True) if nat != "none"]
            return Fault(kind, moment, chance.choice(behind))
        case Kind.CHANGE_ADDRESS:
            return Fault(kind, moment, side)
