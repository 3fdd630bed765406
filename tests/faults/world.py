"""The place of a scenario: a lab or this computer, the mediators in it, and how peers are started there."""

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.balancer import HERE, INSTANCES, Balancer
from tests.faults import clock
from tests.faults.clock import MovedClock
from tests.faults.disk import Disk
from tests.faults.running import Running
from tests.faults.scenario import SIDES, Kind, Scenario, Way
from tests.lab.disturbances import gateway
from tests.lab.meetings import MEDIATOR_PORT, STUN_PORT, on
from tests.lab.miniupnpd import OUTSIDE, Miniupnpd
from tests.lab.nat import PUBLIC, Lab
from tests.lab.stun_alone import serve_stun
from tests.programs import Keys, Mediator, Start, end, p2p_peer, start_here
from tests.redis_server import RedisServer
from tests.trees import make_tree, size_of

__all__ = ["DRAIN", "TOKEN_LIFE", "WAIT", "World"]

WAIT: Final = 25.0  # s that peers wait for each other, each time
TOKEN_LIFE: Final = 60.0  # s
DRAIN: Final = 5.0  # s
DISK: Final = 64  # MiB
METRICS: Final = {"a": 9470, "b": 9471}  # ports, of the mediators by name
PORTS: Final = {"a": MEDIATOR_PORT, "b": 54710}
DIRECT_PORT: Final = 8000


@dataclass
class Server:
    """A mediator, which may be ended and started again."""

    name: str
    mediator: Mediator
    start: Callable[[], Mediator]
    errors: Path
    is_going: bool = False  # it was told to end, and is to be started again

    @property
    def process(self) -> subprocess.Popen[str]:
        return self.mediator.process


