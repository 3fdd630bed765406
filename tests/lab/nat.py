"""The lab: two peers behind NATs, a public segment and a mediator's host, each in a network namespace of its own.

                      inet   203.0.113.0/24, a switch that knows no private addresses
                       |
        +--------------+---------------+
        |              |               |
    wan .101      med .10, .11     wan .102
       ra                             rb           NATs (nftables), as the kinds say
    lan 10.1.0.1                   lan 10.2.0.1
        |                              |
     a 10.1.0.10                    b 10.2.0.10

Topologies:

    two         as drawn. Kind "none" puts the peer itself on the public segment (.201, .202). The cgnat kinds put a
                carrier's NAT, ca or cb, above the home's: wan .151, .152, lan 100.64.1.0/24, 100.64.2.0/24
    same-lan    a (10.1.0.10) and b (10.1.0.20) both behind ra, which is of a's kind
    same-cgnat  ra and rb are homes below one carrier, ca (wan .151, lan 100.64.0.0/24, homes at .11 and .12), which
                keeps its subscribers apart

Interfaces, for captures: peers and med have "eth0", NATs "wan" and "lan", inet and the lans have "to_ra" and the like.
"""

import itertools
import os
import re
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from tests.lab import kinds, link, netns, rootless
from tests.lab.capture import Capture
from tests.lab.kinds import Nat
from tests.lab.link import End, Impairment
from tests.lab.netns import LabError, Namespace
from tests.lab.ruleset import LAN, WAN, ruleset

Topology = Literal["two", "same-lan", "same-cgnat"]

PUBLIC: Final = "203.0.113"  # TEST-NET-3 (RFC 5737)
MEDIATOR_NUMBERS: Final = (10, 11)
PREFIX: Final = "pw"
NAME: Final = re.compile(rf"{PREFIX}(\d+)-\d+-\w+")  # process id, which lab of that process, host
TERMINATION_TIMEOUT: Final = 3.0  # s between asking a process to end and ending it
RUN_TIMEOUT: Final = 60.0  # s; nothing that tests run in the lab takes longer

_numbers = itertools.count(1)


