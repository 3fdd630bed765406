"""The lab does what it says: NATs behave as their kinds, topologies join what they should, nothing is left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.lab import netns, pcap, probe
from tests.lab.kinds import KINDS, Filtering, Nat, Ports, Unsolicited
from tests.lab.nat import Lab
from tests.lab.netns import LabError, Namespace

pytestmark = pytest.mark.netns

ROOT = Path(__file__).parents[2]

PAIRS = [
    ("full-cone", "restricted"),
    ("port-restricted", "pr-nopreserve"),
    ("pr-reject", "pr-open"),
    ("symmetric", "sym-reject"),
    ("sym-seq", "cgnat"),
    ("cgnat-sym", "none"),
]
BLOCKING = ["udp-blocked", "no-udp"]

PUBLIC = Nat(filtering=Filtering.ENDPOINT_INDEPENDENT)  # what a peer without a NAT looks like


def udp(lab: Lab, host: str) -> socket.socket:
    """A UDP socket of a host that never waits for long."""
    sock = lab.namespace(host).socket(socket.SOCK_DGRAM)
    sock.settimeout(probe.REPLY_TIMEOUT)
    return sock


def tcp(lab: Lab, host: str) -> socket.socket:
    """A TCP socket of a host that never waits for long."""
    sock = lab.namespace(host).socket(socket.SOCK_STREAM)
    sock.settimeout(probe.REPLY_TIMEOUT)
    return sock


def namespaces_of(pid: int) -> list[str]:
    return [name for name in netns.names() if name.startswith(f"pw{pid}-")]


def child_processes() -> set[str]:
    return {pid for children in Path("/proc/self/task").glob("*/children") for pid in children.read_text().split()}


def runs(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever a test does: afterwards there is no namespace of its labs, and no process that was not there before."""
    before = child_processes()
    yield
    assert namespaces_of(os.getpid()) == []
    assert child_processes() <= before


def assert_behaves(kind: str, seen: probe.Observation | None, public_address: str) -> None:
    """What was seen is what the table says; of several NATs in a row, the one on the public segment shows."""
    assert seen is not None
    nat = KINDS[kind][-1] if KINDS[kind] else PUBLIC
    assert seen.mapping is nat.mapping
    assert seen.filtering is nat.filtering
    assert {address for address, _ in seen.public.values()} == {public_address}
    if nat.ports is Ports.PRESERVED:
        assert set(seen.ports) == {seen.private}
    elif nat.ports is Ports.OTHER:
        assert 10000 <= seen.ports[0] < 30000
    elif nat.ports is Ports.RANDOM:
        assert len(set(seen.ports)) == len(seen.ports)
    else:
        assert seen.ports == list(range(seen.ports[0], seen.ports[0] + len(seen.ports)))
    if seen.refused is not None and nat.filtering is not Filtering.ENDPOINT_INDEPENDENT:
        assert seen.refused is (nat.unsolicited is not Unsolicited.DROP)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_each_kind_maps_and_filters_as_its_table_says(a: str, b: str) -> None:
    def probe_both_protocols(peer: str, kind: str) -> None:
        assert_behaves(kind, probe.observe_udp(lab, peer, endpoints), lab.public_address(peer))
        assert_behaves(kind, probe.observe_tcp(lab, peer, endpoints), lab.public_address(peer))

    with Lab(a, b) as lab, probe.reflector(lab) as endpoints, ThreadPoolExecutor() as pool:
        for _ in pool.map(probe_both_protocols, ("a", "b"), (a, b)):  # hands on what fails in there
            pass


def test_no_kind_is_left_untested() -> None:
    assert {*BLOCKING, *(kind for pair in PAIRS for kind in pair)} == KINDS.keys()


def test_firewalls_let_out_only_what_they_say() -> None:
    with Lab("no-udp", "udp-blocked") as lab, probe.reflector(lab) as endpoints:
        assert_behaves("no-udp", probe.observe_tcp(lab, "a", endpoints), lab.public_address("a"))
        assert probe.observe_udp(lab, "a", endpoints, probe.SILENCE_TIMEOUT) is None
        assert probe.observe_udp(lab, "b", endpoints, probe.SILENCE_TIMEOUT) is None
        with tcp(lab, "b") as web, tcp(lab, "b") as other:
            web.connect((lab.mediator_address, 443))
            other.settimeout(probe.SILENCE_TIMEOUT)
            with pytest.raises(TimeoutError):
                other.connect((lab.mediator_address, 3478))