class World:
    """A context manager: builds all there is, but for the peers, and takes it away again."""

    def __init__(self, scenario: Scenario, keys: Sequence[Keys], folder: Path) -> None:
        self.scenario, self.folder = scenario, folder
        self.keys = dict(zip(SIDES, keys, strict=True))
        self.servers: dict[str, Server] = {}
        self.lab: Lab | None = None
        self.redis: RedisServer | None = None
        self.router: Miniupnpd | None = None
        self.clocks: dict[str, MovedClock] = {}
        self.disks: dict[tuple[Kind, str], Disk] = {}
        self._stun: list[str] = []
        self._dial = (HERE, MEDIATOR_PORT)
        self._started = dict.fromkeys(SIDES, 0)
        self._stack = ExitStack()

    def __enter__(self) -> "World":
        with ExitStack() as stack:
            self._stack = stack
            self._build()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def inbox(self, side: str) -> Path:
        """Where a side's files arrive."""
        return self.folder / f"disk-{side}" / "inbox"

    def state(self, side: str) -> Path:
        """What a side remembers."""
        return self.folder / f"state-{side}" / "state"

    def tree(self, side: str) -> Path:
        """What a side sends."""
        return self.folder / f"from {side}"

    def start_peer(self, side: str) -> Running:
        """Start one more process of this side, with the same arguments as ever."""
        number, self._started[side] = self._started[side], self._started[side] + 1
        scenario = self.scenario
        errors = self.folder / f"{side}{number}.errors"
        keeps_stdin = scenario.job.is_chat or scenario.way is Way.TOKEN
        with errors.open("wb") as stderr:
            process = self._on(side)(
                p2p_peer(*self._meeting(side), *self._doing(side), "--json", "--state-dir", self.state(side)),
                stdin=subprocess.PIPE if keeps_stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=self._environment(side),
            )
        return Running(side, number, process, errors, scenario.job)

    def messages(self, side: str) -> list[str]:
        """What an errand of this side says."""
        return [f"{side}/{number} of an errand" for number in range(self.scenario.job.messages)]

    def _build(self) -> None:
        scenario, folder = self.scenario, self.folder
        if any(fault.kind is Kind.MOVE_CLOCK for fault in scenario.faults) and not clock.unavailable():
            self.clocks = {host: MovedClock(folder / f"clock-{host}") for host in (*SIDES, "med")}
        for side in SIDES:
            for kind, name in ((Kind.FILL_TARGET, "disk"), (Kind.FILL_STATE, "state")):
                disk = self._stack.enter_context(Disk.mounted(folder / f"{name}-{side}", DISK))
                self.disks[kind, side] = disk
            if side in scenario.job.senders:
                make_tree(self.tree(side), large=1, small=30, seed=f"{scenario.seed} {side}")
        if scenario.nats is not None:
            public = OUTSIDE if scenario.maps_ports else PUBLIC
            self.lab = self._stack.enter_context(Lab(*scenario.nats, public=public, **dict(scenario.impairment)))
            if scenario.path in ("tcp", "udp"):
                self._leave_only(self.lab, scenario.path)
            if scenario.maps_ports:
                (folder / "router").mkdir()
                self.router = Miniupnpd.start(self.lab, folder / "router")
        match scenario.way:
            case Way.MEDIATOR:
                self._serve("a", "--stun-port", str(STUN_PORT), host=self.lab.mediator_address if self.lab else HERE)
            case Way.INSTANCES:
                self._serve_several()
            case Way.TOKEN:
                assert self.lab is not None
                self._stun = serve_stun(self.lab)

    def _leave_only(self, lab: Lab, protocol: str) -> None:
        """Between the two nothing else gets through, from the beginning."""
        for peer, other in (SIDES, SIDES[::-1]):
            gateway(lab, peer).nft(
                "table ip only { chain incoming { type filter hook prerouting priority raw;"
                f" ip saddr {lab.public_address(other)} ip protocol != {protocol} drop; }}; }}"
            )

    def _serve(self, name: str, *flags: str, host: str = HERE) -> None:
        """Start a mediator, on ports that it will have again."""
        folder = self.folder / "mediator"
        errors = self.folder / f"mediator-{name}.errors"
        where = ("--port", str(PORTS[name]), "--metrics", f"127.0.0.1:{METRICS[name]}")
        run = self._on("med")

        def start() -> Mediator:
            def start_with(argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
                with errors.open("ab") as stderr:
                    return run(argv, stderr=stderr, env=self._environment("med"), **options)

            keys = tuple(self.keys.values())
            drain = ("--drain-seconds", f"{DRAIN:g}")
            mediator = Mediator.start(folder, keys, *where, *drain, *flags, start=start_with, host=host)
            self._stack.callback(end, mediator.process)
            return mediator

        mediator = start()
        self.servers[name] = Server(name, mediator, start, errors)
        self._dial = (mediator.host, mediator.port)

    def _serve_several(self) -> None:
        self.redis = self._stack.enter_context(RedisServer())
        for name in INSTANCES:
            shared = ("--store", self.redis.url, "--behind-proxy", "--no-stun")
            self._serve(name, *shared, "--advertise", f"{HERE}:{PORTS[name]}")
        balancer = Balancer.start(self.folder, tuple(PORTS.values()), tuple(METRICS.values()))
        self._stack.callback(balancer.stop)
        self._dial = (HERE, balancer.port)

    def _on(self, host: str) -> Start:
        return start_here if self.lab is None else on(self.lab, host)

    def _environment(self, host: str) -> dict[str, str] | None:
        """The variables of a program on a host; None: those of this one."""
        own = {"XDG_CONFIG_HOME": os.devnull, "PYTHONWARNINGS": "default"}
        return os.environ | own | (self.clocks[host].environment if host in self.clocks else {})

    def _meeting(self, side: str) -> list[str | Path]:
        """The arguments that say how the other side is met."""
        scenario, own, other = self.scenario, self.keys[side], self.keys["b" if side == "a" else "a"]
        mapping = [] if self.router is not None else ["--no-port-mapping"]
        wait = ["--wait", f"{WAIT:g}"]
        match scenario.way:
            case Way.TOKEN:
                return ["token", own.pair, other.public, *mapping, *self._stun, "--ttl", f"{TOKEN_LIFE:g}"]
            case Way.DIRECT:
                address = self.lab.address("a") if self.lab is not None else HERE
                there = ["-m", "2", "-i", address] if side == "a" else ["-m", "1", "-t", address]
                port = ["-p" if side == "a" else "-r", str(DIRECT_PORT)]
                return ["direct", *there, *port, "-k", own.pair, "--peer-key", other.public, *wait]
        relay = ["--relay-only"] if scenario.path == "relay" else []
        host, port_number = self._dial
        return [host, str(port_number), own.pair, other.public, *mapping, *relay, *wait]

    def _doing(self, side: str) -> list[str | Path]:
        """The arguments that say what is done with the session."""
        job = self.scenario.job
        doing: list[str | Path] = []
        for text in self.messages(side):
            doing += ["--message", text]
        if side in job.senders:
            tree = self.tree(side)
            doing += ["--send", tree, "--limit-rate", str(max(65_536, round(size_of(tree) / job.seconds)))]
        if set(job.senders) - {side}:
            doing += ["--receive", self.inbox(side), "--yes"]
        return doing
