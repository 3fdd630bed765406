"""What docs/running.md, the unit and the containers say is what the program takes: flags, variables, ports, files."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from p2p_peer.cli.parser import PARSERS, chat_parser, parse
from p2p_server import cli
from p2p_server.config import Config
from p2p_server.endings import Ending
from p2p_server.flags import make_parser
from p2p_server.stores.base import Left, Signalled
from p2p_server.stores.redis import RedisStore

from tests import balancer, redis_server
from tests.redis_server import RedisServer
from tests.server.store_contract import MAX_OTHERS, Arrivals, World, pair

ROOT = Path(__file__).parents[2]
OURS = ROOT / "share" / "doc" / "punchwire"
PAGE = ROOT / "docs" / "running.md"
UNIT = OURS / "p2p-server.service"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
MEDIATORS = {f"mediator-{name}": COMPOSE["services"][f"mediator-{name}"] for name in balancer.INSTANCES}
HOST = "mediator.example"

Understood = Callable[[dict[str, str]], Config]


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> Understood:
    """What the program makes of these variables and no others."""

    def understood(variables: dict[str, str]) -> Config:
        for name in [name for name in os.environ if name.startswith("P2P_SERVER_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            assert name in VARIABLES
            monkeypatch.setenv(name, value)
        parser = make_parser()
        return cli._config(parser, parser.parse_args([]))

    return understood


def flags() -> set[str]:
    return {flag for action in make_parser()._actions for flag in action.option_strings}


VARIABLES = {f"P2P_SERVER_{flag[2:].upper().replace('-', '_')}" for flag in flags()}


def blocks() -> list[str]:
    """The page's blocks of shell, lines that go on joined."""
    return [block.replace("\\\n", " ") for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)]