def test_an_open_input_chain_spoils_the_port_for_later() -> None:
    """Why an early probe hurts: the router remembers it, and gives the peer another port towards its sender."""
    with Lab("pr-open", "none") as lab, udp(lab, "a") as a:
        a.bind(("", 40000))
        with udp(lab, "b") as b:
            b.connect((lab.public_address("a"), 40000))
            b.send(b"early")
            with pytest.raises(ConnectionRefusedError):
                b.recv(100)
            answered = b.getsockname()
        with udp(lab, "b") as b:
            b.bind(answered)
            a.sendto(b"hello", answered)
            _, (address, port) = b.recvfrom(100)
    assert address == lab.public_address("a")
    assert port != 40000


def seen_sender(receiver: socket.socket, sender: socket.socket, target: probe.Endpoint) -> str:
    """The address under which the receiver sees a datagram that was sent to `target`."""
    sender.sendto(b"hello", target)
    receiver.settimeout(probe.REPLY_TIMEOUT)
    address = receiver.recvfrom(100)[1][0]
    assert isinstance(address, str)
    return address


def assert_unreachable(receiver: socket.socket, sender: socket.socket, target: probe.Endpoint) -> None:
    """A datagram sent to `target` does not come to the receiver."""
    sender.sendto(b"hello", target)
    receiver.settimeout(probe.SILENCE_TIMEOUT)
    with pytest.raises(TimeoutError):
        receiver.recv(100)


@pytest.mark.parametrize("hairpin", [False, True])
def test_peers_on_one_lan(hairpin: bool) -> None:
    with (
        Lab(topology="same-lan", hairpin=hairpin) as lab,
        probe.reflector(lab) as endpoints,
        udp(lab, "a") as a,
        udp(lab, "b") as b,
    ):
        seen_a, seen_b = probe.ask(a, endpoints[0]), probe.ask(b, endpoints[0])
        assert seen_a[0] == seen_b[0] == lab.public_address("a") == lab.public_address("b")
        assert seen_sender(b, a, (lab.address("b"), b.getsockname()[1])) == lab.address("a")
        if hairpin:
            assert seen_sender(b, a, seen_b) == lab.public_address("a")
        else:
            assert_unreachable(b, a, seen_b)


@pytest.mark.parametrize("hairpin", [False, True])
def test_peers_below_one_carrier(hairpin: bool) -> None:
    with (
        Lab(topology="same-cgnat", hairpin=hairpin) as lab,
        probe.reflector(lab) as endpoints,
        udp(lab, "a") as a,
        udp(lab, "b") as b,
    ):
        seen_a, seen_b = probe.ask(a, endpoints[0]), probe.ask(b, endpoints[0])
        assert seen_a[0] == seen_b[0] == lab.public_address("a") == lab.public_address("b")
        assert_unreachable(b, a, ("100.64.0.12", b.getsockname()[1]))
        # Only the carrier hairpins; the homes below it filter as ever, so both have to send.
        assert_unreachable(a, b, seen_a)
        if hairpin:
            assert seen_sender(b, a, seen_b) == lab.public_address("a")
        else:
            assert_unreachable(b, a, seen_b)


@pytest.mark.netns("delay")
@pytest.mark.parametrize("compiled", [True, False])
def test_delay_is_one_way_on_each_access_link(compiled: bool) -> None:
    with (
        Lab("none", "port-restricted", delay=20, compiled=compiled) as lab,
        probe.reflector(lab) as endpoints,
        udp(lab, "a") as a,
        udp(lab, "b") as b,
    ):
        start = time.monotonic()
        probe.ask(b, endpoints[0])
        to_mediator = time.monotonic() - start
        a.bind(("", 40000))
        start = time.monotonic()
        b.sendto(b"there", (lab.address("a"), 40000))
        a.sendto(b"back", a.recvfrom(100)[1])
        b.recv(100)
        to_peer = time.monotonic() - start
    # Lower bounds only: how much is added to them is a matter of how busy the machine is.
    assert to_mediator >= 0.040
    assert to_peer >= 0.080


@pytest.mark.netns("delay")
def test_loss() -> None:
    with Lab(loss=100) as lab, probe.reflector(lab) as endpoints:
        assert probe.observe_udp(lab, "a", endpoints, probe.SILENCE_TIMEOUT) is None


