"""What `p2p-peer netcheck` says, and its exit codes."""

import asyncio
import json
import os
import re
import signal
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import MediatorUnreachable, NoPath
from p2p_core.reach import OTHERS, Reach
from p2p_core.wire.candidate import Address, Transport
from p2p_core.wire.offer import Mapping
from p2p_peer.cli import netcheck as netcheck_module
from p2p_peer.cli.main import main
from p2p_peer.gather.port_mapping.mapping import FoundProtocol
from p2p_peer.gather.stun_servers import Unheard
from p2p_peer.mediator import StunServer
from p2p_peer.netcheck import MediatorSeen, NetworkSeen, Outside
from p2p_peer.options import ConnectOptions
from p2p_peer.trust import MediatorId

UDP, TCP = Transport.UDP, Transport.TCP
ID = MediatorId(bytes(range(32)))
UNHEARD = (
    Unheard(StunServer("stun.invalid", 3478, TCP), "its name does not resolve", is_own=True, was_asked=False),
    Unheard(StunServer("2001:db8::1", 54701, TCP), "no answer", is_own=True),
)
HOME = NetworkSeen(
    addresses=(IPv4Address("10.1.0.10"),),
    udp=Outside(UDP, (Address.of("203.0.113.1", 4000),), Mapping.INDEPENDENT, 0, is_translated=True),
    tcp=Outside(TCP, (Address.of("203.0.113.1", 5000),), Mapping.INDEPENDENT, 0, is_translated=True),
    hairpin=True,
    port_mapping=(),
    mediator=MediatorSeen(Address.of("203.0.113.10", 54700), ID, 0.0404),
)
HARD = NetworkSeen(
    addresses=(IPv4Address("10.1.0.10"), IPv6Address("2606:4700::1")),
    udp=Outside(UDP, (Address.of("203.0.113.1", 4000),), Mapping.SEQUENTIAL, 2, is_translated=True),
    tcp=Outside(TCP, unheard=UNHEARD),
    hairpin=None,
    port_mapping=(FoundProtocol("PCP", IPv4Address("10.1.0.1"), None),),
    mediator=MediatorUnreachable("nobody is there", advice="Look again."),
)
SERVER = NetworkSeen(
    addresses=(),
    udp=Outside(UDP, (Address.of("203.0.113.1", 1), Address.of("2606:4700::1", 2)), Mapping.INDEPENDENT),
    tcp=Outside(TCP, (Address.of("203.0.113.1", 1),), Mapping.RANDOM, 0, is_translated=True),
    hairpin=False,
    port_mapping=None,
    mediator=None,
)

Asked = list[tuple[tuple[str, int] | None, ConnectOptions]]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[[NetworkSeen], Asked]:
    """Put a network around the command; what is returned fills with what it is asked for."""

    def put(seen: NetworkSeen) -> Asked:
        asked: Asked = []

        async def look_around(mediator: tuple[str, int] | None, options: ConnectOptions) -> NetworkSeen:
            asked.append((mediator, options))
            return seen

        monkeypatch.setattr(netcheck_module, "look_around", look_around)
        return asked

    return put


def test_every_kind_and_every_way_has_its_words() -> None:
    assert set(netcheck_module._OTHERS) == set(OTHERS)
    assert set(netcheck_module._REACH) == set(Reach)


def test_a_home(network: Callable[[NetworkSeen], Asked], capsys: pytest.CaptureFixture[str]) -> None:
    asked = network(HOME)
    assert main(["netcheck", "mediator.example", "54700"]) == 0
    assert asked == [(("mediator.example", 54700), ConnectOptions())]
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out == (
        "addresses     10.1.0.10\n"
        "UDP           seen at 203.0.113.1:4000\n"
        "              behind a NAT that keeps one port for all destinations\n"
        "TCP           seen at 203.0.113.1:5000\n"
        "              behind a NAT that keeps one port for all destinations\n"
        "IPv6          no address that is valid everywhere\n"
        "hairpin       yes: peers behind the same NAT reach each other by their public addresses\n"
        "port mapping  no router offers it\n"
        "mediator      203.0.113.10:54700, 40.4 ms there and back\n"
        f"              its id is {ID}\n"
        "\n"
        "How a peer would be reached whose network\n"
        "  has public addresses, or lets in whom it knows  direct (TCP)\n"
        "  is behind a home's router, as most are          direct (TCP)\n"
        "  has the next port for each destination          direct (QUIC)\n"
        "  has a random port for each destination          direct by luck, within seconds (QUIC)\n"
        "  has no UDP                                      direct (TCP)\n"
        "  lets out nothing but the web                    through the mediator's relay\n"
    )


