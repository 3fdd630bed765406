"""The public address that a web service tells, where no STUN server answers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.meetings import on
from tests.lab.nat import Lab
from tests.programs import Keys, Programs
from tests.token_peers import paste, token_of, token_peer

pytestmark = pytest.mark.netns

PUBLIC = "11.22.33"  # a network that is not kept for documentation: those are not believed
PORT = "80"


@contextmanager
def network(a: str, b: str = "none") -> Iterator[Lab]:
    """One with a web server on "med"."""
    folder = Path(__file__).parent
    with Lab(a, b, public=PUBLIC) as lab:
        argv = [sys.executable, str(folder / "address_server.py"), lab.mediator_address, PORT]
        server = lab.popen("med", argv, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield lab


def gathered(lab: Lab, *stun: str) -> dict[str, Any]:
    program = str(Path(__file__).with_name("lone_gatherer.py"))
    argv = [sys.executable, program, f"http://{lab.mediator_address}:{PORT}/", *stun]
    found: dict[str, Any] = json.loads(lab.run("a", argv).stdout)
    return found


@pytest.mark.parametrize("kind", ["udp-blocked", "port-restricted"])
def test_it_tells_the_address_of_the_nat_and_the_ports_are_our_own(kind: str) -> None:
    with network(kind) as lab:
        found = gathered(lab, f"{lab.mediator_address}:3478/tcp", f"{lab.mediator_address}:3478")
        own = {text.split()[1].rpartition(":")[2] for text in found["candidates"] if text.startswith("host/")}
        [port] = own  # of TCP and UDP
        assert found["candidates"][:2] == [f"srflx/{way} {lab.public_address('a')}:{port}" for way in ("tcp", "udp")]
        assert (found["failed"], found["udp"]) == ([], "UNKNOWN")


def test_two_peers_meet_by_what_it_tells(key_pairs: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Both NATs keep port numbers, and nobody tells them by STUN."""
    with network("port-restricted", "port-restricted") as lab, Programs() as programs:
        flags = ("--address-service", f"http://{lab.mediator_address}:{PORT}/", "--message", "hello")
        one, two = (
            token_peer(programs, host, tmp_path / host, *flags, own=own, other=other, start=on(lab, host))
            for host, own, other in (("a", *key_pairs), ("b", *reversed(key_pairs)))
        )
        paste(token_of(one), two)
        paste(token_of(two), one)
        assert [peer.wait_for("connected")["path"] for peer in (one, two)] == ["tcp", "tcp"]
        assert [peer.exit_code() for peer in (one, two)] == [0, 0]