def code() -> list[str]:
    """What stands between backticks in the page's text."""
    text = re.sub(r"```.*?```", "", PAGE.read_text(), flags=re.DOTALL)
    return [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", text)]


def test_every_flag_that_the_page_names() -> None:
    named = {span.split()[0] for span in code() if span.startswith("--")}
    assert len(named) > 20
    assert named <= flags() | {"--standalone", "--reuse-key"}  # certbot's


def test_every_command_of_ours_in_the_page_can_be_parsed() -> None:
    lines = [*code(), *(line for block in blocks() for line in block.splitlines())]
    ours = [found for line in lines if (found := re.match(r"(?:\S*/)?(p2p-server|p2p-peer)\s", line))]
    assert {found[1] for found in ours} == {"p2p-server", "p2p-peer"}
    for found in ours:
        whole, alone = (
            (make_parser().parse_args, flags() | {"authorize"})
            if found[1] == "p2p-server"
            else (parse, chat_parser()._option_string_actions.keys() | PARSERS.keys())
        )
        arguments = shlex.split(found.string, comments=True)[1:]
        if len(arguments) > 1:
            whole(arguments)
        else:
            assert arguments[0] in alone


@pytest.mark.parametrize("source", [*blocks(), "\n".join(code())])
def test_every_variable_in_the_page_is_understood(source: str, understood: Understood) -> None:
    understood(dict(re.findall(r"^(P2P_SERVER_\w+)=(.*)$", source, re.MULTILINE)))


async def test_two_instances_meet_in_redis_as_the_page_has_it() -> None:
    redis_server.needed()
    [settings] = re.findall(r"```conf\n(.*?)```", PAGE.read_text(), re.DOTALL)
    with RedisServer(*(word for line in settings.splitlines() for word in shlex.split(f"--{line}"))) as redis:
        url = redis.url.replace("//", "//punchwire:PASSWORD@")
        world = World([(RedisStore(url, each.deliver, MAX_OTHERS), each) for each in (Arrivals(), Arrivals())])
        try:
            for store, _ in world.stores:
                await store.start()
            a, b = await pair(world)
            await a.signal(b.peer, b"hello")
            assert await b.next() == Signalled(a.peer, b"hello")
            await a.leave(b.peer)
            assert await b.next() == Left(a.peer)
            await b.forget()
        finally:
            for store, _ in world.stores:
                await store.close()


def test_every_reason_that_the_page_names_is_one() -> None:
    table = PAGE.read_text().partition("| you see |")[2].partition("\n\n")[0]
    seen = "".join(row.split("|")[1] for row in table.splitlines()[2:])
    named = {word for word in re.findall(r"`([a-z-]+)`", seen) if not word.startswith("--")}
    assert len(named) >= 5
    assert named <= {ending.reason for ending in Ending}


def test_every_file_that_the_page_links_to_is_there() -> None:
    for target in re.findall(r"\]\(([^)#]+)", PAGE.read_text()):
        assert (PAGE.parent / target).exists(), target


@pytest.mark.parametrize("name", MEDIATORS)
def test_a_mediator_of_the_compose_file_is_understood(name: str, understood: Understood) -> None:
    service = MEDIATORS[name]
    asked = re.compile(r"\$\{PUNCHWIRE_HOST:\?[^}]+\}")
    config = understood({key: asked.sub(HOST, value) for key, value in service["environment"].items()})
    assert config.advertise is not None
    assert (config.advertise.host, config.advertise.port) == (HOST, config.port)
    # Published under the same numbers: peers are told of these.
    published = {port for line in service["ports"] for port in ports(line)}
    stun = config.stun_port
    assert published == {
        f"{config.port}/tcp",
        *(f"{port}/udp" for port in (config.port, stun)),
        *(f"{port}/tcp" for port in (stun, stun + 1)),
    }
    assert config.behind_proxy
    assert config.authorized is not None
    volumes = [each["target"] if isinstance(each, dict) else each.split(":")[1] for each in service["volumes"]]
    assert volumes == [str(config.state_dir), str(config.authorized)]
    assert int(service["stop_grace_period"].removesuffix("s")) > config.drain_seconds
    found = re.fullmatch(r"redis://([\w-]+):6379/0", config.store)
    assert found is not None
    assert set(COMPOSE["services"][found[1]]["networks"]) & set(service["networks"])


def ports(line: str) -> list[str]:
    """As `54711/tcp`; the two sides of the colon must be one."""
    numbers, transport = line.split("/")
    outside, inside = numbers.split(":")
    assert outside == inside
    first, _, last = inside.partition("-")
    return [f"{port}/{transport}" for port in range(int(first), int(last or first) + 1)]


def test_the_two_mediators_share_their_keys_and_nothing_else() -> None:
    one, other = MEDIATORS.values()
    assert one["volumes"] == other["volumes"]
    assert not set(one["ports"]) & set(other["ports"])


def test_the_balancer_of_the_compose_file_knows_them() -> None:
    defaults = re.findall(r'"\$\{PUNCHWIRE_MEDIATOR_[A-Z]-([\w.-]+:\d+)\}"', balancer.CONFIGURATION.read_text())
    served = [f"{name}:{service['environment']['P2P_SERVER_PORT']}" for name, service in MEDIATORS.items()]
    assert defaults == 2 * served  # those that serve, and whoever there is
    asked = re.findall(r'^ *server .*"\$\{PUNCHWIRE_HEALTH_[A-Z]-(\d+)\}"', balancer.CONFIGURATION.read_text(), re.M)
    for port, mediator in zip(asked, MEDIATORS.values(), strict=True):
        assert mediator["environment"]["P2P_SERVER_METRICS"] == f"0.0.0.0:{port}"
        assert not any(f"{port}/tcp" in ports(line) for line in mediator["ports"])
    service = COMPOSE["services"]["balancer"]
    [mounted] = [each.split(":")[0] for each in service["volumes"]]
    assert (ROOT / mounted).resolve() == balancer.CONFIGURATION
    assert service["networks"] == ["peers"]
    assert 'bind "${PUNCHWIRE_LISTEN-:54700}"' in balancer.CONFIGURATION.read_text()


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_no_service_can_do_more_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_dockerfile_is_understood(understood: Understood) -> None:
    text = (ROOT / "Dockerfile").read_text()
    understood(dict(re.findall(r"(P2P_SERVER_\w+)=([^\s\\]+)", text.partition("\nFROM")[2])))
    assert set(re.findall(r"P2P_SERVER_\w+", text)) <= VARIABLES


def test_the_dockerfiles_example_publishes_what_is_listened_on_and_keeps_the_identity() -> None:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n#", "")
    [example] = [line for line in text.splitlines() if "docker run -d" in line]
    config = cli._config(make_parser(), make_parser().parse_args([]))
    for transport, published in (
        ("tcp", (config.port, config.stun_port + 1)),
        ("udp", (config.port, config.stun_port)),
    ):
        numbers = "-".join(map(str, published))
        assert f"-p {numbers}:{numbers}{'' if transport == 'tcp' else '/udp'} " in example
    [kept] = re.findall(r"^VOLUME (.*)$", text, re.MULTILINE)
    assert re.search(rf"-v \w+:{kept} ", example)
    [patience] = re.findall(r"--stop-timeout (\d+)", example)
    assert int(patience) > config.drain_seconds


def test_the_unit_is_understood(understood: Understood) -> None:
    lines = UNIT.read_text().splitlines()
    [variables] = [line.removeprefix("Environment=").split() for line in lines if line.startswith("Environment=")]
    config = understood(dict(each.split("=") for each in variables))
    [patience] = [int(line.partition("=")[2]) for line in lines if line.startswith("TimeoutStopSec=")]
    assert patience > config.drain_seconds
    [descriptors] = [int(line.partition("=")[2]) for line in lines if line.startswith("LimitNOFILE=")]
    assert descriptors > 2 * config.limits.max_connections


def test_systemd_has_nothing_to_say_of_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    # It looks whether the program is there.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/punchwire/bin/p2p-server", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    # Tenths of what it calls exposure: 10 is a service that may do what everybody may.
    exposed = ["systemd-analyze", "security", "--offline=true", "--threshold=15", "--no-pager", unit]
    assert subprocess.run(exposed, capture_output=True, timeout=60, check=False).returncode == 0


def test_haproxy_has_nothing_to_say_of_its_configuration() -> None:
    mediators = {f"PUNCHWIRE_MEDIATOR_{name.upper()}": "127.0.0.1:9" for name in balancer.INSTANCES}
    done = subprocess.run(
        [balancer.program("haproxy"), "-c", "-q", "-f", balancer.CONFIGURATION],
        env=os.environ | mediators | {"PUNCHWIRE_LISTEN": "127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_hook_hands_a_certificate_over(tmp_path: Path) -> None:
    renewed, to, commands = (tmp_path / name for name in ("live", "state", "bin"))
    for folder in (renewed, to, commands):
        folder.mkdir()
    for name in ("privkey.pem", "fullchain.pem", "cert.pem"):
        (renewed / name).write_text(name)
    (commands / "systemctl").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/told\n')
    (commands / "systemctl").chmod(0o755)
    where = {"RENEWED_LINEAGE": str(renewed), "PUNCHWIRE_TLS": str(to / "tls")}
    path = {"PATH": f"{commands}:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run([OURS / "certbot-deploy-hook"], env=os.environ | where | path, timeout=60, check=True)
    assert {each.name: each.read_text() for each in (to / "tls").iterdir()} == {
        "privkey.pem": "privkey.pem",
        "fullchain.pem": "fullchain.pem",
    }
    assert {each.stat().st_mode & 0o777 for each in (to / "tls").iterdir()} == {0o600}
    assert (tmp_path / "told").read_text() == "reload-or-restart p2p-server.service\n"
