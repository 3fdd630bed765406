"""What a peer finds out about its own NAT, with a real mediator on the other side of it."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from p2p_core.wire.candidate import CandidateKind

from tests.lab.nat import Lab
from tests.programs import Keys, Programs

pytestmark = pytest.mark.netns

HTTPS = "443"  # all that the strictest firewalls let through
GATHERER = str(Path(__file__).with_name("gatherer.py"))

INDEPENDENT, SEQUENTIAL, RANDOM, UNKNOWN = "INDEPENDENT", "SEQUENTIAL", "RANDOM", "UNKNOWN"


def gathered(lab: Lab, programs: Programs, keys: Keys, folder: Path, *mediator_flags: str) -> dict[str, Any]:
    """Run a mediator on both addresses of "med", and gather on "a"."""
    first, second = lab.mediator_addresses
    flags = ["--stun-host", second, *mediator_flags]
    start = partial(lab.popen, "med", text=True)
    mediator = programs.mediator(folder / "mediator", [keys], *flags, start=start, host=first)
    keys.forget_mediators()
    argv = [sys.executable, GATHERER, first, str(mediator.port), str(keys.pair), mediator.id]
    found: dict[str, Any] = json.loads(lab.run("a", argv).stdout)
    return found


def reflexive(found: dict[str, Any], transport: str) -> list[str]:
    """The server-reflexive addresses, without their ports."""
    kind = f"{CandidateKind.SERVER_REFLEXIVE.value}/{transport} "
    texts = [text.removeprefix(kind) for text in found["candidates"] if text.startswith(kind)]
    return [text.rpartition(":")[0] for text in texts]


@pytest.mark.parametrize(
    ("kind", "udp", "tcp"),
    [
        ("full-cone", INDEPENDENT, INDEPENDENT),
        ("port-restricted", INDEPENDENT, INDEPENDENT),
        ("pr-nopreserve", INDEPENDENT, INDEPENDENT),
        ("symmetric", RANDOM, RANDOM),
        ("sym-seq", SEQUENTIAL, SEQUENTIAL),
        ("cgnat", INDEPENDENT, INDEPENDENT),
        ("cgnat-sym", RANDOM, RANDOM),
        ("no-udp", UNKNOWN, INDEPENDENT),
    ],
)
def test_each_kind_of_nat_is_recognised(
    kind: str, udp: str, tcp: str, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab(a=kind, b="none") as lab:
        found = gathered(lab, programs, keys[0], tmp_path)
        assert (found["udp"], found["tcp"]) == (udp, tcp)
        assert found["udp_port_step"] == (1 if udp == SEQUENTIAL else 0)
        assert reflexive(found, "tcp") == [lab.public_address("a")]
        assert reflexive(found, "udp") == ([] if udp == UNKNOWN else [lab.public_address("a")])
        own = [text for text in found["candidates"] if text.startswith("host/")]
        assert [text.partition(":")[0] for text in own] == [f"host/{way} {lab.address('a')}" for way in ("tcp", "udp")]


def test_without_a_nat_there_is_nothing_but_the_own_address(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab(a="none", b="none") as lab:
        found = gathered(lab, programs, keys[0], tmp_path)
        assert (found["udp"], found["tcp"]) == (INDEPENDENT, INDEPENDENT)
        own = lab.address("a")
        assert [text.partition(":")[0] for text in found["candidates"]] == [f"host/tcp {own}", f"host/udp {own}"]


def test_where_no_stun_can_be_reached_there_are_host_candidates(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab(a="udp-blocked", b="none") as lab:
        found = gathered(lab, programs, keys[0], tmp_path, "--port", HTTPS)
        assert (found["udp"], found["tcp"]) == (UNKNOWN, UNKNOWN)
        assert reflexive(found, "udp") == reflexive(found, "tcp") == []
        assert found["candidates"]


def test_a_mediator_on_all_addresses_answers_from_the_one_that_was_asked(
    programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """Else a port-restricted NAT drops the answer, and the second address would show nothing."""
    with Lab(a="symmetric", b="none") as lab:
        second = lab.mediator_addresses[1]
        lab.namespace("med").ip(f"route replace 203.0.113.0/24 dev eth0 src {second}")
        found = gathered(lab, programs, keys[0], tmp_path, "--host", "")
        assert (found["udp"], found["tcp"]) == (RANDOM, RANDOM)
    with Lab(a="port-restricted", b="none") as lab:
        lab.namespace("med").ip(f"route replace 203.0.113.0/24 dev eth0 src {second}")
        found = gathered(lab, programs, keys[0], tmp_path, "--host", "")
        assert (found["udp"], found["tcp"]) == (INDEPENDENT, INDEPENDENT)


@pytest.mark.parametrize("ports", [("3478",), ("3478", "3479")])
def test_a_mapping_is_held_with_servers_that_close_connections(ports: tuple[str, ...]) -> None:
    """With one server alone the NAT takes another port each time, and that is told."""
    with Lab(a="pr-nopreserve", b="none") as lab:
        server = lab.mediator_address
        argv = [sys.executable, str(Path(__file__).with_name("closing_stun.py")), server, *ports]
        serving = lab.popen("med", argv, stdout=subprocess.PIPE, text=True)
        assert serving.stdout is not None
        assert serving.stdout.readline() == "ready\n"
        holder = str(Path(__file__).with_name("mapping_holder.py"))
        stun = [f"{server}:{port}/tcp" for port in ports]
        told = json.loads(lab.run("a", [sys.executable, holder, "4", *stun]).stdout)
        assert (len(set(told["seen"])) > 1) is told["changed"] is (len(ports) == 1)