def test_a_hard_network_without_its_mediator(
    network: Callable[[NetworkSeen], Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    network(HARD)
    assert main(["netcheck", "mediator.example", "54700"]) == 3
    said = capsys.readouterr()
    assert said.err == "p2p-peer: nobody is there\n          Look again.\n"
    for line in (
        "              behind a NAT that takes the next port for each destination (step 2)",
        "TCP           no STUN server answers",
        "              stun.invalid:3478: its name does not resolve",
        "              [2001:db8::1]:54701: no answer",
        "IPv6          2606:4700::1, but no STUN server was reached over IPv6",
        "hairpin       does not apply, or could not be tried",
        "port mapping  PCP at 10.1.0.1",
        "mediator      not reached",
    ):
        assert line in said.out.splitlines()


def test_a_server(network: Callable[[NetworkSeen], Asked], capsys: pytest.CaptureFixture[str]) -> None:
    asked = network(SERVER)
    flags = ["--stun", "stun.example.org:1", "--no-port-mapping", "--ipv4", "--insecure", "--bind", "127.0.0.1"]
    assert main(["netcheck", *flags]) == 0
    assert asked == [
        (
            None,
            ConnectOptions(
                insecure=True,
                ip_version=4,
                bind=IPv4Address("127.0.0.1"),
                port_mapping=False,
                stun=(StunServer("stun.example.org", 1, UDP),),
            ),
        )
    ]
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "addresses     none that others may reach",
        "UDP           seen at 203.0.113.1:1 and [2606:4700::1]:2, which is an address of this computer: no NAT",
        "              behind a NAT that takes a random port for each destination",
        "IPv6          works; seen at [2606:4700::1]:2",
        "hairpin       no: the NAT does not lead to the public addresses of those behind it",
        "port mapping  not asked for (--no-port-mapping)",
        "mediator      none was given",
    ):
        assert line in lines


def outside_object(seen: str) -> dict[str, Any]:
    return {"works": True, "seen": [seen], "nat": True, "mapping": "independent", "step": 0, "silent": []}


def test_one_object(network: Callable[[NetworkSeen], Asked], capsys: pytest.CaptureFixture[str]) -> None:
    network(HOME)
    assert main(["netcheck", "mediator.example", "54700", "--json"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out) == {
        "addresses": ["10.1.0.10"],
        "udp": outside_object("203.0.113.1:4000"),
        "tcp": outside_object("203.0.113.1:5000"),
        "ipv6": {"address": None, "seen": None},
        "hairpin": True,
        "port_mapping": [],
        "mediator": {"address": "203.0.113.10:54700", "id": str(ID), "round_trip": 0.0404},
        "reach": {
            "open": "tcp",
            "home": "tcp",
            "sequential": "quic",
            "random": "luck",
            "no_udp": "tcp",
            "web_only": "relay",
        },
    }


def test_where_nobody_answers_nothing_is_claimed(
    network: Callable[[NetworkSeen], Asked], capsys: pytest.CaptureFixture[str]
) -> None:
    network(replace(HOME, udp=Outside(UDP), tcp=Outside(TCP, unheard=UNHEARD), hairpin=None))
    assert main(["netcheck", "mediator.example", "54700"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "UDP           not known: no STUN server was asked (--stun names some)" in lines
    rows = lines[lines.index("How a peer would be reached whose network") + 1 :]
    assert len(rows) == len(OTHERS)
    assert all(row.endswith("  not known: no STUN server has told anything") for row in rows)


def test_one_object_whatever_fails(network: Callable[[NetworkSeen], Asked], capsys: pytest.CaptureFixture[str]) -> None:
    network(HARD)
    assert main(["netcheck", "mediator.example", "54700", "--json"]) == 3
    said = capsys.readouterr()
    assert said.err == ""
    told = json.loads(said.out)
    silent = [
        {"server": "stun.invalid:3478", "why": "its name does not resolve"},
        {"server": "[2001:db8::1]:54701", "why": "no answer"},
    ]
    nothing = {"works": False, "seen": [], "nat": None, "mapping": "unknown", "step": 0}
    assert told["tcp"] == nothing | {"silent": silent}
    assert told["udp"]["step"] == 2
    assert told["ipv6"] == {"address": "2606:4700::1", "seen": None}
    assert told["port_mapping"] == [{"protocol": "PCP", "gateway": "10.1.0.1", "external": None}]
    assert told["mediator"] == {"code": "mediator-unreachable", "message": "nobody is there", "advice": "Look again."}


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_nobody_to_ask(capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    assert main(["netcheck", *flags]) == 2
    said = capsys.readouterr()
    why = "there is nobody to ask how this computer looks from outside"
    if flags:
        assert (json.loads(said.out)["message"], said.err) == (why, "")
    else:
        assert said.out == ""
        assert said.err.startswith(f"p2p-peer: {why}\n          Give HOST and PORT of a mediator, or a STUN server")


def test_the_configuration_is_somebody_to_ask(network: Callable[[NetworkSeen], Asked], tmp_path: Path) -> None:
    asked = network(SERVER)
    (tmp_path / "punchwire").mkdir()
    (tmp_path / "punchwire" / "config.toml").write_text('stun = ["stun.example.org/tcp"]\n')
    assert main(["netcheck"]) == 0
    assert asked == [(None, ConnectOptions(stun=(StunServer("stun.example.org", 3478, TCP),)))]


def test_a_computer_without_ports(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def look_around(*_: Any) -> NetworkSeen:
        raise NoPath("this computer cannot listen on a TCP port")

    monkeypatch.setattr(netcheck_module, "look_around", look_around)
    assert main(["netcheck", "mediator.example", "54700"]) == 6
    assert capsys.readouterr().err.startswith("p2p-peer: this computer cannot listen on a TCP port\n")


def test_a_signal_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_around(*_: Any) -> NetworkSeen:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(netcheck_module, "look_around", look_around)
    assert main(["netcheck", "mediator.example", "54700"]) == 130


def test_the_readme_shows_it(network: Callable[[NetworkSeen], Asked], capsys: pytest.CaptureFixture[str]) -> None:
    """Its example is a home without a hairpin, at other addresses."""
    network(replace(HOME, hairpin=False))
    main(["netcheck", "mediator.example", "54700"])
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    shown = readme.partition("$ p2p-peer netcheck")[2].partition("\n")[2].partition("```")[0]
    said = capsys.readouterr().out
    assert [_without_figures(line) for line in shown.splitlines()] == [
        _without_figures(line) for line in said.splitlines()
    ]


def _without_figures(line: str) -> str:
    return re.sub(r"[0-9.:]+|id is \w+", "…", line)
