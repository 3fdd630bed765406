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
from tests.lab.chat import Chat
from tests.lab.meetings import MeetingPlace
from tests.lab.nat import Lab
from tests.programs import PATIENCE, Keys, Programs, end

pytestmark = pytest.mark.netns

PORTS = ("--port", "54700", "--stun-port", "54701")
METRICS_PORT = 9000
GONE_WITHIN = 45.0  # s; issue 7
BUSY = 20.0  # s
BUSY_PEER = Path(__file__).with_name("busy_peer.py")


def test_a_path_that_is_lost_after_the_mediator_was_restarted(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """Neither side has a stream to the new mediator before it needs one; both come then, and find each other."""
    with Lab("port-restricted", "port-restricted") as lab:
        place = MeetingPlace(lab, programs, keys, tmp_path)
        chat = Chat.over_tcp(place, programs)
        place.mediator.process.kill()
        place.mediator.process.wait(PATIENCE)
        chat.say("without a mediator")
        chat.heard()
        MeetingPlace(lab, programs, keys, tmp_path)
        disturbances.cut(lab, "tcp")
        chat.say("on another path")
        chat.moves_to("quic")
        chat.end()
        for peer in chat.peers.values():
            assert peer.first("mediator_lost") is None  # which is told of while the other side is waited for


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