class Lab:
    """A context manager that builds the lab and takes it away again, with every process inside it.

    `a`, `b`         kinds of NAT, see `kinds.KINDS`
    `topology`       see above
    `hairpin`        whether the NAT that both peers share lets them reach each other's public addresses
    `carrier`        kind of the shared NAT in topology same-cgnat
    `delay`, `loss`, `duplicate`, `jitter`
                     of each access link (public side of the outermost NAT), one way: see `link.Impairment`. There and
                     back it is 2 x delay to the mediator, 4 x delay between the peers. See `link.unavailable`
    `public`         the first three bytes of the public segment's addresses
    `bystanders`     names of more hosts on the public segment (.211 and so on), like "med" without delay
    `ipv6`           leaves IPv6 switched on, with link-local addresses; the lab routes and translates IPv4 only
    `compiled`       False runs the links with the Python forwarder even where there is a C compiler

    Entering raises LabError where namespaces cannot be made (`rootless.availability` tells beforehand) or a command
    fails, and leaves nothing behind. Labs may stand side by side, in one process and in several.
    """

    def __init__(
        self,
        a: str = "port-restricted",
        b: str = "port-restricted",
        *,
        topology: Topology = "two",
        hairpin: bool = False,
        carrier: str = "pr-nopreserve",
        delay: float = 0.0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        jitter: float = 0.0,
        public: str = PUBLIC,
        bystanders: Sequence[str] = (),
        ipv6: bool = False,
        compiled: bool = True,
    ) -> None:
        self._kinds = {"a": kinds.kind(a), "b": kinds.kind(b)}
        if topology == "same-lan":
            kinds.single(a)
        if topology == "same-cgnat":
            for name in (a, b, carrier):
                kinds.single(name)
        self._carrier = kinds.kind(carrier)
        self._topology = topology
        self._hairpin = hairpin
        self._impairment = Impairment(delay, loss, duplicate, jitter)
        self._public = public
        self._bystanders = bystanders
        self._ipv6 = ipv6
        self._compiled = compiled
        self._prefix = f"{PREFIX}{os.getpid()}-{next(_numbers)}-"
        self._namespaces: dict[str, Namespace] = {}
        self._addresses: dict[str, str] = {}
        self._public_addresses: dict[str, str] = {}
        self._processes: list[subprocess.Popen[Any]] = []
        self._stack = ExitStack()

    @property
    def mediator_address(self) -> str:
        """203.0.113.10, the address of the host "med"."""
        return self.mediator_addresses[0]

    @property
    def mediator_addresses(self) -> tuple[str, str]:
        """Both addresses of the host "med": a STUN server needs two to tell all kinds of mapping apart."""
        first, second = MEDIATOR_NUMBERS
        return f"{self._public}.{first}", f"{self._public}.{second}"

    @property
    def hosts(self) -> tuple[str, ...]:
        """The names of all hosts of this lab, NATs included."""
        return tuple(self._namespaces)

    def address(self, peer: str) -> str:
        """The address that "a" or "b" has itself, behind its NAT; or that of a bystander."""
        return self._addresses[peer]

    def public_address(self, peer: str) -> str:
        """The address that "a" or "b" is seen under on the public segment."""
        return self._public_addresses[peer]

    def namespace(self, host: str) -> Namespace:
        """The namespace of a host: a, b, med, inet, and the NATs ra, rb, ca, cb as far as there are any."""
        try:
            return self._namespaces[host]
        except KeyError:
            raise LabError(f"no host {host!r} in this lab; there are {', '.join(self._namespaces)}") from None

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """The argument vector that runs `argv` on a host, for callers with their own way to start processes."""
        return self.namespace(host).command(argv)

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Starts a process on a host; `options` are those of subprocess.Popen.

        It is ended, and its pipes are closed, when the lab goes away.
        """
        process = subprocess.Popen(self.command(host, argv), **options)
        self._processes.append(process)
        return process

    def run(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs a command on a host to its end, as subprocess.run does.

        Output is captured as text, a failure raises CalledProcessError and RUN_TIMEOUT holds, unless `options` differ.
        """
        if not {"stdout", "stderr"} & options.keys():
            options.setdefault("capture_output", True)
        options.setdefault("text", True)
        options.setdefault("timeout", RUN_TIMEOUT)
        check = options.pop("check", True)
        return subprocess.run(self.command(host, argv), check=check, **options)

    def capture(self, host: str, interface: str) -> Capture:
        """A context manager that listens on an interface of a host, see `Capture`."""
        return Capture(self.namespace(host), interface)

    def __enter__(self) -> Self:
        rootless.require()
        _remove_abandoned()
        with ExitStack() as stack:
            stack.callback(self._remove_namespaces)
            self._build(stack)
            stack.callback(self._end_processes)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _build(self, stack: ExitStack) -> None:
        public = _Segment(self._namespace("inet"), "br0", self._public)
        public.join("med", self._namespace("med"), "eth0", *MEDIATOR_NUMBERS)
        for index, host in enumerate(self._bystanders, 1):
            self._namespace(host)
            self._peer(host, public, 210 + index)
        for peer in self._kinds:
            self._namespace(peer)
        if self._impairment:
            public.cable = lambda near, far: self._link(stack, near, far)
        if self._topology == "two":
            self._build_two(public)
        elif self._topology == "same-lan":
            self._build_same_lan(public)
        else:
            self._build_same_cgnat(public)
        public.settle()

    def _build_two(self, public: "_Segment") -> None:
        for index, (peer, chain) in enumerate(self._kinds.items(), 1):
            if not chain:
                self._peer(peer, public, 200 + index)
                self._public_addresses[peer] = self._addresses[peer]
                continue
            *homes, outermost = chain
            if homes:
                above = self._router(f"c{peer}", outermost, public, 150 + index, f"100.64.{index}")
                lan = self._router(f"r{peer}", homes[0], above, 10, f"10.{index}.0")
                self._public_addresses[peer] = f"{self._public}.{150 + index}"
            else:
                lan = self._router(f"r{peer}", outermost, public, 100 + index, f"10.{index}.0")
                self._public_addresses[peer] = f"{self._public}.{100 + index}"
            self._peer(peer, lan, 10)

    def _build_same_lan(self, public: "_Segment") -> None:
        lan = self._router("ra", self._kinds["a"][0], public, 101, "10.1.0", self._hairpin)
        for index, peer in enumerate(self._kinds, 1):
            self._peer(peer, lan, 10 * index)
            self._public_addresses[peer] = f"{self._public}.101"

    def _build_same_cgnat(self, public: "_Segment") -> None:
        subscribers = self._router("ca", self._carrier[0], public, 151, "100.64.0", self._hairpin)
        subscribers.isolated = True
        for index, (peer, chain) in enumerate(self._kinds.items(), 1):
            lan = self._router(f"r{peer}", chain[0], subscribers, 10 + index, f"10.{index}.0")
            self._peer(peer, lan, 10)
            self._public_addresses[peer] = f"{self._public}.151"

    def _namespace(self, host: str) -> Namespace:
        namespace = Namespace(self._prefix + host)
        self._namespaces[host] = namespace  # first, so that it is removed even when making it fails half-way
        namespace.create(self._ipv6)
        return namespace

    def _router(
        self, host: str, nat: Nat, outside: "_Segment", number: int, network: str, hairpin: bool = False
    ) -> "_Segment":
        """A NAT between the segment `outside`, where it has the given number, and a new segment, which is returned."""
        router = self._namespace(host)
        router.sysctl("net/ipv4/ip_forward", "1")
        outside.join(host, router, WAN, number)
        inside = _Segment(router, LAN, network)
        router.nft(ruleset(nat, outside.address(number), f"{network}.0/24", hairpin))
        return inside

    def _peer(self, peer: str, segment: "_Segment", number: int) -> None:
        segment.join(peer, self._namespaces[peer], "eth0", number)
        self._addresses[peer] = segment.address(number)

    def _link(self, stack: ExitStack, near: End, far: End) -> None:
        process = link.start(near, far, self._impairment, self._compiled)
        stack.callback(link.stop, process)

    def _end_processes(self) -> None:
        """Ends what `popen` started: politely first, so that coverage and logs are written."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(TERMINATION_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with suppress(BrokenPipeError):  # what was still to be written to it
                        pipe.close()

    def _remove_namespaces(self) -> None:
        """Ends whatever else runs in the lab, such as children of those processes, and removes the namespaces."""
        made = [namespace for namespace in self._namespaces.values() if namespace.path.exists()]
        try:
            netns.kill_processes(made)
        finally:
            for namespace in made:
                namespace.delete()
            self._namespaces.clear()


class _Segment:
    """One switched /24 network: a bridge on the host `hub`, which has number 1 and is everyone's default route."""

    def __init__(self, hub: Namespace, bridge: str, network: str) -> None:
        self.isolated = False  # whether later members reach the hub only, as subscribers of a carrier do
        self.cable: Callable[[End, End], None] = _cable  # what connects later members
        self._hub = hub
        self._bridge = bridge
        self._network = network
        self._interfaces: dict[str, End] = {self.address(1): End(hub, bridge)}  # by address
        hub.ip(
            f"link add {bridge} address {_mac(self.address(1))} type bridge",
            f"addr add {self.address(1)}/24 dev {bridge}",
            f"link set {bridge} up",
        )

    def address(self, number: int) -> str:
        """The address of the host with that number."""
        return f"{self._network}.{number}"

    def join(self, host: str, member: Namespace, interface: str, *numbers: int) -> None:
        """Puts a host on the segment, under an interface of that name with one or more addresses."""
        port = f"to_{host}"
        end = End(member, interface)
        addresses = [self.address(number) for number in numbers]
        self.cable(end, End(self._hub, port))
        self._hub.ip(
            f"link set {port} master {self._bridge}",
            *([f"link set {port} type bridge_slave isolated on"] if self.isolated else []),
            f"link set {port} up",
        )
        member.ip(
            f"link set {interface} address {_mac(addresses[0])}",
            *(f"addr add {address}/24 dev {interface}" for address in addresses),
            f"link set {interface} up",
            f"route add default via {self.address(1)}",
        )
        self._interfaces |= dict.fromkeys(addresses, end)

    def settle(self) -> None:
        """Tells all members each other's hardware addresses, so that no first packet waits for ARP on a slow link."""
        hardware: dict[End, str] = {}
        for address, end in self._interfaces.items():
            hardware.setdefault(end, _mac(address))
        for end in hardware:
            end.namespace.ip(
                *(
                    f"neigh replace {address} lladdr {hardware[other]} dev {end.interface} nud permanent"
                    for address, other in self._interfaces.items()
                    if other != end
                )
            )


def _cable(near: End, far: End) -> None:
    """A plain virtual cable, without delay."""
    near.namespace.ip(f"link add {near.interface} type veth peer name {far.interface} netns {far.namespace.name}")


def _mac(address: str) -> str:
    """A locally administered hardware address made from an IPv4 address."""
    return ":".join(["02", "00", *(f"{int(part):02x}" for part in address.split("."))])


def _remove_abandoned() -> None:
    """Removes what labs left behind whose process was killed before it could clean up."""
    for name in netns.names():
        match = NAME.fullmatch(name)
        if match and not Path(f"/proc/{match[1]}").exists():
            abandoned = Namespace(name)
            with suppress(LabError, OSError):  # another process may be at it as well
                netns.kill_processes([abandoned])
                abandoned.delete()
