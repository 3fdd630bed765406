"""The public address that a web service tells, where no STUN server answers."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.nat import Lab

pytestmark = pytest.mark.netns

PUBLIC = "11.22.33"  # a network that is not kept for documentation: those are not believed
PORT = "80"


@contextmanager
def network(kind: str) -> Iterator[Lab]:
    """One with a web server on "med"."""
    folder = Path(__file__).parent
    with Lab(kind, "none", public=PUBLIC) as lab:
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
