"""A session whose mediator was killed, and peers that are gone from the mediator without a word."""

import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab import disturbances
from tests.lab.cable import Cable
from tests.lab.meetings import on
from tests.lab.nat import Lab
from tests.programs import PATIENCE, Keys, Peer, Programs, end

pytestmark = pytest.mark.netns

PORTS = ("--port", "54700", "--stun-port", "54701")
METRICS_PORT = 9000
GONE_WITHIN = 45.0  # s; issue 7
BUSY = 20.0  # s
BUSY_PEER = Path(__file__).with_name("busy_peer.py")


def say(peer: Peer, text: str) -> None:
    assert peer.process.stdin is not None
    peer.process.stdin.write(f"{text}\n")
    peer.process.stdin.flush()


def test_a_path_that_is_lost_after_the_mediator_was_restarted(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """Neither side has a stream to the new mediator before it needs one; both come then, and find each other."""
    alice_keys, bob_keys = keys
    with Lab("port-restricted", "port-restricted") as lab:
        where = {"start": on(lab, "med"), "host": lab.mediator_address}
        mediator = programs.mediator(tmp_path / "mediator", keys, *PORTS, **where)
        options = {"stdin": subprocess.PIPE}
        alice = programs.peer("alice", mediator, alice_keys, bob_keys, start=on(lab, "a"), **options)
        bob = programs.peer("bob", mediator, bob_keys, alice_keys, start=on(lab, "b"), **options)
        assert [peer.wait_for("connected")["path"] for peer in (alice, bob)] == ["tcp", "tcp"]
        mediator.process.kill()
        mediator.process.wait(PATIENCE)
        say(alice, "without a mediator")
        assert bob.wait_for("message")["text"] == "without a mediator"
        programs.mediator(tmp_path / "mediator", keys, *PORTS, **where)
        disturbances.cut(lab, "tcp")
        say(alice, "on another path")
        assert [peer.wait_for("path_changed")["path"] for peer in (alice, bob)] == ["quic", "quic"]
        assert bob.wait_for("message", nth=2)["text"] == "on another path"
        for peer in (alice, bob):
            assert peer.process.stdin is not None
            peer.process.stdin.close()
            assert peer.first("mediator_lost") is None  # which is told of while the other side is waited for
        assert (alice.exit_code(), bob.exit_code()) == (0, 0)


def test_who_is_gone_without_a_word_is_gone_soon_and_who_is_busy_is_not(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """Three wait for somebody who never comes: one's cable is cut, one is stopped, and one has no time for a while."""
    alice, bob = keys
    carol, nobody = (Keys.make(tmp_path / name) for name in ("carol", "nobody"))
    with Cable({"med": ["10.9.0.1"], "cut": ["10.9.0.2"], "others": ["10.9.0.3"]}) as cable:

        def start(host: str) -> Callable[..., subprocess.Popen[str]]:
            return lambda argv, **options: cable.popen(host, argv, text=True, **options)

        flags = (*PORTS, "--metrics", str(METRICS_PORT))
        admitted = (alice, bob, carol)
        mediator = programs.mediator(tmp_path / "mediator", admitted, *flags, start=start("med"), host="10.9.0.1")
        cut = programs.peer("cut", mediator, alice, nobody, start=start("cut"))
        stopped = programs.peer("stopped", mediator, bob, nobody, start=start("others"))
        argv = [sys.executable, BUSY_PEER, "10.9.0.1", str(mediator.port), carol.pair, nobody.public, str(BUSY)]
        busy = start("others")(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        programs.callback(end, busy)
        assert busy.stdout is not None
        assert [busy.stdout.readline() for _ in range(2)] == ["waiting\n", "busy\n"]
        for peer in (cut, stopped):
            peer.wait_for("waiting")
        assert peers_at(cable) == 3
        cable.namespace("cut").ip("link set eth0 down")
        stopped.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        try:
            while peers_at(cable) > 1:
                assert time.monotonic() < began + GONE_WITHIN
                time.sleep(0.5)
        finally:
            stopped.process.send_signal(signal.SIGCONT)
        assert busy.stdout.readline() == "back\n"  # without having been "lost"
        assert peers_at(cable) >= 1


def peers_at(cable: Cable) -> int:
    """How many peers the mediator knows of."""
    asking = http.client.HTTPConnection("127.0.0.1", METRICS_PORT)
    asking.sock = cable.namespace("med").socket(socket.SOCK_STREAM)
    asking.sock.settimeout(PATIENCE)
    asking.sock.connect(("127.0.0.1", METRICS_PORT))
    try:
        asking.request("GET", "/metrics")
        found = re.search(r"^punchwire_peers (\d+)", asking.getresponse().read().decode(), re.MULTILINE)
    finally:
        asking.close()
    assert found is not None
    return int(found[1])