def test_two_labs_side_by_side() -> None:
    with Lab("full-cone") as one, probe.reflector(one) as endpoints:
        with Lab("symmetric") as other, probe.reflector(other):
            assert one.mediator_address == other.mediator_address == "203.0.113.10"
            assert one.namespace("a") != other.namespace("a")
            assert_behaves("symmetric", probe.observe_udp(other, "a", endpoints), other.public_address("a"))
            assert_behaves("full-cone", probe.observe_udp(one, "a", endpoints), one.public_address("a"))
        assert_behaves("full-cone", probe.observe_udp(one, "a", endpoints), one.public_address("a"))


def test_processes_run_where_they_are_told() -> None:
    with Lab() as lab:
        for peer in ("a", "b"):
            assert lab.address(peer) in lab.run(peer, ["ip", "-4", "addr"]).stdout
        with pytest.raises(subprocess.CalledProcessError):
            lab.run("med", ["false"])
        with pytest.raises(LabError, match="no host 'rc' in this lab; there are inet, med, a, b, ra, rb"):
            lab.run("rc", ["true"])


def test_stubborn_processes_and_their_children_end_with_the_lab() -> None:
    script = "trap '' TERM; sleep 1000 & echo $!; exec 1>&-; exit 0"
    with Lab("none", "none") as lab:
        process = lab.popen("a", ["sh", "-c", script], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait()
        assert runs(child)
    assert not runs(child)


@pytest.mark.netns("delay")
def test_a_lab_that_fails_half_way_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixture looks for what is left; a NAT, and with it a forwarder, was already there."""
    good = Namespace.nft

    def fail_for_b(namespace: Namespace, ruleset: str) -> None:
        if namespace.name.endswith("-rb"):
            raise LabError("no rules today")
        good(namespace, ruleset)

    monkeypatch.setattr(Namespace, "nft", fail_for_b)
    with pytest.raises(LabError, match="no rules today"), Lab(delay=1):
        pytest.fail("the lab was built")


def test_what_a_killed_process_left_is_removed_by_the_next_lab() -> None:
    script = """
import os, signal, subprocess
from tests.lab import Lab

with Lab("none", "none") as lab:
    orphan = lab.popen("a", ["sh", "-c", "echo up; exec sleep 1000 >&-"], stdout=subprocess.PIPE)
    orphan.stdout.readline()
    print(os.getpid(), orphan.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    killed, orphan = map(int, done.stdout.split())
    with Lab("none", "none"):
        assert not namespaces_of(killed)
        assert not runs(orphan)


def test_captures_hold_the_bytes_on_the_wire(tmp_path: Path) -> None:
    question, answer = os.urandom(3_000_000), os.urandom(1_000_000)
    with Lab() as lab, lab.capture("med", "eth0") as at_mediator, lab.capture("ra", "lan") as at_home:
        with tcp(lab, "med") as listener:
            listener.bind((lab.mediator_address, 54700))
            listener.listen()
            with tcp(lab, "a") as client:
                client.connect(listener.getsockname())
                server, seen = listener.accept()
                with server:
                    server.settimeout(probe.REPLY_TIMEOUT)
                    exchange(client, server, question)
                    exchange(server, client, answer)
                private = client.getsockname()
        streams = at_mediator.tcp_streams()  # while it still listens
    mediator = (lab.mediator_address, 54700)
    assert streams == [pcap.Stream(seen, mediator, question), pcap.Stream(mediator, seen, answer)]
    assert seen[0] == lab.public_address("a")
    assert [stream.source for stream in at_home.tcp_streams()] == [private, mediator]
    at_home.save(tmp_path / "home.pcap")
    assert pcap.tcp_streams(pcap.packets(pcap.load((tmp_path / "home.pcap").read_bytes()))) == at_home.tcp_streams()


def exchange(sender: socket.socket, receiver: socket.socket, content: bytes) -> None:
    """Moves the content from one to the other, both of them in this one thread."""
    received = bytearray()
    sent = 0
    while len(received) < len(content):
        sent += sender.send(content[sent : sent + 32768])
        received += receiver.recv(65536)
    assert received == content


def test_a_capture_that_cannot_be_says_why() -> None:
    with Lab("none", "none") as lab:
        expected = pytest.raises(LabError, match=r"cannot listen on eth7 .*: No such device")
        with expected, lab.capture("a", "eth7"):
            pytest.fail("it listens to nothing")
