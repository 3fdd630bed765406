"""Two mediators behind HAProxy, and the Redis they share: what docker-compose.yml runs, as processes on loopback."""

import http.client
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from tests import redis_server
from tests.balancer import HERE, INSTANCES, Balancer
from tests.peer.directly import own_ports
from tests.programs import DIRECT, PATIENCE, Keys, Mediator, Peer, Programs
from tests.redis_server import RedisServer

DRAIN = "5"  # s; nothing here needs them
CALL = ("--message", "hello")


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Keys, Keys, Keys, Keys]:
    """Alice's, Bob's, Carol's and Dave's keys."""
    folder = tmp_path_factory.mktemp("four")
    alice, bob, carol, dave = (Keys.make(folder / name) for name in ("alice", "bob", "carol", "dave"))
    return alice, bob, carol, dave


class Instances:
    """Two mediators, by the names that the balancer has for them."""

    def __init__(self, programs: Programs, keys: tuple[Keys, ...], folder: Path, stack: ExitStack) -> None:
        """Start all. `folder` is where they keep their one TLS key."""
        for each in keys:
            each.forget_mediators()
        ports = stack.enter_context(own_ports(2 * len(INSTANCES)))
        self.redis = stack.enter_context(RedisServer())
        self._programs = programs
        self._metrics = dict(zip(INSTANCES, ports[2:], strict=True))
        self.mediators = {
            name: self._start(folder, keys, port, self._metrics[name])
            for name, port in zip(INSTANCES, ports, strict=False)
        }
        a, b = self.mediators.values()
        assert a.id == b.id
        self.balancer = Balancer.start(folder, (a.port, b.port), tuple(self._metrics.values()))
        programs.callback(self.balancer.stop)
        self._dialled = replace(a, port=self.balancer.port)

    def _start(self, folder: Path, keys: tuple[Keys, ...], port: int, metrics: int) -> Mediator:
        shared = ("--store", self.redis.url, "--behind-proxy", "--no-stun", "--drain-seconds", DRAIN)
        own = ("--port", str(port), "--advertise", f"{HERE}:{port}", "--metrics", f"{HERE}:{metrics}")
        return self._programs.mediator(folder, keys, *shared, *own)

    def call(self, name: str, own: Keys, other: Keys, *flags: str | Path) -> Peer:
        """Start a peer that dials the balancer."""
        return self._programs.peer(name, self._dialled, own, other, *CALL, *flags)

    def waiting(self, name: str, at: str, own: Keys, other: Keys, *flags: str | Path) -> Peer:
        """Start one that comes to this instance, and is there."""
        before = self.count(at, "punchwire_peers")
        self.balancer.send_to(at)
        peer = self.call(name, own, other, *flags)
        peer.wait_for("waiting")
        assert self.count(at, "punchwire_peers") == before + 1
        return peer

    def count(self, name: str, metric: str) -> float:
        """What an instance says of itself."""
        connection = http.client.HTTPConnection(HERE, self._metrics[name], timeout=PATIENCE)
        try:
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        [value] = [line.split()[1] for line in lines if line.startswith(f"{metric} ")]
        return float(value)

    def end(self, *names: str) -> None:
        """Stop these mediators, which end well, and see that nothing of anybody is left."""
        assert [self.mediators[name].stop() for name in names] == [0] * len(names)
        assert self.balancer.finish() == 0
        with redis.Redis.from_url(self.redis.url) as asked:
            left = {key.decode(): asked.pttl(key) for key in asked.scan_iter()}
        assert [key for key in left if "peer" in key] == []
        assert all(life > 0 for life in left.values()), left


@pytest.fixture
def instances(programs: Programs, four: tuple[Keys, ...], tmp_path: Path) -> Iterator[Instances]:
    redis_server.needed()
    with ExitStack() as stack:
        yield Instances(programs, four, tmp_path, stack)


def all_end_well(*peers: Peer) -> None:
    assert [peer.exit_code() for peer in peers] == [0] * len(peers)
    assert [peer.wait_for("message")["text"] for peer in peers] == ["hello"] * len(peers)


def test_two_peers_meet_across_instances_and_send_a_file(
    instances: Instances, four: tuple[Keys, ...], tmp_path: Path
) -> None:
    alice, bob, *_ = four
    (tmp_path / "letter").write_text("hello")
    first = instances.waiting("alice", "a", alice, bob, "--send", tmp_path / "letter", "--direct-only")
    instances.balancer.send_to("b")
    second = instances.call("bob", bob, alice, "--receive", tmp_path / "inbox", "--yes")
    all_end_well(first, second)
    assert (tmp_path / "inbox" / "letter").read_text() == "hello"
    assert all(peer.wait_for("connected")["path"] in DIRECT for peer in (first, second))
    assert first.wait_for("matched")["role"] == "initiator"
    # Each counts those matches of which it has the responder.
    assert {name: instances.count(name, "punchwire_matches_total") for name in INSTANCES} == {"a": 0, "b": 1}
    instances.end(*INSTANCES)


def test_their_relay_is_at_one_instance(instances: Instances, four: tuple[Keys, ...]) -> None:
    alice, bob, *_ = four
    first = instances.waiting("alice", "a", alice, bob, "--relay-only")
    instances.balancer.send_to("b")
    second = instances.call("bob", bob, alice, "--relay-only")
    all_end_well(first, second)
    assert [peer.wait_for("connected")["path"] for peer in (first, second)] == ["relay", "relay"]
    relayed = {name: instances.count(name, "punchwire_relay_bytes_total") for name in INSTANCES}
    assert sorted(count > 0 for count in relayed.values()) == [False, True]
    instances.end(*INSTANCES)


def test_who_waits_at_an_instance_that_dies_comes_to_the_other(instances: Instances, four: tuple[Keys, ...]) -> None:
    alice, bob, carol, dave = four
    first = instances.waiting("alice", "a", alice, bob)
    third = instances.waiting("carol", "b", carol, dave)
    instances.balancer.send_to(*INSTANCES)
    instances.mediators["a"].process.kill()
    first.wait_for("mediator_lost")
    first.wait_for("mediator_back")
    assert instances.count("b", "punchwire_peers") == 2
    second, fourth = instances.call("bob", bob, alice), instances.call("dave", dave, carol)
    all_end_well(first, second, third, fourth)
    assert third.first("mediator_lost") is None
    instances.end("b")


def test_who_waits_at_an_instance_that_drains_comes_to_the_other(instances: Instances, four: tuple[Keys, ...]) -> None:
    alice, bob, *_ = four
    first = instances.waiting("alice", "a", alice, bob)
    instances.balancer.send_to(*INSTANCES)
    instances.mediators["a"].process.send_signal(signal.SIGTERM)
    first.wait_for("mediator_lost")
    first.wait_for("mediator_back")
    assert instances.mediators["a"].process.wait(PATIENCE) == 0
    assert instances.count("b", "punchwire_peers") == 1
    all_end_well(first, instances.call("bob", bob, alice))
    instances.end("b")


def test_redis_is_killed_and_started_again_while_peers_wait(instances: Instances, four: tuple[Keys, ...]) -> None:
    alice, bob, carol, dave = four
    first = instances.waiting("alice", "a", alice, bob)
    third = instances.waiting("carol", "b", carol, dave)
    instances.balancer.send_to(*INSTANCES)
    instances.redis.kill()
    second = instances.call("bob", bob, alice)
    second.wait_for("mediator_lost")
    instances.redis.start()
    fourth = instances.call("dave", dave, carol)
    all_end_well(first, second, third, fourth)
    second.wait_for("mediator_back")
    instances.end(*INSTANCES)
