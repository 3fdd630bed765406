"""`p2p-peer netcheck` tells each kind of network for what it is: the real command, behind real NATs."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.lab.meetings import on
from tests.lab.nat import Lab
from tests.programs import Keys, Programs, p2p_peer

pytestmark = pytest.mark.netns

PORTS = ("--port", "54700", "--stun-port", "54701")  # as they are anywhere


def look_around(lab: Lab, folder: Path, keys: tuple[Keys, Keys]) -> tuple[int, dict[str, Any]]:
    """Let host a look around, with a mediator; return the exit code, and what it found."""
    with Programs() as programs:
        programs.mediator(folder, keys, *PORTS, start=on(lab, "med"), host=lab.mediator_address)
        done = lab.run("a", p2p_peer("netcheck", lab.mediator_address, "54700", "--json"), check=False)
        return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize(
    ("kind", "udp", "tcp", "reach"),
    [
        ("none", "independent", "independent", "tcp tcp tcp tcp tcp relay"),
        ("port-restricted", "independent", "independent", "tcp tcp quic luck tcp relay"),
        ("cgnat", "independent", "independent", "tcp tcp quic luck tcp relay"),
        ("symmetric", "random", "random", "tcp luck relay relay relay relay"),
        ("sym-seq", "sequential", "sequential", "tcp quic quic relay relay relay"),
        ("no-udp", None, "independent", "tcp tcp relay relay tcp relay"),
    ],
)
def test_each_kind_is_told(
    kind: str, udp: str | None, tcp: str, reach: str, key_pairs: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab(kind, "none") as lab:
        code, told = look_around(lab, tmp_path, key_pairs)
        assert code == 0
        assert told["addresses"] == [lab.address("a")]
        for name, mapping in (("udp", udp), ("tcp", tcp)):
            outside = told[name]
            assert outside["works"] is (mapping is not None)
            assert outside["mapping"] == (mapping or "unknown")
            assert {seen.rpartition(":")[0] for seen in outside["seen"]} <= {lab.public_address("a")}
            assert outside["nat"] is (None if mapping is None else kind != "none")
        assert list(told["reach"].values()) == reach.split()
        assert told["mediator"]["address"] == f"{lab.mediator_address}:54700"
        assert told["mediator"]["round_trip"] > 0
        assert (told["ipv6"], told["port_mapping"]) == ({"address": None, "seen": None}, [])


def test_where_nothing_but_the_web_gets_out(key_pairs: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Not even the mediator is reached at its usual port; all that is found out is told, and then that it is not."""
    with Lab("udp-blocked", "none") as lab:
        code, told = look_around(lab, tmp_path, key_pairs)
    assert code == 3
    assert told["mediator"]["code"] == "mediator-unreachable"
    assert not told["udp"]["works"]
    assert not told["tcp"]["works"]
    assert {each["why"] for each in (*told["udp"]["silent"], *told["tcp"]["silent"])} == {"no answer"}
    assert set(told["reach"].values()) == {"unknown"}


@pytest.mark.parametrize("hairpin", [False, True])
def test_whether_the_nat_has_a_hairpin(hairpin: bool, key_pairs: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Lab("port-restricted", "port-restricted", topology="same-lan", hairpin=hairpin) as lab:
        code, told = look_around(lab, tmp_path, key_pairs)
    assert (code, told["hairpin"]) == (0, hairpin)
